// What a volume shares on a node, made once at the staging path. Pure.
//
//   kind                            staged
//   bind                            nothing: each publish binds the source. Of two staged binds of one directory kubelet unstages
//                                   neither: each is to it a mount of the other's device (GetDeviceMountRefs)
//   tmpfs, filesystem               itself, with the ids that are on disk: each publish maps its own view
//   image                           itself, likewise; made first and checked where it is to be written
//   image as a block device         nothing: its loop device is made with the first publish
//   fuse                            itself, mapped where the kernel and the helper can
//   overlay, read-only, persistent  itself, its layers mapped: an overlay cannot be mapped afterwards
//   overlay, ephemeral              nothing: each publish has an overlay of its own
//   overlay, fuse, idmap: pod       nothing: the mapping is known when the pod's sandbox is
//   mounts                          all of it
import type { Mount } from '../mount/mount.ts';
import { freshRoot, type Ownership, type RootOwner, SHARED_MODE } from './ownership.ts';
import type { MadeFilesystem, Volume } from './volume.ts';
import { type Terms, wholeVolume } from './whole.ts';

export interface StagePlan {
  readonly before: Preparation;
  /** None: nothing is shared. */
  readonly mounts: readonly Mount[];
}

/** What is to be done to what a volume is made of, before it is mounted. */
export interface Preparation {
  readonly image?: ImagePreparation;
  /** A persistent upper layer, which gets this group where nothing has been written to it yet. */
  readonly upper?: { readonly path: string; readonly gid: number; readonly mode: number };
}

export interface ImagePreparation {
  readonly path: string;
  /** Make it when it is missing. */
  readonly make:
    | { readonly filesystem: MadeFilesystem; readonly bytes: number; readonly root: RootOwner | undefined }
    | undefined;
  /** Check its filesystem: it will be written to. */
  readonly check: boolean;
  readonly filesystem: string;
}

export interface Staging {
  readonly terms: Terms;
  readonly group: number | undefined;
  /** The access mode lets nobody write. */
  readonly readOnly: boolean;
}

/** Whether publish shows what is staged, or makes the volume itself. */
export function isShared(volume: Volume, group: number | undefined): boolean {
  if (volume.inline || volume.kind === 'bind') return false;
  if (volume.kind === 'image' && volume.block) return false;
  if (volume.kind === 'fuse') return volume.idmap.is !== 'pod';
  if (volume.kind !== 'overlay') return true;
  if (volume.idmap.is === 'pod') return false;
  const { is } = volume.writable;
  // The group of a read-only overlay is shown by mapping its layers, for each publish those of its pod.
  return is === 'persistent' || (is === 'no' && group === undefined);
}

export function planStage(volume: Volume, { terms, group, readOnly }: Staging): StagePlan {
  const before = preparationOf(volume, { group, readOnly });
  if (!isShared(volume, undefined)) return { before, mounts: [] };
  const mapsViews = volume.kind !== 'overlay' && volume.kind !== 'fuse';
  // A tmpfs is made for the first pod's group; for others it is mapped.
  const ownership: Ownership = mapsViews
    ? { idmap: volume.idmap, group, mayMap: false }
    : { idmap: volume.idmap, group: undefined, mayMap: true };
  return { before, mounts: wholeVolume(volume, { terms, ownership, view: readOnly ? ['ro'] : [] }) };
}

/** For inline volumes too, whose publish does both. */
export function preparationOf(
  volume: Volume,
  { group, readOnly }: Pick<Staging, 'group' | 'readOnly'>,
): Preparation {
  if (volume.kind === 'overlay' && volume.writable.is === 'persistent' && group !== undefined) {
    // On disk are the ids that are shown, or those that the pod's own mapping shows as them.
    return { upper: { path: volume.writable.upperdir, gid: group, mode: SHARED_MODE } };
  }
  if (volume.kind !== 'image' || volume.block) return {};
  const { source, filesystem, make, idmap, options } = volume;
  const root = freshRoot({ idmap, group });
  const check = !readOnly && !options.includes('ro');
  return { image: { path: source, make: make && { ...make, root }, check, filesystem } };
}

/** Directories are only made in what goes with the volume: never in a directory of the node. */
export function makesTargets(volume: Volume): boolean {
  return volume.kind === 'mounts' && volume.parts[0]?.volume.kind === 'tmpfs';
}
