// What a volume is once its context has been read: what has to be mounted for it is decided from this alone
// (stage.ts, publish.ts), and whether its author may have it (src/policy).
import type { Layer } from '../mount/layers.ts';

export type Volume =
  | BindVolume
  | TmpfsVolume
  | OverlayVolume
  | ImageVolume
  | FilesystemVolume
  | FuseVolume
  | MountsVolume;

export type VolumeKind = Volume['kind'];

/** What can be a part of a volume of several mounts. */
export type PartVolume = Exclude<Volume, MountsVolume>;

interface Common {
  /** As its author names it: `bind`, `overlay`, `ext4`, `fuse.sshfs`. */
  readonly type: string;
  /** fstab options of the author and of the capability's mount_flags, in that order; policy checks them. */
  readonly options: readonly string[];
  readonly idmap: Idmap;
  /** Written by the author of a pod, not by an administrator. */
  readonly inline: boolean;
  /** What Kubernetes says of the pod at publish (podInfoOnMount). */
  readonly pod: PodInfo | undefined;
}

/** Whose ids the files are shown with. */
export type Idmap =
  | { readonly is: 'none' }
  /** Both mappings in their text form. */
  | { readonly is: 'explicit'; readonly uidmap: string; readonly gidmap: string }
  /** The source's root owner is shown as this one, and the reverse. */
  | { readonly is: 'owner'; readonly uid: number; readonly gid: number | undefined }
  /** Those of the pod's own user namespace; `nestedDir`: it is to be nested, in a directory of this name. */
  | { readonly is: 'pod'; readonly nestedDir: string | undefined };

export interface PodInfo {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly serviceAccount: string;
}

/** What mkfs can make. */
export const MADE_FILESYSTEMS = ['ext4', 'xfs', 'btrfs'] as const;
export type MadeFilesystem = (typeof MADE_FILESYSTEMS)[number];

export interface BindVolume extends Common {
  readonly kind: 'bind';
  readonly source: string;
}

export interface TmpfsVolume extends Common {
  readonly kind: 'tmpfs';
  /** Bytes. */
  readonly sizeLimit: number | undefined;
}

export interface OverlayVolume extends Common {
  readonly kind: 'overlay';
  /** Top first. */
  readonly lowerdir: readonly Layer[];
  readonly writable: Writable;
}

export type Writable =
  | { readonly is: 'no' }
  /** The driver makes the writable layer, one for each publish, and removes it; `sizeLimit` in bytes. */
  | { readonly is: 'ephemeral'; readonly sizeLimit: number | undefined }
  | { readonly is: 'persistent'; readonly upperdir: string; readonly workdir: string };

/** A filesystem in a file, or the file itself as a block device. */
export interface ImageVolume extends Common {
  readonly kind: 'image';
  /** An image file, or a block device. */
  readonly source: string;
  /** The pod gets a block device, not a filesystem. */
  readonly block: boolean;
  /** Its filesystem; `auto` where it is to be found out. */
  readonly filesystem: string;
  /** To be made when it is missing. */
  readonly make: { readonly filesystem: MadeFilesystem; readonly bytes: number } | undefined;
}

/** A filesystem of the kernel on a device or a server: `type` is its name. */
export interface FilesystemVolume extends Common {
  readonly kind: 'filesystem';
  readonly source: string;
}

/** A FUSE filesystem: the program of the type `fuse.HELPER` or `fuse3.HELPER` mounts it. */
export interface FuseVolume extends Common {
  readonly kind: 'fuse';
  readonly helper: string;
  /** As the helper reads it: a path, `user@host:/directory`, ... */
  readonly source: string;
}

/** Several mounts, the first at the root, the others below it. */
export interface MountsVolume extends Common {
  readonly kind: 'mounts';
  readonly parts: readonly Part[];
}

export interface Part {
  /** Below the volume's root; empty for the root itself. */
  readonly target: string;
  readonly volume: PartVolume;
}
