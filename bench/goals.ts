// What is to be reached, in one place: a row for each figure that a benchmark gives.
//
//   ratio   ours by the peer's, measured in turns in the same run
//   bound   a figure of ours alone, in its unit
import type { Summary } from './statistics.ts';

export interface Goal {
  readonly what: string;
  /** What the ratio is to; absent: a bound. */
  readonly peer?: string;
  readonly most: number;
  /** Of a bound. */
  readonly unit?: Unit;
  /** Which of many is held to it (default: the median). */
  readonly of?: keyof Pick<Summary, 'median' | 'p99' | 'max'>;
}

export type Unit = 'ms' | 'us' | 'MiB' | 'processes';

export const LAYER_COUNTS = [2, 20, 100] as const;
export type LayerCount = (typeof LAYER_COUNTS)[number];

const CONTAINERD = 'containerd';
const GO_CSI = 'Go CSI server';
const overlay = (what: string, most: number, layers: LayerCount): Goal => ({
  what: `overlay of ${layers} layers, ${what}: mount + unmount`,
  peer: CONTAINERD,
  most,
});
const cycle = (callers: number, of: 'median' | 'p99'): Goal => ({
  what: `NodePublish + NodeUnpublish, bind, ${callers === 1 ? '1 caller' : `${callers} callers`}: ${of === 'median' ? 'p50' : of}`,
  ...{ peer: GO_CSI, most: 0.5, of },
});

export const GOALS = {
  'userns-cold': { what: 'usernsFD, cold: create + close', peer: CONTAINERD, most: 0.25 },
  'userns-cached': { what: 'usernsFD from the cache', most: 10, unit: 'us' },
  'mapped-cold-2': overlay('ID-mapped, cold usernsFD', 0.25, 2),
  'mapped-cold-20': overlay('ID-mapped, cold usernsFD', 0.35, 20),
  'mapped-cold-100': overlay('ID-mapped, cold usernsFD', 0.5, 100),
  'mapped-seen-2': overlay('ID-mapped, mapping seen before', 0.1, 2),
  'mapped-seen-20': overlay('ID-mapped, mapping seen before', 0.25, 20),
  'mapped-seen-100': overlay('ID-mapped, mapping seen before', 0.45, 100),
  'mapped-private-2': overlay('ID-mapped, private namespace, cold usernsFD', 0.4, 2),
  'mapped-private-20': overlay('ID-mapped, private namespace, cold usernsFD', 0.6, 20),
  'mapped-private-100': overlay('ID-mapped, private namespace, cold usernsFD', 1, 100),
  'plain-2': overlay('not mapped', 1, 2),
  'plain-20': overlay('not mapped', 1, 20),
  'plain-100': overlay('not mapped', 1, 100),
  bind: { what: 'read-only bind: mount + unmount', peer: CONTAINERD, most: 1 },
  image: { what: 'ext4 image by a loop device: mount + unmount', peer: CONTAINERD, most: 1 },
  'publish-1-p50': cycle(1, 'median'),
  'publish-1-p99': cycle(1, 'p99'),
  'publish-32-p50': cycle(32, 'median'),
  'publish-32-p99': cycle(32, 'p99'),
  'publish-processes': { what: 'processes started by a publish and unpublish', most: 0, unit: 'processes' },
  'publish-crowded': {
    what: 'NodePublish + NodeUnpublish, bind, 1 caller, 5,000 other mounts',
    ...{ peer: 'ours with 50', most: 1.3 },
  },
  owner: { what: 'another owner for 1,000,000 files', most: 2, unit: 'ms' },
  'fs-group': { what: 'fsGroup of 1,000,000 files: added to NodePublish', most: 2, unit: 'ms' },
  start: { what: 'start of the process to Probe ready', most: 300, unit: 'ms' },
  'memory-idle': { what: 'resident memory, idle', most: 90, unit: 'MiB' },
  'memory-idle-all': { what: 'resident memory, idle, with the engine processes', most: 90, unit: 'MiB' },
  'memory-growth': { what: 'growth after 1,000 rounds of publish + unpublish', most: 5, unit: 'MiB' },
  nri: { what: 'NRI: added to a container of a pod that is not ours', most: 1, unit: 'ms' },
} as const satisfies Record<string, Goal>;

export type GoalName = keyof typeof GOALS;

export const goalOf = (name: GoalName): Goal => GOALS[name];
