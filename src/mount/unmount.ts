// Taking mounts away: the top one at a target, never through a symbolic link. FUSE mounts have a way of their own
// before that (fuse/unmount.ts).
//
//   errno    means
//   EINVAL   not a mount point: nothing to do; or one that is not ours to take away
//   ENOENT   nothing there: nothing to do
//   EBUSY    in use; the caller decides how long to try again (engine.ts)
import { STATX_ATTR_MOUNT_ROOT, STATX_MASK, UMOUNT } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import { umount2 } from '../sys/syscalls.ts';
import { MountError } from './errors.ts';
import { abortConnection } from './fuse/connection.ts';
import { beginPrograms, type Programs } from './fuse/programs.ts';
import { askFusermount, fuseMountAt } from './fuse/unmount.ts';
import { type Shown, shownAt } from './lookup.ts';
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
 * @param shown there, as of just now
 * @throws MountError (busy; timeout for a FUSE mount whose server does not answer)
 */
export function unmountTop(target: Target, options: UnmountOptions, shown: Shown = shownAt(target)): boolean {
  if (shown.isBare) return false;
  const { lazy, force = false, programs = beginPrograms() } = options;
  const fuse = fuseMountAt(target, shown);
  if (fuse === undefined) return umountBy(target, lazy ? [UMOUNT.MNT_DETACH] : [0]);
  if (force) abortConnection(target, fuse);
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
    if (hasErrno(error, 'EINVAL') && isMountPoint(target)) throw locked(target, error);
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

/** A place whose filesystem does not answer is none: then the kernel's EINVAL is taken at its word. */
function isMountPoint(target: Target): boolean {
  try {
    return (target.stat(STATX_MASK.STATX_MNT_ID).attributes & STATX_ATTR_MOUNT_ROOT) !== 0n;
  } catch {
    return false;
  }
}

/** mount_namespaces(7), "Restrictions on mount namespaces". */
function locked(target: Target, cause: unknown): MountError {
  return new MountError(
    {
      reason: 'not-permitted',
      message:
        `${target.path} cannot be unmounted from here: it came from a more privileged mount namespace and is locked ` +
        'to what it stands on, or it belongs to another mount namespace; unmount it there, or unmount what it stands on',
      rolledBack: true,
      errno: 'EINVAL',
    },
    { cause },
  );
}
