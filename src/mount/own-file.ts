// A file that we made earlier, found again by its name in a directory that others may write to, where anybody can make
// something of that name. It is pointed at first: who only opens a device node may start what is behind it (a watchdog),
// and mknod(2) is an ordinary container's right.
import { type AT_FDCWD, O, S_IF, STATX, STATX_MASK } from '../sys/constants.ts';
import type { Fd } from '../sys/fd.ts';
import { openPathAt } from '../sys/open-below.ts';
import { statx } from '../sys/syscalls.ts';
import { reopen } from './loop/image.ts';

/** Undefined for what is no regular file, or somebody else's. @throws SyscallError (ENOENT, EACCES, ...) */
export function openOwnFile(directory: Fd | typeof AT_FDCWD, name: string, access: number): Fd | undefined {
  using place = openPathAt(directory, name, O.O_NOFOLLOW);
  const { mode, uid } = statx(place, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
  if ((mode & S_IF.S_IFMT) !== S_IF.S_IFREG || uid !== process.geteuid?.()) return undefined;
  return reopen(place, access | O.O_NONBLOCK);
}
