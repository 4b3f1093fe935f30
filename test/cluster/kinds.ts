// A pod for each kind of volume, which counts in its volume for as long as it runs: whoever looks sees whether the volume
// still takes what the pod writes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KubernetesObject, type PodStatus, targetOf, until } from './cluster.ts';
import { type At, dataSet } from './data.ts';
import { type Attributes, pod, volume } from './objects.ts';
import { running, untilRunning } from './pods.ts';

/** Of a persistent volume, by the name of the kind; inline where they say so. */
export const KINDS: Readonly<Record<string, (at: At) => Attributes>> = {
  bind: (at) => ({ source: at('base') }),
  'overlay-ephemeral': (at) => ({ ...overlay(at), writable: 'ephemeral', sizeLimit: '64Mi' }),
  'overlay-persistent': (at) => ({ ...overlay(at), upperdir: at('upper'), workdir: at('work') }),
  image: (at) => ({ type: 'image', source: at('disk.img'), fsType: 'ext4', mkfs: 'true', size: '64Mi' }),
  fuse: (at) => ({ type: 'fuse.bindfs', source: at('base') }),
  tmpfs: () => ({ type: 'tmpfs', sizeLimit: '16Mi' }),
};
const INLINE = new Set(['tmpfs']);

const overlay = (at: At): Attributes => ({ type: 'overlay', lowerdir: `${at('top')}:${at('base')}` });

/** By rename: who reads it never finds it empty. A failure ends the container. */
const COUNT =
  'i=0; while true; do i=$((i+1)); echo $i >/v/.new && mv /v/.new /v/count || exit 1; sleep 0.1; done';

export interface Counting {
  readonly name: string;
  /** Where the pod counts, on the node. */
  readonly counts: (pod: PodStatus) => string;
  readonly objects: readonly KubernetesObject[];
}

/** One for each kind, or for those that are named. */
export const countingPods = (
  prefix: string,
  { kinds = Object.keys(KINDS), hostUsers = true }: { kinds?: readonly string[]; hostUsers?: boolean } = {},
): Counting[] =>
  kinds.map((kind) => {
    const name = `${prefix}-${kind}`;
    const attributes = { ...KINDS[kind]?.(dataSet(name)), ...(hostUsers ? {} : MAPPED[kind]) };
    const inline = INLINE.has(kind);
    const containers = [{ name: 'main', script: COUNT }];
    return {
      name,
      counts: (one) => join(targetOf(one, inline ? 'v' : name), 'count'),
      objects: [
        ...(inline ? [] : volume(name, attributes)),
        pod({ name, hostUsers, containers, ...(inline && { inline: attributes }) }),
      ],
    };
  });

/** What kinds that the runtime cannot map need for pods with user namespaces. */
const MAPPED: Readonly<Record<string, Attributes>> = {
  'overlay-ephemeral': { idmap: 'pod' },
  'overlay-persistent': { idmap: 'pod' },
  fuse: { idmap: 'pod' },
};

/** Makes them, and waits until each runs and counts. */
export async function runningAll(
  stack: AsyncDisposableStack,
  pods: readonly Counting[],
): Promise<PodStatus[]> {
  await running(stack, ...pods.flatMap(({ objects }) => objects));
  const started = await Promise.all(pods.map(({ name }) => untilRunning(name)));
  await untilAllCountOn(pods, started);
  return started;
}

/** Resolves when each has gone on since. */
export async function untilAllCountOn(
  pods: readonly Counting[],
  statuses: readonly PodStatus[],
): Promise<void> {
  const files = pods.map(({ counts }, index) => counts(statuses[index] as PodStatus));
  const before = files.map(countIn);
  await until(
    () =>
      `all count on: ${files.map((file, index) => `${file}: ${before[index]} -> ${countIn(file)}`).join(', ')}`,
    () => files.every((file, index) => countIn(file) > (before[index] ?? 0) + 2),
  );
}

function countIn(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return 0;
  }
}
