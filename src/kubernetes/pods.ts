// Whether a pod has a user namespace of its own (`hostUsers: false`), which kubelet does not say before the sandbox is
// there: asked from the API server, needs `get` on pods. Never throws; what cannot be known is an answer too, and for
// its reader to refuse by.
import type { ApiAnswer, KubernetesApi } from './api.ts';
import { type PodRef, problemOf } from './pod.ts';

export type UserNamespace =
  | { readonly is: 'host' }
  | { readonly is: 'own' }
  | { readonly is: 'unknown'; readonly because: string };

export interface PodLookup {
  userNamespace(pod: PodRef): Promise<UserNamespace>;
}

export interface PodLookupOptions {
  readonly api: KubernetesApi;
  readonly timeoutMs?: number;
  /** How long "unknown" is believed, so that the volumes of one pod do not each wait for a dead server. */
  readonly failureMs?: number;
}

/** Pods of a node: kubelet's default is 110 at a time. */
const REMEMBERED = 512;

export function podLookup({ api, timeoutMs = 5_000, failureMs = 1_000 }: PodLookupOptions): PodLookup {
  // Also those that are under way: several volumes of a pod are published at the same moment.
  const known = new Map<string, { readonly answer: Promise<UserNamespace>; until: number }>();
  return {
    userNamespace(pod) {
      const key = [pod.namespace, pod.name, pod.uid].join('/');
      const there = known.get(key);
      if (there !== undefined && performance.now() < there.until) return there.answer;
      const asked = { answer: lookUp(api, pod, timeoutMs), until: Number.POSITIVE_INFINITY };
      known.delete(key);
      known.set(key, asked);
      for (const oldest of known.keys()) {
        if (known.size <= REMEMBERED) break;
        known.delete(oldest);
      }
      // spec.hostUsers cannot be changed once the pod is made: a success holds as long as the pod.
      asked.answer.then(({ is }) => {
        if (is === 'unknown') asked.until = performance.now() + failureMs;
      });
      return asked.answer;
    },
  };
}

async function lookUp(api: KubernetesApi, pod: PodRef, timeoutMs: number): Promise<UserNamespace> {
  const wrong = problemOf(pod);
  if (wrong !== undefined) return unknown(wrong);
  const path = `/api/v1/namespaces/${pod.namespace}/pods/${pod.name}`;
  return read(await api.ask({ method: 'GET', path, timeoutMs }), pod);
}

function read(answer: ApiAnswer, { namespace, name, uid }: PodRef): UserNamespace {
  if (answer.is === 'failed') return unknown(answer.because);
  if (answer.is === 'refused') {
    const { status, message } = answer;
    const remedy = REMEDIES[status];
    return unknown(
      `the API server answers ${status}: ${message}${remedy === undefined ? '' : `; ${remedy}`}`,
    );
  }
  const { metadata, spec } = answer.body as {
    readonly metadata?: { readonly uid?: unknown };
    readonly spec?: { readonly hostUsers?: unknown };
  };
  if (typeof metadata?.uid !== 'string' || typeof spec !== 'object' || spec === null) {
    return unknown('the answer of the API server is no pod');
  }
  // One that was deleted and made again under its name: a StatefulSet's, say.
  if (metadata.uid !== uid) {
    return unknown(`pod ${namespace}/${name} is another one by now: its uid is ${metadata.uid}, not ${uid}`);
  }
  return { is: spec.hostUsers === false ? 'own' : 'host' };
}

const REMEDIES: Readonly<Record<number, string>> = {
  401: "the driver's token is not accepted: its service account may have been deleted",
  403: 'its service account needs the rule {apiGroups: [""], resources: ["pods"], verbs: ["get"]}',
};

const unknown = (because: string): UserNamespace => ({ is: 'unknown', because });
