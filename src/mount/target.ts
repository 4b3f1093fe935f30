// The place where a mount goes, held by its parent directory: what is made, mounted, unmounted and removed
// there is one and the same place however names above it change meanwhile.
//
//   beneath   the path is resolved below that directory, which is opened once; no symbolic link, no `..` and no
//             magic link on the way is followed (openat2(2)): for paths that came from elsewhere
//   absent    the path is resolved as any program would: for paths that the caller chose
import { readdirSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, O, S_IF, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno, SyscallError } from '../sys/errors.ts';
import { Fd } from '../sys/fd.ts';
import { kindOf, openBelow, openPathAt } from '../sys/open-below.ts';
import type { Statx } from '../sys/structs.ts';
import { AT_REMOVEDIR, mkdirat, openat, statx, unlinkat } from '../sys/syscalls.ts';
import { MountError, type MountReason, shortageOf } from './errors.ts';

export interface TargetSpec {
  readonly path: string;
  /** The directory that the target must lie in, without help from links. */
  readonly beneath?: string;
}

/** True for `place` itself and what lies below it, as text. */
export function isWithin(one: string, place: string): boolean {
  return one === place || one.startsWith(place.endsWith('/') ? place : `${place}/`);
}

export type TargetKind = 'directory' | 'file';

/** `either`: a directory, or a file without content, which is what a device was shown at. */
export type Removed = TargetKind | 'either';

export interface Target extends Disposable {
  /** As it was asked for: for messages. */
  readonly path: string;
  /** The held parent directory. */
  readonly parent: Fd;
  /** What it is called there: one component. */
  readonly name: string;
  /** A path that leads through the held parent directory. Its last component must not be followed. */
  readonly pathByParent: string;
  /** Its path as the kernel shows it, in mountinfo too. */
  realPath(): string;
  /** What is there now (the top mount where several are stacked), as an O_PATH fd. */
  open(): Fd;
  stat(mask: number): Statx;
  /** Makes it where it is missing; true when it did. */
  create(kind: TargetKind): boolean;
  /** @throws MountError (target-not-empty) for a directory with files in it */
  expectEmpty(): void;
  /** Removes an empty directory, or a file; nothing there is no error. */
  remove(kind: Removed): void;
}

/** @throws MountError (bad-target) when the parent directory does not exist or lies outside `beneath` */
export function openTarget(spec: TargetSpec): Target {
  return targetIn(openParent(spec), spec.path);
}

/** The place with the last name of `shown` in this directory, which it takes over. */
export function targetIn(parent: Fd, shown: string): Target {
  const name = path.basename(shown);
  const fail = (reason: MountReason, why: string, cause?: unknown) => {
    const errno = cause instanceof SyscallError ? cause.code : undefined;
    return new MountError({ reason, message: `target ${shown}: ${why}`, rolledBack: true, errno }, { cause });
  };
  const notEmpty = (cause?: unknown) =>
    fail('target-not-empty', 'has files in it that are not ours; move them away', cause);
  return {
    path: shown,
    parent,
    name,
    pathByParent: `/proc/self/fd/${parent.number}/${name}`,
    realPath: () => path.join(readlinkSync(`/proc/self/fd/${parent.number}`), name),
    open() {
      try {
        using opened = openPathAt(parent, name, O.O_NOFOLLOW);
        // O_PATH with O_NOFOLLOW opens the link itself (open(2)), and mounts on it would hide from its users.
        if (kindOf(opened) === S_IF.S_IFLNK)
          throw fail('bad-target', 'is a symbolic link; name what it points to');
        return new Fd(opened.release());
      } catch (error) {
        if (hasErrno(error, 'ENOENT')) throw fail('bad-target', 'does not exist', error);
        throw error;
      }
    },
    stat: (mask) => {
      const flags = STATX.AT_SYMLINK_NOFOLLOW | STATX.AT_NO_AUTOMOUNT | STATX.AT_STATX_DONT_SYNC;
      return statx(parent, name, flags, mask);
    },
    create(kind) {
      try {
        if (kind === 'directory') mkdirat(parent, name, 0o750);
        else openFileAt(parent, name)[Symbol.dispose]();
        return true;
      } catch (error) {
        // What the node is short of, or a disk that fails, is not for the target to answer.
        if (shortageOf(error) !== undefined || hasErrno(error, 'EIO')) throw error;
        if (!hasErrno(error, 'EEXIST')) throw fail('bad-target', 'cannot be made', error);
      }
      using there = this.open();
      if (isDirectory(there) !== (kind === 'directory'))
        throw fail('bad-target', `exists and is not a ${kind}`);
      return false;
    },
    expectEmpty() {
      using there = this.open();
      if (isDirectory(there) && readdirSync(`/proc/self/fd/${there.number}/.`).length > 0) throw notEmpty();
    },
    remove(kind) {
      try {
        const isFile =
          kind === 'either' ? isEmptyFile(this.stat(STATX_MASK.STATX_BASIC_STATS)) : kind === 'file';
        unlinkat(parent, name, isFile ? 0 : AT_REMOVEDIR);
      } catch (error) {
        if (hasErrno(error, 'ENOENT')) return;
        if (hasErrno(error, 'EBUSY')) throw fail('busy', 'something is mounted there still', error);
        if (hasErrno(error, 'ENOTDIR')) throw fail('bad-target', 'is not a directory', error);
        if (hasErrno(error, 'ENOTEMPTY')) throw notEmpty(error);
        throw error;
      }
    },
    [Symbol.dispose]: () => parent[Symbol.dispose](),
  };
}

const isEmptyFile = ({ mode, size }: Statx): boolean => (mode & S_IF.S_IFMT) === S_IF.S_IFREG && size === 0n;

/** Whether the kernel takes it for a directory, on which only directories can be mounted. */
export function isDirectory(fd: Fd): boolean {
  return kindOf(fd) === S_IF.S_IFDIR;
}

/** Whether an operation failed because the target's parent directory is not there: nor is any mount. */
export function isGone(error: unknown): boolean {
  return error instanceof MountError && error.reason === 'bad-target' && hasErrno(error.cause, 'ENOENT');
}

function openParent({ path: target, beneath }: TargetSpec): Fd {
  const fail = (why: string, cause?: unknown) =>
    new MountError(
      { reason: 'bad-target', message: `target ${target}: ${why}`, rolledBack: true },
      { cause },
    );
  if (['', '.', '..', '/'].includes(path.basename(target))) throw fail('names no place to mount at');
  const directory = path.dirname(target);
  try {
    if (beneath === undefined) return openat(AT_FDCWD, directory, O.O_PATH | O.O_DIRECTORY);
    using root = openat(AT_FDCWD, beneath, O.O_PATH | O.O_DIRECTORY);
    const below = path.relative(beneath, directory);
    if (below === '..' || below.startsWith('../')) throw fail(`must lie below ${beneath}`);
    return openBelow(root, below || '.');
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) throw fail(`its parent directory does not exist`, error);
    if (hasErrno(error, 'ENOTDIR')) throw fail(`a part of its path is not a directory`, error);
    if (hasErrno(error, 'ELOOP', 'EXDEV')) {
      throw fail(`its path must lead below ${beneath} without symbolic links`, error);
    }
    throw error;
  }
}

function openFileAt(directory: Fd, name: string): Fd {
  return openat(directory, name, O.O_WRONLY | O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW, 0o600);
}
