// What one pod gets at its target path. Pure.
//
//   view     a bind of what is staged, with ids and `ro` of its own
//   whole    the volume itself: inline ones, ephemeral overlays, read-only overlays shown with a group
//   device   an image as a block device
//
// Where the pod's own mapping has to be known first (an overlay or FUSE, which no runtime can map; a volume that is shown
// with a mapping of its own), a cover comes first, and the volume later (planMounts, with what is known by then):
//
//   nested        a tiny read-only tmpfs, which the runtime can map, and the volume below it
//   placeholder   an empty overlay, which no runtime can map, so that no container starts on it, and the volume over it
//
// `ro` on a bind does not reach the container, whose runtime binds the volume again with flags of its own: read-only is
// what has a read-only superblock, or what the request says is `readonly`, on which kubelet makes the container's mount
// read-only too. And what has a read-only superblock has no flags on its mount (WITHOUT_FLAGS).
import { escapeLayer } from '../mount/layers.ts';
import type { Mount } from '../mount/mount.ts';
import type { UserMapping } from '../userns/mapping.ts';
import { VolumeError } from './errors.ts';
import { idmapOptions, type Ownership } from './ownership.ts';
import { isShared } from './stage.ts';
import type { Volume } from './volume.ts';
import { type Making, ownTerms, type Terms, wholeVolume } from './whole.ts';

export interface Publication {
  readonly terms: Terms;
  /** Where the volume is staged; undefined for an inline one. */
  readonly stagingPath: string | undefined;
  /** The request's `readonly`. */
  readonly readonly: boolean;
  /** The access mode lets nobody write. */
  readonly readOnlyMode: boolean;
  /** fsGroup. */
  readonly group: number | undefined;
  /** Whether we may map ids: not for a pod with a user namespace, whose runtime will. */
  readonly mayMap: boolean;
  /** What the pod gets until its mapping is known; undefined: the volume, at once. */
  readonly cover?: Cover | undefined;
}

export type Cover = 'nested' | 'placeholder';

export type PublishPlan =
  | { readonly is: 'mounts'; readonly mounts: readonly Mount[] }
  | { readonly is: 'device'; readonly image: string; readonly readOnly: boolean }
  | { readonly is: 'nested'; readonly cover: Mount; readonly nestedDir: string }
  | { readonly is: 'placeholder' };

/**
 * Takes `ro`, `nosuid`, `nodev` and `noexec` from the mount of a filesystem that is read-only by itself. A user namespace
 * locks these flags; runc, which fails to set flags of its own then, takes the superblock for one that it must not
 * clear, and the container does not start. A pod on the host's ids is not bound by them anyway.
 */
export const WITHOUT_FLAGS: Mount = {
  type: 'none',
  source: '',
  options: ['remount', 'bind', 'rw', 'suid', 'dev', 'exec'],
};

/** The same of a mount that is yet to be made. */
export const withoutFlags = (mount: Mount): Mount => ({
  ...mount,
  options: [...mount.options, 'rw', 'suid', 'dev', 'exec'],
});

/** Whether that is to be done, should the filesystem turn out to be read-only: where the runtime maps what it mounts. */
export function mayLock(volume: Volume, { readonly }: Pick<Publication, 'readonly'>): boolean {
  return !readonly && volume.kind !== 'overlay' && volume.kind !== 'fuse';
}

/** A nested publish holds nothing of its own but one directory. */
const COVER_SIZE = '64k';
const NESTED_DIR = 'data';

/** The directory below a nested target where the volume appears. */
export const nestedDirOf = ({ idmap }: Volume): string =>
  (idmap.is === 'pod' ? idmap.nestedDir : undefined) ?? NESTED_DIR;

/** Whether the driver is to make a writable layer for this publish; its limit in bytes. */
export function layerWanted(
  volume: Volume,
  { readonly, terms }: Pick<Publication, 'readonly' | 'terms'>,
): { readonly bytes: number | undefined } | undefined {
  if (volume.kind !== 'overlay' || volume.writable.is !== 'ephemeral' || readonly) return undefined;
  return { bytes: ownTerms(terms).sizeLimit };
}

/** Whether it asks for the pod's own ids and cannot be mapped by the runtime. */
export function isNested(volume: Volume): boolean {
  return volume.idmap.is === 'pod' && (volume.kind === 'overlay' || volume.kind === 'fuse');
}

/**
 * Whether a pod with a user namespace can be given a view of its own when its mapping is known. Not of what is mounted
 * once for all pods, with ids that cannot be mapped again; nor of several mounts, of which one may be so.
 */
export function canBeMappedLater({ kind, idmap, ...volume }: Volume): boolean {
  if (kind === 'mounts') return false;
  const isPersistent = 'writable' in volume && volume.writable.is === 'persistent';
  return !isPersistent || volume.inline || idmap.is === 'pod';
}

/**
 * @param layer the writable layer that layerWanted() asked for
 * @throws VolumeError when `ro` is asked for in a way that would not hold inside the container
 */
export function planPublish(volume: Volume, publication: Publication, layer?: Making['layer']): PublishPlan {
  refuseUnholdable(volume, publication);
  const { readonly, readOnlyMode, cover } = publication;
  if (volume.kind === 'image' && volume.block) {
    return { is: 'device', image: volume.source, readOnly: readonly || readOnlyMode };
  }
  if (cover === 'nested') return { is: 'nested', ...coverOf(volume) };
  if (cover === 'placeholder') return { is: 'placeholder' };
  return { is: 'mounts', mounts: planMounts(volume, publication, { layer }) };
}

export interface Known {
  readonly layer?: Making['layer'];
  /** Of the pod's user namespace; undefined for a pod without one, and where the runtime maps. */
  readonly podMapping?: UserMapping | undefined;
}

/** What the volume itself is made of: at once, or, for a cover, when the pod's ids are known. */
export function planMounts(
  volume: Volume,
  publication: Omit<Publication, 'cover'>,
  { layer, podMapping }: Known = {},
): readonly Mount[] {
  const { stagingPath, readonly, readOnlyMode, group, mayMap, terms } = publication;
  const view = readonly || readOnlyMode ? ['ro'] : [];
  const ownership: Ownership = { idmap: volume.idmap, group, mayMap, podMapping };
  const making: Making = { terms, ownership, view, layer };
  if (stagingPath === undefined || !isView(volume, publication, podMapping))
    return wholeVolume(volume, making);
  return [viewOf(volume, stagingPath, making)];
}

/** Of what is staged. An overlay or FUSE cannot be mapped once it is mounted, and the pod needs one of its own. */
export function isView(
  volume: Volume,
  { group, mayMap }: Pick<Publication, 'group' | 'mayMap'>,
  podMapping: UserMapping | undefined,
): boolean {
  const isMappable = volume.kind !== 'overlay' && volume.kind !== 'fuse';
  return isShared(volume, mayMap ? group : undefined) && (isMappable || podMapping === undefined);
}

function viewOf(volume: Volume, source: string, { terms, ownership, view }: Making): Mount {
  const always = ['unpeered', ...terms.options];
  switch (volume.kind) {
    // Mapped where it was made, as far as it can be.
    case 'overlay':
    case 'fuse':
      return { type: 'bind', source, options: ['bind', ...always, ...view] };
    case 'mounts':
      return {
        type: 'bind',
        source,
        options: ['rbind', 'runpeered', ...terms.options, ...view.map((word) => `r${word}`)],
      };
    default:
      return { type: 'bind', source, options: ['bind', ...always, ...idmapOptions(ownership), ...view] };
  }
}

/**
 * Shared, by mount(2) too: what comes below it later shows in the container (mountPropagation: HostToContainer). Made
 * as WITHOUT_FLAGS would leave it; there is nothing in it for flags to hold back.
 */
function coverOf(volume: Volume): { cover: Mount; nestedDir: string } {
  const nestedDir = nestedDirOf(volume);
  const options = ['mode=0755', `size=${COVER_SIZE}`, `mkdir=${nestedDir}`, 'ro'];
  return { nestedDir, cover: { type: 'tmpfs', source: 'tmpfs', options } };
}

/** By this name a placeholder is known in the list of mounts. */
export const PLACEHOLDER = 'csi-driver-idmap-placeholder';

/** @param empty a directory with nothing in it */
export function placeholderOf(empty: string): Mount {
  return { type: 'overlay', source: PLACEHOLDER, options: [`lowerdir=${escapeLayer(empty)}`] };
}

function refuseUnholdable(volume: Volume, { readonly, readOnlyMode }: Publication): void {
  if (readonly) return;
  const parts = volume.kind === 'mounts' ? volume.parts.map((part) => part.volume) : [volume];
  for (const part of parts) {
    if (part.kind === 'bind' && part.options.includes('ro')) {
      throw new VolumeError(
        'options',
        'ro on a bind does not reach the container, whose runtime binds the volume again with flags of its own; ' +
          'set readOnly: true on the volume (pod) or its mount, or use type overlay, which is read-only by itself',
      );
    }
  }
  const isWritableBySuperblock =
    volume.kind === 'bind' || volume.kind === 'tmpfs' || volume.kind === 'mounts';
  if (
    readOnlyMode &&
    (isWritableBySuperblock || (volume.kind === 'overlay' && volume.writable.is !== 'no'))
  ) {
    throw new VolumeError(
      'access_mode',
      `of readers only would not hold inside the container for type ${volume.type}; set readOnly: true on the ` +
        "pod's claim, or use type overlay without a writable layer, or an image",
    );
  }
}
