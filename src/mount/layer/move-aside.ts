// A directory that should be a mount point and has files in it instead (somebody wrote there while nothing was mounted)
// is put out of the way whole, and made anew: nothing is deleted, and whoever has it open goes on in what was moved.
import { randomBytes } from 'node:crypto';
import { fchmodSync, fchownSync, mkdirSync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { O, RENAME_NOREPLACE, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { mkdirat, openat, renameat2, statx } from '../../sys/syscalls.ts';
import { MountError, toMountError } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { seenBelow } from '../lookup.ts';
import { isDirectory, isGone, openTarget, type Target, type TargetSpec } from '../target.ts';
import { mountView } from '../view.ts';

export interface MoveAsideRequest {
  readonly target: TargetSpec;
  /** The directory that takes it; made when it is missing. On the same filesystem, by the same mount. */
  readonly into: string;
  /** What it is called there, after the time (default: the target's last name). */
  readonly name?: string;
}

export interface MoveAsideResult {
  /** Undefined: there was nothing to move. */
  readonly movedTo?: string;
}

const LONGEST_NAME = 200;

/** @throws MountError (target-not-empty when it cannot be moved, busy when something is mounted below it) */
export function moveAside({ target: spec, into, name }: MoveAsideRequest, kernel: Kernel): MoveAsideResult {
  try {
    using target = openTarget(spec);
    using there = openThere(target);
    if (there === undefined || isMounted(target, kernel) || isEmpty(there)) return {};
    mkdirSync(into, { recursive: true, mode: 0o700 });
    using place = new Fd(openSync(into, O.O_PATH | O.O_DIRECTORY));
    const newName = nameFor(name ?? path.basename(spec.path));
    rename(target, place, newName, into);
    makeAnew(target, there);
    return { movedTo: path.join(into, newName) };
  } catch (error) {
    if (isGone(error)) return {};
    throw toMountError(error, true);
  }
}

/** The directory at the target; undefined for nothing and for anything else, which others refuse. */
function openThere(target: Target): Fd | undefined {
  try {
    using opened = target.open();
    return isDirectory(opened) ? new Fd(opened.release()) : undefined;
  } catch (error) {
    if (error instanceof MountError && error.reason === 'bad-target') return undefined;
    throw error;
  }
}

/** What is mounted at the target is not looked into; what is mounted below it would go with it. */
function isMounted(target: Target, kernel: Kernel): boolean {
  const mounts = seenBelow(target, mountView(kernel));
  if (mounts.some(({ info }) => info.target === target.realPath())) return true;
  const [below] = mounts;
  if (below === undefined) return false;
  const message = `target ${target.path}: ${below.info.type} is mounted below it, at ${below.info.target}; unmount it first`;
  throw new MountError({ reason: 'busy', message, rolledBack: true });
}

const isEmpty = (directory: Fd): boolean => readdirSync(`/proc/self/fd/${directory.number}/.`).length === 0;

/** In the order of time, and never one that is there. */
function nameFor(name: string): string {
  const time = new Date().toISOString().replaceAll(/[-:]/g, '');
  return `${time}-${name.replaceAll('/', '-').slice(0, LONGEST_NAME)}-${randomBytes(3).toString('hex')}`;
}

function rename(target: Target, place: Fd, newName: string, into: string): void {
  try {
    renameat2(target.parent, path.basename(target.path), place, newName, RENAME_NOREPLACE);
  } catch (error) {
    if (!hasErrno(error, 'EXDEV')) throw error;
    const message =
      `target ${target.path}: has files in it that are not ours, and ${into} is on another filesystem or reached by ` +
      'another mount, where they cannot be put out of the way; move them by hand';
    throw new MountError(
      { reason: 'target-not-empty', message, rolledBack: true, errno: 'EXDEV' },
      { cause: error },
    );
  }
}

/** With the owner and mode that it had. */
function makeAnew(target: Target, moved: Fd): void {
  const name = path.basename(target.path);
  const { uid, gid, mode } = statx(moved, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
  mkdirat(target.parent, name, 0o700);
  using made = openat(target.parent, name, O.O_DIRECTORY | O.O_NOFOLLOW);
  fchownSync(made.number, uid, gid);
  fchmodSync(made.number, mode & 0o7777);
}
