// Pods of the tests: made, waited for, and gone at the end of the block.
import {
  applied,
  type KubernetesObject,
  kubectl,
  type PodStatus,
  podOf,
  untilGone,
  untilPod,
} from './cluster.ts';

export const isOver = ({ status }: PodStatus): boolean =>
  status.phase === 'Succeeded' || status.phase === 'Failed';

export const isRunning = ({ status }: PodStatus): boolean =>
  status.phase === 'Running' && (status.containerStatuses ?? []).every(({ state }) => state.running);

/** Made, and deleted at the end of the block, when kubelet has forgotten the pods among them. */
export async function running(
  stack: AsyncDisposableStack,
  ...objects: readonly KubernetesObject[]
): Promise<void> {
  const names = objects
    .filter(({ kind }) => kind === 'Pod')
    .map(({ metadata }) => (metadata as { name: string }).name);
  const pods: PodStatus[] = [];
  stack.defer(async () => {
    for (const one of pods) await untilGone(one);
  });
  stack.use(await applied(...objects));
  for (const name of names) pods.push(await podOf(name));
}

export const untilRunning = (name: string): Promise<PodStatus> => untilPod(name, 'it runs', isRunning);

/** All of these, by one question. */
export async function podsCalled(names: readonly string[]): Promise<PodStatus[]> {
  const { items } = JSON.parse(await kubectl('get', 'pods', '-o', 'json', ...names)) as {
    items: PodStatus[];
  };
  return items;
}

/** What the container of a pod has printed, once it has ended. */
export async function outputOf(name: string): Promise<string[]> {
  await untilPod(name, 'it ends', isOver);
  return (await kubectl('logs', name)).trim().split('\n').filter(Boolean);
}

/** What a command prints in the container of a pod that runs. */
export const inPod = (name: string, ...command: readonly string[]): Promise<string> =>
  kubectl('exec', name, '--', ...command);
