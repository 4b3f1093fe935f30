// A real node for the tests: what `make cluster` has started (node/), asked by kubectl.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { needFile, needRoot } from '../support/need.ts';
import { withEvidence } from './evidence.ts';
import { environment, KUBECONFIG, KUBELET_DIR } from './where.ts';

/** What the pods of the tests run. */
export const IMAGE = 'local/busybox:1';

/** An object as kubectl takes it. */
export type KubernetesObject = Readonly<Record<string, unknown>>;

const run = promisify(execFile);
const SCRIPTS = join(import.meta.dirname, 'node');

/** Skips where there is no cluster. The image of the pods is there afterwards. */
export async function needCluster(context: Mocha.Context): Promise<void> {
  needRoot(context, 'a real node');
  needFile(context, KUBECONFIG, 'there is no cluster; start one by `make cluster`');
  await script('load-image', IMAGE, 'busybox');
}

/** Of node/: `restart containerd`. */
export async function script(name: string, ...args: readonly string[]): Promise<void> {
  await run(join(SCRIPTS, name), args, { env: environment });
}

export async function kubectl(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('kubectl', args, { env: environment, maxBuffer: 16 << 20 });
  return stdout;
}

/** With these objects as its input: `create --dry-run=server`. */
export async function kubectlWith(
  objects: readonly KubernetesObject[],
  ...args: readonly string[]
): Promise<void> {
  const asked = run('kubectl', [...args, '-f', '-'], { env: environment });
  asked.child.stdin?.end(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  await asked;
}

/** Makes these objects. At the end of the block they are deleted, and gone. */
export async function applied(...objects: readonly KubernetesObject[]): Promise<AsyncDisposable> {
  const ask = (...args: readonly string[]) => kubectlWith(objects, ...args);
  await ask('apply');
  return {
    [Symbol.asyncDispose]: () => ask('delete', '--wait', '--timeout=120s', '--ignore-not-found', '--now'),
  };
}

interface ContainerStatus {
  readonly name: string;
  readonly restartCount: number;
  readonly state: {
    readonly running?: object;
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly terminated?: { readonly reason?: string; readonly message?: string; readonly exitCode: number };
  };
}

export interface PodStatus {
  readonly metadata: { readonly uid: string };
  readonly status: {
    readonly phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
    readonly containerStatuses?: readonly ContainerStatus[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
  };
}

export const podOf = async (name: string): Promise<PodStatus> =>
  JSON.parse(await kubectl('get', 'pod', name, '-o', 'json'));

/** Reason and message of each Event of a pod. */
export async function eventsOf(pod: string): Promise<string[]> {
  const { items } = JSON.parse(
    await kubectl('get', 'events', '--field-selector', `involvedObject.name=${pod}`, '-o', 'json'),
  ) as { items: { reason: string; message: string }[] };
  return items.map(({ reason, message }) => `${reason}: ${message}`);
}

const PATIENCE_MS = 120_000;

/** @throws Error that says how the pod is, when it does not come so far */
export async function untilPod(
  name: string,
  what: string,
  isSo: (pod: PodStatus) => boolean,
): Promise<PodStatus> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const pod = await podOf(name);
    if (isSo(pod)) return pod;
    if (performance.now() > deadline) {
      const events = (await eventsOf(name)).join('\n  ');
      const status = JSON.stringify(pod.status);
      throw withEvidence(new Error(`pod ${name}: waited in vain: ${what}: ${status}\n  ${events}`));
    }
    await sleep(200);
  }
}

/** Waits for something on the node. `what` may tell how far it has come. */
export async function until(
  what: string | (() => string),
  isSo: () => boolean | Promise<boolean>,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) {
      throw withEvidence(new Error(`waited in vain: ${typeof what === 'string' ? what : what()}`));
    }
    await sleep(50);
  }
}

/** Where kubelet has a volume of a pod. */
export const targetOf = ({ metadata }: PodStatus, volume: string): string =>
  join(KUBELET_DIR, 'pods', metadata.uid, 'volumes/kubernetes.io~csi', volume, 'mount');

/** When kubelet has taken away all of a pod that it had on the node. */
export const untilGone = ({ metadata }: PodStatus): Promise<void> =>
  until(`pod ${metadata.uid} is gone`, () => !existsSync(join(KUBELET_DIR, 'pods', metadata.uid)));
