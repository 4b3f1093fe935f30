// What a volume is once its context has been read: which mounts it needs is decided from this alone (mounts.ts).
import type { Layer } from '../mount/layers.ts';

export type Volume = BindVolume | TmpfsVolume | OverlayVolume;
export type VolumeType = Volume['type'];

interface Common {
  /** fstab options of the author and of the capability's mount_flags, in that order, checked by policy. */
  readonly options: readonly string[];
  /** Both mappings in their text form, or none. */
  readonly idmap: { readonly uidmap: string; readonly gidmap: string } | undefined;
  /** Written by the author of a pod, not by an administrator. */
  readonly inline: boolean;
  /** What Kubernetes says of the pod at publish (podInfoOnMount). */
  readonly pod: PodInfo | undefined;
}

export interface PodInfo {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly serviceAccount: string;
}

export interface BindVolume extends Common {
  readonly type: 'bind';
  readonly source: string;
}

export interface TmpfsVolume extends Common {
  readonly type: 'tmpfs';
}

export interface OverlayVolume extends Common {
  readonly type: 'overlay';
  readonly lowerdir: readonly Layer[];
  readonly upper: { readonly upperdir: string; readonly workdir: string } | undefined;
}
