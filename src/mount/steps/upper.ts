// The two directories of a writable overlay, for one that is made in a private mount namespace: both below a copy of their
// mount that nobody else has, and known by descriptor, so that no name on the way to them counts.
import { readlinkSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, MOUNT_ATTR, O, OPEN_TREE, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno, SyscallError } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { openBelow } from '../../sys/open-below.ts';
import type { Statx } from '../../sys/structs.ts';
import { mountIdOf, mountSetattr, openat, openTree, statx } from '../../sys/syscalls.ts';
import { explained, invalidMount, MountError } from '../errors.ts';
import { commonParent } from '../layers.ts';
import { upperName } from './claim.ts';
import type { Upper, Workplace } from './row.ts';

export interface CopiedUpper {
  /** The copy, to be attached where the overlay is made. */
  readonly tree: Fd;
  readonly upper: Fd;
  readonly work: Fd;
  readonly name: string;
}

/**
 * From the common parent of both down. They must be on one mount: the kernel wants it, and a mount point in between
 * would not be in the copy.
 */
export function copyOfBoth(both: Upper, at: Workplace, held: DisposableStack): CopiedUpper {
  const upper = held.use(openDirectory('upperdir', both.upperdir, at));
  const work = held.use(openDirectory('workdir', both.workdir, at));
  const [upperPath, workPath] = [pathOf(upper), pathOf(work)];
  const parentPath = commonParent([upperPath, workPath]);
  const named = { both, held };
  const root = held.use(openat(AT_FDCWD, '/', O.O_PATH | O.O_DIRECTORY));
  const parent = openReal(root, path.relative('/', parentPath) || '.', named);
  if (new Set([parent, upper, work].map(mountIdOf)).size > 1) throw invalidMount(sameMountMessage(both));
  const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC | OPEN_TREE.AT_EMPTY_PATH;
  const tree = held.use(openTree(parent, '', flags));
  const inCopy = (directory: Fd, from: string) => {
    const found = openReal(tree, path.relative(parentPath, from), named);
    if (nameOf(found) === nameOf(directory)) return found;
    throw moved(both);
  };
  return { tree, upper: inCopy(upper, upperPath), work: inCopy(work, workPath), name: nameOf(upper) };
}

export function mapUpper(tree: Fd, namespace: Fd): void {
  const set = MOUNT_ATTR.MOUNT_ATTR_IDMAP;
  try {
    mountSetattr(tree, 0, { set, clear: 0, propagation: 0, usernsFd: namespace.number });
  } catch (error) {
    if (!(error instanceof SyscallError) || !hasErrno(error, 'EINVAL', 'EPERM')) throw error;
    const meaning =
      error.code === 'EINVAL'
        ? 'the filesystem of upperdir cannot be ID-mapped on this kernel; put it on another, or leave out idmapupper'
        : 'upperdir is on an ID-mapped mount already, or its filesystem belongs to another user namespace; use the unmapped one';
    throw explained(error, { reason: 'idmap-unsupported', meaning }, true);
  }
}

export function sameMountMessage({ upperdir, workdir }: Upper): string {
  return `upperdir ${upperdir} and workdir ${workdir} must be two directories of the same mount`;
}

function openDirectory(field: string, directory: string, { sources }: Workplace): Fd {
  try {
    return openat(AT_FDCWD, sources.reach(directory), O.O_PATH | O.O_DIRECTORY);
  } catch (error) {
    if (error instanceof MountError) throw error;
    const message = `${field} ${directory} does not exist or cannot be reached`;
    throw new MountError({ reason: 'source-not-found', message, rolledBack: true }, { cause: error });
  }
}

interface Named {
  readonly both: Upper;
  readonly held: DisposableStack;
}

/** A real path, which has no links. */
function openReal(directory: Fd, below: string, { both, held }: Named): Fd {
  try {
    return held.use(openBelow(directory, below));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) throw moved(both, error);
    throw error;
  }
}

const pathOf = (fd: Fd): string => readlinkSync(`/proc/self/fd/${fd.number}`);

const nameOf = (directory: Fd): string => upperName(statOf(directory));

const statOf = (fd: Fd): Statx =>
  statx(fd, '', STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC, STATX_MASK.STATX_BASIC_STATS);

function moved({ upperdir, workdir }: Upper, cause?: unknown): MountError {
  const message = `upperdir ${upperdir} or workdir ${workdir} was moved while it was looked at; leave them in place`;
  return new MountError({ reason: 'source-not-found', message, rolledBack: true }, { cause });
}
