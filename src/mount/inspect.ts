// What can be asked about a place that mounts are made of, without mounting anything: whether it can be ID-mapped, and
// whose its root is.
//
//   canIdmap   open_tree(OPEN_TREE_CLONE); mount_setattr(MOUNT_ATTR_IDMAP); the copy is closed, nobody has seen it
//   rootOf     statx(2)
//   propagationOf   the mount's tags, as mountinfo shows them
//
// Tried, never told from the filesystem's name: it depends on the kernel, on the mount (one that is mapped already is
// not mapped again by mount_setattr(2)), and on whose user namespace the filesystem belongs to.
import { AT_FDCWD, MOUNT_ATTR, O, OPEN_TREE, S_IF, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { mountSetattr, openat, openTree, statx } from '../sys/syscalls.ts';
import type { UserNamespaces } from '../userns/cache.ts';
import { MountError } from './errors.ts';
import type { RootOwner } from './image/root-owner.ts';
import type { Kernel } from './kernel.ts';
import { type SourceRequest, sourcesOf } from './source.ts';
import { unbindable } from './steps/trees.ts';
import { openTarget, type TargetSpec } from './target.ts';
import { mountIdOf, mountView } from './view.ts';

/** What is mounted at a target, or a directory or file that may become the source of a bind. */
export type CanIdmapRequest = { readonly target: TargetSpec } | RootOfRequest;

export type CanIdmapResult = { readonly can: true } | { readonly can: false; readonly because: string };

/**
 * Whether a copy of that mount could be given an ID map, as a container runtime gives one to the mounts of a container
 * with a user namespace: the top mount alone, not those below it.
 * @throws MountError (kernel-unsupported) where the calls for it are missing: then nobody knows
 */
export function canIdmap(
  request: CanIdmapRequest,
  { has }: Pick<Kernel, 'has'>,
  namespaces: UserNamespaces,
): CanIdmapResult {
  if (!has('open-tree') || !has('mount-setattr')) {
    const message = 'ID-mapped mounts need open_tree(2) and mount_setattr(2), Linux 5.12';
    throw new MountError({ reason: 'kernel-unsupported', message, rolledBack: true });
  }
  const shown = 'target' in request ? request.target.path : request.source;
  using place = 'target' in request ? openMounted(request.target) : openSource(request);
  using copy = copyOf(place);
  if (copy === undefined) return cannot(unbindable(shown));
  // Any map will do. It is tried on the copy, which is gone with its descriptor.
  using userns = namespaces.lease({ uid: ANY, gid: ANY });
  try {
    const set = MOUNT_ATTR.MOUNT_ATTR_IDMAP;
    mountSetattr(copy, 0, { set, clear: 0, propagation: 0, usernsFd: userns.fd.number });
    return { can: true };
  } catch (error) {
    if (hasErrno(error, 'EINVAL'))
      return cannot(`${shown}: its filesystem cannot be ID-mapped on this kernel`);
    if (!hasErrno(error, 'EPERM')) throw error;
    return cannot(
      isMapped(place)
        ? `${shown}: it is an ID-mapped mount already`
        : `${shown}: its filesystem belongs to another user namespace`,
    );
  }
}

/** Undefined for what nobody can copy. */
function copyOf(place: Fd): Fd | undefined {
  try {
    const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC | OPEN_TREE.AT_EMPTY_PATH;
    return openTree(place, '', flags);
  } catch (error) {
    if (hasErrno(error, 'EINVAL')) return undefined;
    throw error;
  }
}

function isMapped(place: Fd): boolean {
  const view = mountView();
  return view.find(mountIdOf(place, view))?.info.options.includes('idmapped') === true;
}

const ANY = [{ container: 0, host: 0, size: 1 }];

const cannot = (because: string): CanIdmapResult => ({ can: false, because });

function openMounted(spec: TargetSpec): Fd {
  using target = openTarget(spec);
  return target.open();
}

export interface RootOfRequest extends SourceRequest {
  readonly source: string;
}

export interface Root extends RootOwner {
  /** Else it is a file, of whatever kind. */
  readonly isDirectory: boolean;
}

/** Owner, group and permission bits of a source's root directory, or of the file that it is, as its mount shows them. */
export function rootOf(request: RootOfRequest): Root {
  using root = openSource(request);
  const { uid, gid, mode } = statx(root, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
  return { uid, gid, mode: mode & MODE_BITS, isDirectory: (mode & S_IF.S_IFMT) === S_IF.S_IFDIR };
}

const MODE_BITS = 0o7777;

/** The peer groups of the mount that a source is on: `shared:N`, `master:N`; none for a private one. */
export function propagationOf(request: RootOfRequest): readonly string[] {
  using place = openSource(request);
  const view = mountView();
  return view.find(mountIdOf(place, view))?.info.propagation ?? [];
}

/** A reference to a source (O_PATH). */
export function openSource(request: RootOfRequest): Fd {
  const { source } = request;
  using sources = sourcesOf(request);
  try {
    return openat(AT_FDCWD, sources.reach(source), O.O_PATH);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) throw error;
    const message = `source ${source}: does not exist or cannot be reached`;
    throw new MountError(
      { reason: 'source-not-found', message, rolledBack: true, errno: error.code },
      { cause: error },
    );
  }
}
