// Volumes and policies for the tests of src/policy.
import type { Facts } from '../../../src/policy/authorize.ts';
import type { Policy } from '../../../src/policy/policy.ts';
import { readPolicy } from '../../../src/policy/read.ts';
import type {
  BindVolume,
  FilesystemVolume,
  FuseVolume,
  ImageVolume,
  MountsVolume,
  OverlayVolume,
  PartVolume,
  TmpfsVolume,
} from '../../../src/volume/volume.ts';

export const POD = { name: 'web-0', namespace: 'team-a', uid: 'u-1', serviceAccount: 'web' };

const inlineOf = { options: [], idmap: { is: 'none' }, inline: true, pod: POD } as const;

type Changes<V> = Partial<Omit<V, 'kind'>>;

export const bind = (source: string, changes: Changes<BindVolume> = {}): BindVolume => ({
  ...{ kind: 'bind', type: 'bind', source },
  ...inlineOf,
  ...changes,
});

export const tmpfs = (changes: Changes<TmpfsVolume> = {}): TmpfsVolume => ({
  ...{ kind: 'tmpfs', type: 'tmpfs', sizeLimit: undefined },
  ...inlineOf,
  ...changes,
});

/** Layers with `::` before them are data-only. */
export const overlay = (layers: readonly string[], changes: Changes<OverlayVolume> = {}): OverlayVolume => ({
  ...{ kind: 'overlay', type: 'overlay', writable: { is: 'no' } },
  lowerdir: layers.map((text) => ({ path: text.replace(/^::/, ''), dataOnly: text.startsWith('::') })),
  ...inlineOf,
  ...changes,
});

export const image = (source: string, changes: Changes<ImageVolume> = {}): ImageVolume => ({
  ...{ kind: 'image', type: 'image', source, block: false, filesystem: 'squashfs', make: undefined },
  ...inlineOf,
  ...changes,
});

export const filesystem = (
  type: string,
  source: string,
  changes: Changes<FilesystemVolume> = {},
): FilesystemVolume => ({ ...{ kind: 'filesystem', type, source }, ...inlineOf, ...changes });

export const fuse = (helper: string, source: string, changes: Changes<FuseVolume> = {}): FuseVolume => ({
  ...{ kind: 'fuse', type: `fuse.${helper}`, helper, source },
  ...inlineOf,
  ...changes,
});

export const mounts = (...parts: PartVolume[]): MountsVolume => ({
  ...{ kind: 'mounts', type: 'mounts' },
  ...inlineOf,
  inline: parts[0]?.inline ?? true,
  pod: parts[0]?.pod,
  parts: parts.map((volume, i) => ({ target: i === 0 ? '' : `part-${i}`, volume })),
});

/** By an administrator; at stage, where nobody knows the pod. */
export const STAGED = { inline: false, pod: undefined } as const;
export const PUBLISHED = { inline: false, pod: POD } as const;

export const NO_FACTS: Facts = { volumesOfNamespace: 0, forbidden: [] };

/** A policy of these rules, each the text of its keys. */
export function policyOf(...rules: string[]): Policy {
  const items = rules.map((keys) => `  - ${keys.replaceAll('\n', '\n    ')}`);
  return readPolicy(['version: 1', items.length === 0 ? 'rules: []' : 'rules:', ...items].join('\n'));
}
