// Taking mounts away: the top one at a target, never through a symbolic link. FUSE mounts have a way of their own
// before that (fuse/unmount.ts).
//
//   errno    means
//   EINVAL   not a mount point: nothing to do
//   ENOENT   nothing there: nothing to do
//   EBUSY    in use; the caller decides how long to try again (engine.ts)
import { UMOUNT } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import { umount2 } from '../sys/syscalls.ts';
import { MountError } from './errors.ts';
import { abortConnection } from './fuse/connection.ts';
import { beginPrograms, type Programs } from './fuse/programs.ts';
import { askFusermount, fuseMountAt } from './fuse/unmount.ts';
import type { Target } from './target.ts';

export interface UnmountOptions {
  /** Take it out of sight at once, and away when its last user is gone (MNT_DETACH). */
  readonly lazy: boolean;
  /** Cut a FUSE mount off from its server first; then it goes even if it is in use. */
  readonly force?: boolean;
  readonly programs?: Programs;
}

/**
 * Unmounts the top mount at the target. False when there is none.
 * @throws MountError (busy; timeout for a FUSE mount whose server does not answer)
 */
export function unmountTop(target: Target, options: UnmountOptions): boolean {
  const { lazy, force = false, programs = beginPrograms() } = options;
  const fuse = fuseMountAt(target);
  if (fuse === undefined) return umountBy(target, lazy ? [UMOUNT.MNT_DETACH] : [0]);
  if (force) abortConnection(fuse);
  else if (askFusermount(target, fuse, { lazy, programs })) return true;
  if (lazy) return umountBy(target, [UMOUNT.MNT_DETACH]);
  return umountBy(target, force ? [UMOUNT.MNT_FORCE, UMOUNT.MNT_DETACH] : [0]);
}

/** In several ways, a later one where the earlier finds the mount in use. */
function umountBy(target: Target, ways: readonly number[]): boolean {
  const [flags = 0, ...others] = ways;
  try {
    umount2(target.pathByParent, UMOUNT.UMOUNT_NOFOLLOW | flags);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EINVAL', 'ENOENT')) return false;
    if (!hasErrno(error, 'EBUSY')) throw error;
    if (others.length > 0) return umountBy(target, others);
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
}
