// The lock (flock(2)) of what its maker has for as long as he lives, in a directory where others remove what nobody has.
import { type AT_FDCWD, LOCK, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import type { Statx } from '../sys/structs.ts';
import { flock, statx } from '../sys/syscalls.ts';

/** True when it is ours, and still of what has this name: one that someone cleans up meanwhile is as good as none. */
export function takeLock(fd: Fd, directory: Fd | typeof AT_FDCWD, name: string): boolean {
  try {
    flock(fd, LOCK.LOCK_EX | LOCK.LOCK_NB);
    const held = statx(fd, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
    const named = statx(directory, name, STATX.AT_SYMLINK_NOFOLLOW, STATX_MASK.STATX_BASIC_STATS);
    return isSame(held, named);
  } catch (error) {
    if (hasErrno(error, 'EAGAIN', 'EWOULDBLOCK', 'ENOENT')) return false;
    throw error;
  }
}

const isSame = (one: Statx, other: Statx): boolean =>
  one.inode === other.inode && one.deviceMinor === other.deviceMinor && one.deviceMajor === other.deviceMajor;
