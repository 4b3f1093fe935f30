// Gives directories that root of the host has just made in a volume to who owns the volume. Where the volume is ID-mapped
// for others root of the host is nobody to them, and could not be told from one that is.
//
//   the last one on the path        is empty
//   each one above it               holds nothing but the one that was given
//
// Anything else has been there before, or is somebody's by now, and stays as it is; so does what is above that.
import { fchownSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { O, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { openBelow } from '../sys/open-below.ts';
import { openat, statx } from '../sys/syscalls.ts';
import { openTarget, type TargetSpec } from './target.ts';

export interface HandOverRequest {
  /** Where the volume is mounted. */
  readonly target: TargetSpec;
  /** The directory below it: `a/b`. */
  readonly below: string;
  readonly to: { readonly uid: number; readonly gid: number };
}

export interface HandOverResult {
  /** The directories that have changed hands, below the target. */
  readonly given: readonly string[];
}

const HOST_ROOT = 0;

/** What is not there, or is no directory, is nobody's affair. @throws MountError, SyscallError */
export function handOver({ target: spec, below, to }: HandOverRequest): HandOverResult {
  using target = openTarget(spec);
  using root = target.open();
  const names = path.posix.normalize(below).split('/');
  const given: string[] = [];
  for (let depth = names.length; depth > 0; depth--) {
    const name = names.slice(0, depth).join('/');
    using directory = directoryAt(root, name);
    if (directory === undefined || !give(directory, names[depth], to)) break;
    given.unshift(name);
  }
  return { given };
}

function directoryAt(root: Fd, name: string): Fd | undefined {
  try {
    return openBelow(root, name);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) return undefined;
    throw error;
  }
}

/** @param next the only thing that may be in it; undefined: nothing may */
function give(place: Fd, next: string | undefined, to: HandOverRequest['to']): boolean {
  const { uid, gid } = statx(place, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
  if (uid !== HOST_ROOT) return false;
  using directory = openat(place, '.', O.O_DIRECTORY);
  const others = readdirSync(`/proc/self/fd/${directory.number}`).filter((name) => name !== next);
  if (others.length > 0) return false;
  // A group that it has from the directory above (set-group-id) is meant.
  fchownSync(directory.number, to.uid, gid === HOST_ROOT ? to.gid : gid);
  return true;
}
