// An ID map on a source that has one: the kernel refuses a second one (mount_setattr(2), EPERM), but makes a copy with
// another in its place (open_tree_attr(2), Linux 6.15). So the two are composed: what the source shows is shown again.
//
// The map of the source is asked of the very descriptor that the copy is made of.
import { AT_FDCWD, MOUNT_ATTR, OPEN_TREE, STATX, STATX_MASK } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import type { MountAttr } from '../../sys/structs.ts';
import { openTree, openTreeAttr, statx } from '../../sys/syscalls.ts';
import type { UserNamespaces } from '../../userns/cache.ts';
import { MappingError, parseIdMapping, type UserMapping } from '../../userns/mapping.ts';
import { composeMappings } from '../../userns/mapping-algebra.ts';
import { invalidMount } from '../errors.ts';
import { statmount } from '../statmount.ts';

export interface Copied {
  readonly path: string;
  readonly recursive: boolean;
}

/** A new copy of the source with both maps; undefined when the source has none. */
export function copyWithBothMaps(
  source: Copied,
  mapping: UserMapping,
  attr: MountAttr,
  namespaces: UserNamespaces,
): Fd | undefined {
  using original = openTree(AT_FDCWD, source.path, OPEN_TREE.OPEN_TREE_CLOEXEC);
  const existing = mapOf(original);
  if (existing === undefined) return undefined;
  using userns = namespaces.lease(compose(existing, mapping));
  const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC;
  return openTreeAttr(original, source.recursive ? flags | OPEN_TREE.AT_RECURSIVE : flags, {
    ...attr,
    set: attr.set | MOUNT_ATTR.MOUNT_ATTR_IDMAP,
    usernsFd: userns.fd.number,
  });
}

function mapOf(fd: Fd): UserMapping | undefined {
  const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
  const { mountId } = statx(fd, '', flags, STATX_MASK.STATX_MNT_ID_UNIQUE);
  const idmap = statmount(mountId)?.info.idmap;
  if (idmap === undefined) return undefined;
  return {
    uid: parseIdMapping(idmap.uid.join(','), 'uidmap'),
    gid: parseIdMapping(idmap.gid.join(','), 'gidmap'),
  };
}

function compose(first: UserMapping, second: UserMapping): UserMapping {
  try {
    return { uid: composeMappings(first.uid, second.uid), gid: composeMappings(first.gid, second.gid) };
  } catch (error) {
    throw error instanceof MappingError ? invalidMount(error.message) : error;
  }
}
