// The lingua franca of the engine: one filesystem to be mounted, said as fstab(5) would. A value of this type
// is never changed and can be mounted any number of times.

export interface Mount {
  /** Filesystem type of the kernel (`overlay`, `tmpfs`, ...), or `bind`. */
  readonly type: string;
  /** Directory, device or name, as the type reads it. */
  readonly source: string;
  /** Path below the root of the mount set; absent or empty for the root itself. */
  readonly target?: string;
  /** fstab-style options, one each: `ro`, `lowerdir=/a:/b`, `uidmap=0:100000:65536`. */
  readonly options: readonly string[];
}
