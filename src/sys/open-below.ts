// Opening what lies below a directory, for paths that came from elsewhere. What is opened is only pointed at (O_PATH).
//
//   openBelow   no symbolic link, no `..` and no magic link on the way is followed
//   walkBelow   symbolic links are followed, as far as they lead below the directory: what openat2(2) does with
//               RESOLVE_IN_ROOT or RESOLVE_BENEATH, for kernels without it
import { constants } from 'node:os';
import { type AT_FDCWD, O, RESOLVE, S_IF, STATX, STATX_MASK } from './constants.ts';
import { hasErrno, SyscallError } from './errors.ts';
import { Fd } from './fd.ts';
import { openat, openat2, readLink, statx } from './syscalls.ts';

const CAREFULLY = RESOLVE.RESOLVE_BENEATH | RESOLVE.RESOLVE_NO_SYMLINKS | RESOLVE.RESOLVE_NO_MAGICLINKS;

/** A directory below `root`, without help from links: one call, or, before Linux 5.6, component by component. */
export function openBelow(root: Fd, below: string): Fd {
  const flags = O.O_PATH | O.O_CLOEXEC | O.O_DIRECTORY;
  try {
    return openat2(root, below, { flags, mode: 0, resolve: CAREFULLY });
  } catch (error) {
    if (!hasErrno(error, 'ENOSYS')) throw error;
  }
  // There is no `..` in a relative path below, so that nothing can lead up but a link.
  let at = openPathAt(root, '.', O.O_DIRECTORY);
  for (const component of below.split('/')) {
    using parent = at;
    at = openPathAt(parent, component, O.O_NOFOLLOW);
    const kind = kindOf(at);
    if (kind === S_IF.S_IFDIR) continue;
    at[Symbol.dispose]();
    const errno = kind === S_IF.S_IFLNK ? constants.errno.ELOOP : constants.errno.ENOTDIR;
    throw new SyscallError({ syscall: 'openat', args: `${parent}, "${component}", O_NOFOLLOW`, errno });
  }
  return at;
}

/** What the kernel allows on one path (MAXSYMLINKS). */
const MOST_LINKS = 40;

/**
 * Component by component, each link read and not followed; what a magic link says is taken for a path like any other.
 * @param edge what becomes of an absolute link, and of a `..` above the directory: the directory itself, or EXDEV
 */
export function walkBelow(root: Fd, inside: string, edge: 'stay' | 'refuse'): Fd {
  const pending = inside.split('/');
  const done: string[] = [];
  const fail = (errno: number) =>
    new SyscallError({ syscall: 'openat', args: `${root}, "${inside}"`, errno });
  let links = 0;
  using walked = new DisposableStack();
  let at = walked.use(openBelow(root, '.'));
  for (let name = pending.shift(); name !== undefined; name = pending.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (done.pop() === undefined && edge === 'refuse') throw fail(constants.errno.EXDEV);
      at = walked.use(openBelow(root, done.join('/') || '.'));
      continue;
    }
    const next = walked.use(openPathAt(at, name, O.O_NOFOLLOW));
    if (kindOf(next) !== S_IF.S_IFLNK) {
      done.push(name);
      at = next;
      continue;
    }
    const link = readLink(next);
    if (++links > MOST_LINKS) throw fail(constants.errno.ELOOP);
    if (link.startsWith('/')) {
      if (edge === 'refuse') throw fail(constants.errno.EXDEV);
      done.length = 0;
      at = walked.use(openBelow(root, '.'));
    }
    pending.unshift(...link.split('/'));
  }
  return new Fd(at.release());
}

/** One name in a directory; `O_NOFOLLOW` opens a link itself (open(2)). */
export function openPathAt(directory: Fd | typeof AT_FDCWD, name: string, flags: number): Fd {
  return openat(directory, name, O.O_PATH | flags);
}

/** The kind of file behind an fd, one of S_IF. Asks no server. */
export function kindOf(fd: Fd): number {
  const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
  return statx(fd, '', flags, STATX_MASK.STATX_BASIC_STATS).mode & S_IF.S_IFMT;
}
