// Volumes of every kind, for tests of what is made of them.
import { kernelWith } from '../../../src/mount/kernel.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { plan } from '../../../src/mount/plan.ts';
import { FEATURES, type FeatureName } from '../../../src/sys/features.ts';
import { type Capability, readVolumeContext, type VolumeContext } from '../../../src/volume/context.ts';
import type { Publication } from '../../../src/volume/publish.ts';
import type { Staging } from '../../../src/volume/stage.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import type { Terms } from '../../../src/volume/whole.ts';

export const MAPPING = '0:100000:65536';
const IDS = { uidmap: MAPPING, gidmap: MAPPING };
const LAYERS = { type: 'overlay', lowerdir: '/b:/a' };
const UPPER = { upperdir: '/u', workdir: '/w' };

export const CONTEXTS = {
  bind: { source: '/srv' },
  'bind, mapped': { source: '/srv', ...IDS },
  'bind with an owner': { source: '/srv', owner: '1000:1000' },
  tmpfs: { type: 'tmpfs', sizeLimit: '1Mi' },
  'read-only overlay': LAYERS,
  'read-only overlay, mapped': { ...LAYERS, ...IDS },
  'persistent overlay': { ...LAYERS, ...UPPER },
  'persistent overlay, mapped': { ...LAYERS, ...UPPER, ...IDS },
  'ephemeral overlay': { ...LAYERS, writable: 'ephemeral' },
  image: { type: 'image', source: '/srv/a.img' },
  'new image': { type: 'image', source: '/srv/a.img', fsType: 'xfs', mkfs: 'true', size: '1Gi' },
  device: { type: 'ext4', source: '/dev/vdb' },
  fuse: { type: 'fuse.bindfs', source: '/srv' },
  mounts: { mounts: '[{"source":"/srv/a"},{"type":"overlay","lowerdir":"/b:/a","target":"b"}]' },
  'bind, idmap: pod': { source: '/srv', idmap: 'pod' },
  'overlay, idmap: pod': { ...LAYERS, idmap: 'pod' },
  'persistent overlay, idmap: pod': { ...LAYERS, ...UPPER, idmap: 'pod' },
  'fuse, idmap: pod': { type: 'fuse.bindfs', source: '/srv', idmap: 'pod', nestedDir: 'files' },
} as const satisfies Readonly<Record<string, VolumeContext>>;

export type Name = keyof typeof CONTEXTS;
export const NAMES = Object.keys(CONTEXTS) as Name[];

export const INLINE = { 'csi.storage.k8s.io/ephemeral': 'true' };

export const volumeOf = (name: Name, more: VolumeContext = {}, capability: Capability = {}): Volume =>
  readVolumeContext({ ...CONTEXTS[name], ...more }, capability);

/** An image as a block device of the pod. */
export const blockVolume = (): Volume => volumeOf('image', {}, { block: true });

/** What policy gives by default. */
export const TERMS: Terms = { options: ['nosuid', 'nodev'], parts: [] };

export const STAGING: Staging = { terms: TERMS, group: undefined, readOnly: false };

export const PUBLICATION: Publication = {
  terms: TERMS,
  stagingPath: '/staging',
  readonly: false,
  readOnlyMode: false,
  group: undefined,
  mayMap: true,
};

export function theMount(mounts: readonly Mount[]): Mount {
  const [mount, ...more] = mounts;
  if (mount === undefined || more.length > 0) throw new Error(`${mounts.length} mounts`);
  return mount;
}

/** The values of an option, in the order in which they are given. */
export const valuesOf = ({ options }: Mount, name: string): string[] =>
  options.filter((option) => option.startsWith(`${name}=`)).map((option) => option.slice(name.length + 1));

const NEWEST = kernelWith(Object.keys(FEATURES) as FeatureName[]);

/** The steps that make it, on a kernel that has everything. */
export const planned = (mount: Mount) => plan(mount, NEWEST);
