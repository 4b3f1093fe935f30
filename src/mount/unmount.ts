// Taking mounts away: the top one at a target, never through a symbolic link.
//
//   errno    means
//   EINVAL   not a mount point: nothing to do
//   ENOENT   nothing there: nothing to do
//   EBUSY    in use; the caller decides how long to try again (engine.ts)
import { UMOUNT } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import { umount2 } from '../sys/syscalls.ts';
import { MountError } from './errors.ts';
import type { Target } from './target.ts';

export interface UnmountOptions {
  /** Take it out of sight at once, and away when its last user is gone (MNT_DETACH). */
  readonly lazy: boolean;
}

/**
 * Unmounts the top mount at the target. False when there is none.
 * @throws MountError (busy)
 */
export function unmountTop(target: Target, { lazy }: UnmountOptions): boolean {
  try {
    umount2(target.pathByParent, UMOUNT.UMOUNT_NOFOLLOW | (lazy ? UMOUNT.MNT_DETACH : 0));
    return true;
  } catch (error) {
    if (hasErrno(error, 'EINVAL', 'ENOENT')) return false;
    if (hasErrno(error, 'EBUSY')) {
      throw new MountError(
        {
          reason: 'busy',
          message: `${target.path} is in use: a process works in it, has a file open there, or something is mounted below it`,
          rolledBack: true,
          errno: 'EBUSY',
        },
        { cause: error },
      );
    }
    throw error;
  }
}
