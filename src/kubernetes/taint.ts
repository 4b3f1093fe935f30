// Removes a taint from our node once pods can use the driver there. Nodes come up with the taint (kubelet's
// --register-with-taints, a node pool's template), so that the scheduler brings no pod before the driver is there.
//
//   it waits for                                               because
//   registration with kubelet, where we register ourselves    before, kubelet cannot mount our volumes
//   CSINode to list the driver                                 the scheduler's limits and kubelet's own check go by it
//
// and only then patches the node, once in the life of the driver: a node that is made anew gets a new driver too.
// It never fails the driver: what goes wrong is told once for each kind, and tried again.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiAnswer, KubernetesApi } from './api.ts';

export interface StartupTaintOptions {
  readonly api: KubernetesApi;
  readonly nodeName: string;
  readonly driverName: string;
  /** Key of the taint; its value and effect do not matter. */
  readonly taint: string;
  readonly isRegistered: () => boolean;
  readonly onRemoved: (outcome: 'removed' | 'absent') => void;
  /** Told of each kind of failure once. */
  readonly onProblem: (problem: string) => void;
  readonly timeoutMs?: number;
  readonly timing?: Partial<TaintTiming>;
}

export interface TaintTiming {
  /** How often it is asked whether we are registered, which costs nothing. */
  readonly checkMs: number;
  /** Before the API server is asked again; each that follows waits twice as long as the last. */
  readonly retryMs: number;
  readonly longestRetryMs: number;
}

const TIMING: TaintTiming = { checkMs: 500, retryMs: 1_000, longestRetryMs: 30_000 };

/** Returns at once. Disposing it leaves the taint as it is. */
export function removeStartupTaint(options: StartupTaintOptions): AsyncDisposable {
  const stopping = new AbortController();
  const removed = keepTrying(options, stopping.signal);
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await removed;
    },
  };
}

/** What became of one attempt. `wait`: nothing is wrong, it is too early. */
type Attempt =
  | { readonly is: 'removed' | 'absent' | 'wait' }
  | { readonly is: 'problem'; readonly kind: string; readonly problem: string };

async function keepTrying(options: StartupTaintOptions, signal: AbortSignal): Promise<void> {
  const { isRegistered, onRemoved, onProblem } = options;
  const { checkMs, retryMs, longestRetryMs } = { ...TIMING, ...options.timing };
  const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => undefined);
  const told = new Set<string>();
  let next = retryMs;
  while (!signal.aborted) {
    if (!isRegistered()) {
      await pause(checkMs);
      continue;
    }
    const attempt = await tryOnce(options);
    if (signal.aborted) return;
    if (attempt.is === 'removed' || attempt.is === 'absent') return onRemoved(attempt.is);
    if (attempt.is === 'problem' && !told.has(attempt.kind)) {
      told.add(attempt.kind);
      onProblem(`the taint ${options.taint} is still on node ${options.nodeName}: ${attempt.problem}`);
    }
    await pause(next);
    next = Math.min(2 * next, longestRetryMs);
  }
}

async function tryOnce(options: StartupTaintOptions): Promise<Attempt> {
  const { api, nodeName, driverName, taint, isRegistered, timeoutMs = 5_000 } = options;
  const csiNode = await api.ask({
    method: 'GET',
    path: `/apis/storage.k8s.io/v1/csinodes/${encodeURIComponent(nodeName)}`,
    timeoutMs,
  });
  // Kubelet makes it when the first driver registers.
  if (csiNode.is === 'refused' && csiNode.status === 404) return { is: 'wait' };
  if (csiNode.is !== 'ok') return problemWith(csiNode, CSINODES);
  if (!listsDriver(csiNode.body, driverName)) return { is: 'wait' };

  const path = `/api/v1/nodes/${encodeURIComponent(nodeName)}`;
  const node = await api.ask({ method: 'GET', path, timeoutMs });
  if (node.is !== 'ok') return problemWith(node, NODES);
  const { metadata, spec } = node.body as NodeObject;
  const taints = spec?.taints ?? [];
  const others = taints.filter(({ key }) => key !== taint);
  if (others.length === taints.length) return { is: 'absent' };
  // An old CSINode may have listed us from before: it is kubelet's word that counts.
  if (!isRegistered()) return { is: 'wait' };
  // A merge patch has the whole list: with the version it is refused (409) when another has changed the node meanwhile.
  const body = {
    metadata: { resourceVersion: metadata?.resourceVersion },
    spec: { taints: others.length === 0 ? null : others },
  };
  const patched = await api.ask({ method: 'PATCH', path, body, timeoutMs });
  if (patched.is === 'ok') return { is: 'removed' };
  if (patched.is === 'refused' && patched.status === 409) return { is: 'wait' };
  return problemWith(patched, NODES);
}

interface NodeObject {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly spec?: { readonly taints?: readonly { readonly key?: unknown }[] };
}

function listsDriver(body: unknown, driverName: string): boolean {
  const { spec } = body as { readonly spec?: { readonly drivers?: unknown } };
  const drivers = Array.isArray(spec?.drivers)
    ? (spec.drivers as readonly { readonly name?: unknown }[])
    : [];
  return drivers.some(({ name }) => name === driverName);
}

const CSINODES = '{apiGroups: ["storage.k8s.io"], resources: ["csinodes"], verbs: ["get"]}';
const NODES = '{apiGroups: [""], resources: ["nodes"], verbs: ["get", "patch"]}';

function problemWith(answer: Exclude<ApiAnswer, { is: 'ok' }>, rule: string): Attempt {
  if (answer.is === 'failed') return { is: 'problem', kind: 'failed', problem: answer.because };
  const { status, message } = answer;
  const remedy = status === 403 ? `; the driver's service account needs the rule ${rule}` : '';
  return {
    is: 'problem',
    kind: `${status} ${rule}`,
    problem: `the API server answers ${status}: ${message}${remedy}`,
  };
}
