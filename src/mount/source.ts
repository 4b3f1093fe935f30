// Where sources come from: what a request names as a bind source, a layer, an image or a disk, and the directories that
// such names must lie in.
//
//   sourceRoots   a name lies, as text, at or below one of them (the longest that fits), and is resolved below it: a
//                 symbolic link may lead on inside, and not out; no magic link is followed (openat2(2), RESOLVE_BENEATH).
//                 It is held from then on: the kernel gets the descriptor, so that what the name meant when it was looked
//                 at is what is mounted, however directories change meanwhile
//   absent        the kernel resolves names as for any program
import path from 'node:path';
import { closeAll } from '../sys/close-all.ts';
import { AT_FDCWD, O, RESOLVE, STATX, STATX_ATTR_MOUNT_ROOT, STATX_MASK } from '../sys/constants.ts';
import { type ErrnoName, hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { walkBelow } from '../sys/open-below.ts';
import type { Statx } from '../sys/structs.ts';
import { openat, openat2, statx } from '../sys/syscalls.ts';
import { invalidMount, MountError, type MountReason } from './errors.ts';
import { type Exceptions, exceptionsFor } from './source-exceptions.ts';
import { isWithin } from './target.ts';

export interface SourceRoot {
  /** A directory, of the caller's choice: it may lie behind symbolic links. */
  readonly path: string;
  /** Something must be mounted there: a database is not to start on the empty directory of a missing disk. */
  readonly requireMountpoint?: boolean;
  /** Directories that no source lies in or holds, whatever leads there (source-exceptions.ts). */
  readonly except?: readonly string[];
}

/** What every request has that names sources. */
export interface SourceRequest {
  /** Where all of them must lie (default: anywhere). */
  readonly sourceRoots?: readonly SourceRoot[];
}

/** What names of sources lead to, for one mount: a name that is asked for twice is resolved once. */
export interface Sources extends Disposable {
  /**
   * What a path leads to (O_PATH), held until the end of these sources; undefined where the kernel is to resolve it.
   * @throws MountError (source-outside-roots, source-not-mounted, source-not-found)
   */
  hold(path: string): Fd | undefined;
  /** A path by which a system call gets there. */
  reach(path: string): string;
  /** The same for a directory that is not a source itself: one is made in it. */
  reachPlace(path: string): string;
  /** One that sources lie in side by side: what can be said of all of them is found out once. */
  directory(path: string): SourceDirectory;
}

export interface SourceDirectory extends Disposable {
  readonly fd: Fd;
  /**
   * Whether a directory that was found in it, on the same mount, by its name and not through a link, may be taken for what
   * this path leads to, its own and that name. Absent where the kernel resolves names.
   * @throws MountError (source-outside-roots) for one that is never shown
   */
  readonly has?: (path: string, found: Statx) => boolean;
}

export const ANYWHERE: Sources = {
  hold: () => undefined,
  reach: (path) => path,
  reachPlace: (path) => path,
  directory(path) {
    const fd = openat(AT_FDCWD, path, O.O_PATH | O.O_DIRECTORY);
    return { fd, [Symbol.dispose]: () => fd[Symbol.dispose]() };
  },
  [Symbol.dispose]: () => undefined,
};

export function sourcesOf({ sourceRoots }: SourceRequest): Sources {
  if (sourceRoots === undefined) return ANYWHERE;
  const roots = sourceRoots.map((root) => ({ ...root, path: path.posix.resolve(root.path) }));
  const held: Fd[] = [];
  const keep = (fd: Fd): Fd => {
    held.push(fd);
    return fd;
  };
  const tops = new Map<string, Fd>();
  const found = new Map<string, Fd>();
  const excepted = new Map<SourceRoot, Exceptions>();
  const find = (source: string, isShown: boolean) => {
    const clean = checkText(source);
    const root = rootOf(source, clean, roots);
    const top = tops.get(root.path) ?? keep(openRoot(root));
    tops.set(root.path, top);
    const fd = keep(openSource(top, { source, root: root.path, clean }));
    const exceptions = excepted.get(root) ?? exceptionsFor(root.except ?? []);
    excepted.set(root, exceptions);
    refuse(source, exceptions.of(fd, isShown));
    return { fd, exceptions };
  };
  const hold = (source: string): Fd => {
    const fd = found.get(source) ?? find(source, true).fd;
    found.set(source, fd);
    return fd;
  };
  return {
    hold,
    reach: (source) => reachBy(hold(source)),
    reachPlace: (directory) => reachBy(find(directory, false).fd),
    directory(directory) {
      const { fd, exceptions } = find(directory, false);
      return {
        fd,
        has(source, child) {
          // The longest root holds, which may be the source itself.
          if (roots.some((root) => root.path === source)) return false;
          refuse(source, exceptions.ofChild(child));
          return true;
        },
        [Symbol.dispose]: () => undefined,
      };
    },
    [Symbol.dispose]: () => closeAll(held),
  };
}

/** @param place what it has to do with, of the exceptions */
function refuse(source: string, place: string | undefined): void {
  if (place === undefined) return;
  throw outside(source, `leads into ${place}, or holds it, which is never shown; name a place beside it`);
}

/** Whether it says that a source is out of bounds. */
export function isRefused(error: unknown): boolean {
  return error instanceof MountError && REFUSALS.has(error.reason);
}

const REFUSALS: ReadonlySet<MountReason> = new Set<MountReason>([
  'source-outside-roots',
  'source-not-mounted',
]);

/** A path that leads to what a descriptor of this process refers to. */
export const reachBy = (fd: Fd): string => `/proc/self/fd/${fd.number}`;

/** What a path must be before anything is asked of the kernel. Returns it without empty and `.` components. */
function checkText(source: string): string {
  if (source.includes('\0')) throw invalidMount(`source ${JSON.stringify(source)}: has a NUL character`);
  if (!path.posix.isAbsolute(source))
    throw outside(source, 'is no absolute path; write it from the root directory on');
  if (source.split('/').includes('..')) throw outside(source, 'has ".." in it; name the place itself');
  return path.posix.normalize(source);
}

function rootOf(source: string, clean: string, roots: readonly SourceRoot[]): SourceRoot {
  const fitting = roots.filter((root) => isWithin(clean, root.path));
  const [longest] = fitting.toSorted((a, b) => b.path.length - a.path.length);
  if (longest !== undefined) return longest;
  const places = roots.length === 0 ? 'there are none' : roots.map((root) => root.path).join(', ');
  throw outside(source, `lies below none of the roots that sources may come from (${places}); move it there`);
}

function openRoot({ path: root, requireMountpoint = false }: SourceRoot): Fd {
  using opened = new DisposableStack();
  try {
    const fd = opened.use(openat(AT_FDCWD, root, O.O_PATH | O.O_DIRECTORY));
    if (requireMountpoint && !isMountRoot(fd)) throw notMounted(root, 'nothing is mounted there');
    opened.move();
    return fd;
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    if (requireMountpoint) throw notMounted(root, 'it is no directory', error);
    const message = `the directory ${root}, in which sources are looked for, does not exist; make it`;
    throw refusal('source-not-found', message, error);
  }
}

function isMountRoot(fd: Fd): boolean {
  const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
  return (statx(fd, '', flags, STATX_MASK.STATX_MNT_ID).attributes & STATX_ATTR_MOUNT_ROOT) !== 0n;
}

/** openat2(2) says EAGAIN when a rename or mount anywhere may have led it astray at a `..` of a link. */
const TRIES = 100;

interface Named {
  readonly source: string;
  /** The path of the root that it lies in. */
  readonly root: string;
  readonly clean: string;
}

function openSource(top: Fd, { source, root, clean }: Named): Fd {
  try {
    return openBeneath(top, path.posix.relative(root, clean) || '.');
  } catch (error) {
    const found = WHY_NOT.find(({ errno }) => hasErrno(error, errno));
    if (found === undefined) throw error;
    throw refusal(found.reason, `source ${source}: ${found.why(root)}`, error);
  }
}

function openBeneath(top: Fd, below: string): Fd {
  const resolve = RESOLVE.RESOLVE_BENEATH | RESOLVE.RESOLVE_NO_MAGICLINKS;
  for (let tries = 1; ; tries++) {
    try {
      return openat2(top, below, { flags: O.O_PATH | O.O_CLOEXEC, mode: 0, resolve });
    } catch (error) {
      if (hasErrno(error, 'ENOSYS')) return walkBelow(top, below, 'refuse');
      if (!hasErrno(error, 'EAGAIN') || tries >= TRIES) throw error;
    }
  }
}

const WHY_NOT: readonly {
  readonly errno: ErrnoName;
  readonly reason: MountReason;
  readonly why: (root: string) => string;
}[] = [
  {
    errno: 'EXDEV',
    reason: 'source-outside-roots',
    why: (root) =>
      `a symbolic link on the way is absolute or leads out of ${root}; make it relative, to a place inside, or name that place`,
  },
  {
    errno: 'ELOOP',
    reason: 'source-outside-roots',
    why: () => 'too many symbolic links are on the way, or one of /proc; name the place itself',
  },
  { errno: 'ENOENT', reason: 'source-not-found', why: () => 'does not exist' },
  {
    errno: 'ENAMETOOLONG',
    reason: 'source-not-found',
    why: () => 'its path, or a name in it, is longer than the kernel takes; there can be no such file',
  },
  { errno: 'ENOTDIR', reason: 'source-not-found', why: () => 'a part of its path is not a directory' },
  { errno: 'EACCES', reason: 'source-not-found', why: () => "cannot be reached with this process's rights" },
  {
    errno: 'EAGAIN',
    reason: 'source-not-found',
    why: () => 'directories on the way are being renamed all the time; wait for the end of that',
  },
];

const outside = (source: string, why: string): MountError =>
  refusal('source-outside-roots', `source ${source}: ${why}`);

const notMounted = (root: string, why: string, cause?: unknown): MountError =>
  refusal(
    'source-not-mounted',
    `the directory ${root}, in which sources are looked for, must be a mount point, and ${why}; mount its disk`,
    cause,
  );

function refusal(reason: MountReason, message: string, cause?: unknown): MountError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
  const named = errno === undefined ? message : `${message} (${errno})`;
  return new MountError({ reason, message: named, rolledBack: true, errno }, { cause });
}
