// Targets below the root of a mount set, found as a container runtime finds them: the root is `/`, so that an
// absolute symbolic link, or `..`, leads to a place inside it (openat2(2), RESOLVE_IN_ROOT).
//
// A target is held by its parent directory and a name that must not be followed (target.ts). So the links are
// followed first, and then the place that they lead to is opened by its real path, without links; that both are one
// is checked, since someone may be changing the directories.
import { readlinkSync } from 'node:fs';
import path from 'node:path';
import { O, RESOLVE, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { openBelow, walkBelow } from '../sys/open-below.ts';
import type { Statx } from '../sys/structs.ts';
import { openat2, statx } from '../sys/syscalls.ts';
import { MountError } from './errors.ts';
import { isWithin, type Target, type TargetKind, targetIn } from './target.ts';

export interface InRootOptions {
  /** What to make at the end of the path when it is missing; directories on the way too. */
  readonly create: TargetKind | undefined;
  /** Gets what removes again all that was made. */
  readonly undo: DisposableStack;
  /** Gets what must stay open until then. */
  readonly keep: DisposableStack;
}

/** openat2(2) says EAGAIN when a rename elsewhere may have led it astray. */
const TRIES = 10;

/** @throws MountError (bad-target) when the place is not there */
export function inRoot(root: Target, inside: string, options: InRootOptions): Target {
  // As text, as a runtime does it: nothing leads above the root.
  const clean = path.posix.join('/', inside);
  const fail = (why: string, cause?: unknown) =>
    new MountError(
      { reason: 'bad-target', message: `target ${inside} in ${root.path}: ${why}`, rolledBack: true },
      { cause },
    );
  // The mount that is at the root by now, perhaps one of this very set.
  using top = root.open();
  try {
    if (options.create) makeMissing(top, clean, options.create, options);
    for (let tries = 0; tries < TRIES; tries++) {
      using place = openInRoot(top, clean);
      const found = reopen(top, place, path.join(root.path, clean));
      if (found !== undefined) return found;
    }
  } catch (error) {
    if (hasErrno(error, 'ENOENT'))
      throw fail('does not exist; make it, or ask for missing targets to be made', error);
    if (hasErrno(error, 'ENOTDIR')) throw fail('a part of its path is not a directory', error);
    if (hasErrno(error, 'ELOOP')) throw fail('too many symbolic links', error);
    throw error;
  }
  throw fail('its path is changing all the time');
}

function openInRoot(root: Fd, inside: string): Fd {
  const how = {
    flags: O.O_PATH | O.O_CLOEXEC,
    mode: 0,
    resolve: RESOLVE.RESOLVE_IN_ROOT | RESOLVE.RESOLVE_NO_MAGICLINKS,
  };
  for (let tries = 1; ; tries++) {
    try {
      return openat2(root, inside, how);
    } catch (error) {
      if (hasErrno(error, 'ENOSYS')) return walkBelow(root, inside, 'stay');
      if (!hasErrno(error, 'EAGAIN') || tries >= TRIES) throw error;
    }
  }
}

/** The same place by its parent directory; undefined when it is not the same any more. */
function reopen(root: Fd, place: Fd, shown: string): Target | undefined {
  const rootPath = pathOf(root);
  const placePath = pathOf(place);
  // The root itself, or a place that was moved out of it meanwhile.
  if (placePath === rootPath || !isWithin(placePath, rootPath)) {
    throw new MountError({
      reason: 'bad-target',
      message: `target ${shown} is the root of the set; leave the target out to mount there`,
      rolledBack: true,
    });
  }
  const parent = openBelow(root, path.relative(rootPath, path.dirname(placePath)) || '.');
  const target = targetIn(parent, placePath);
  try {
    if (sameFile(target.stat(IDENTITY), statx(place, '', STATX.AT_EMPTY_PATH, IDENTITY))) {
      return { ...target, path: shown };
    }
  } catch (error) {
    target[Symbol.dispose]();
    if (!hasErrno(error, 'ENOENT')) throw error;
    return undefined;
  }
  target[Symbol.dispose]();
  return undefined;
}

const pathOf = (fd: Fd): string => readlinkSync(`/proc/self/fd/${fd.number}`);

const IDENTITY = STATX_MASK.STATX_BASIC_STATS | STATX_MASK.STATX_MNT_ID;

const sameFile = (a: Statx, b: Statx): boolean =>
  a.inode === b.inode &&
  a.mountId === b.mountId &&
  a.deviceMajor === b.deviceMajor &&
  a.deviceMinor === b.deviceMinor;

function makeMissing(root: Fd, inside: string, kind: TargetKind, { undo, keep }: InRootOptions): void {
  const names = inside.split('/').filter((name) => name !== '');
  for (const [i, name] of names.entries()) {
    const upTo = (count: number) => `/${names.slice(0, count).join('/')}`;
    try {
      using _there = openInRoot(root, upTo(i + 1));
      continue;
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) throw error;
    }
    const parent = targetIn(openInRoot(root, upTo(i)), name);
    const isLast = i === names.length - 1;
    const made = isLast ? kind : 'directory';
    keep.use(parent);
    if (parent.create(made)) undo.defer(() => parent.remove(made));
  }
}
