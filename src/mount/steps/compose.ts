// An ID map on a source that has one: the kernel refuses a second one (mount_setattr(2), EPERM), but makes a copy with
// another in its place (open_tree_attr(2), Linux 6.15). So the two are composed: what the source shows is shown again.
//
// The map of the source is asked of the very descriptor that the copy is made of.
import { readlinkSync } from 'node:fs';
import { AT_FDCWD, MOUNT_ATTR, OPEN_TREE } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import type { MountAttr } from '../../sys/structs.ts';
import { openTree, openTreeAttr } from '../../sys/syscalls.ts';
import type { UserNamespaces } from '../../userns/cache.ts';
import { MappingError, parseIdMapping, type UserMapping } from '../../userns/mapping.ts';
import { canonicalText, composeUserMappings } from '../../userns/mapping-algebra.ts';
import { invalidMount, MountError } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import type { MountInfo } from '../mountinfo.ts';
import { reachBy } from '../source.ts';
import { isWithin } from '../target.ts';
import { mountIdOf, statmountView } from '../view.ts';

export interface Copied {
  readonly path: string;
  readonly recursive: boolean;
}

const NEEDED = ['open-tree-attr', 'statmount', 'listmount'] as const;

export const canCompose = (kernel: Pick<Kernel, 'has'>): boolean => NEEDED.every(kernel.has);

/**
 * A new copy of the source with both maps; undefined when the source has none.
 * @throws MountError (idmap-unsupported) where what is below the source is not mapped as it is
 */
export function copyWithBothMaps(
  source: Copied,
  mapping: UserMapping,
  attr: MountAttr,
  namespaces: UserNamespaces,
): Fd | undefined {
  using original = openTree(AT_FDCWD, source.path, OPEN_TREE.OPEN_TREE_CLOEXEC);
  const existing = mapOf(original);
  if (existing === undefined) return undefined;
  if (source.recursive) expectMappedAlike(original, existing);
  using userns = namespaces.lease(compose(existing, mapping));
  const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC;
  return openTreeAttr(original, source.recursive ? flags | OPEN_TREE.AT_RECURSIVE : flags, {
    ...attr,
    set: attr.set | MOUNT_ATTR.MOUNT_ATTR_IDMAP,
    usernsFd: userns.fd.number,
  });
}

/** The kernel gives one map to all mounts of the copy, in the place of what each of them has. */
function expectMappedAlike(original: Fd, existing: UserMapping): void {
  const place = readlinkSync(reachBy(original));
  const below = statmountView.below(mountIdOf(original, statmountView), (target) => isWithin(target, place));
  const copied = below.filter(({ info }) => !info.propagation.includes('unbindable'));
  const wanted = canonicalText(existing);
  for (const { info } of copied) {
    const own = mapIn(info);
    if (own !== undefined && canonicalText(own) === wanted) continue;
    throw new MountError({
      reason: 'idmap-unsupported',
      message:
        `${info.target}, below the source ${place}, is ${own ? 'mapped otherwise' : 'not mapped'}: a second ID map would ` +
        'give it the first one of the source too; map the unmapped source, or leave out what is below it (bind)',
      rolledBack: true,
    });
  }
}

function mapOf(fd: Fd): UserMapping | undefined {
  const mount = statmountView.find(mountIdOf(fd, statmountView));
  return mount && mapIn(mount.info);
}

function mapIn({ idmap }: MountInfo): UserMapping | undefined {
  if (idmap === undefined) return undefined;
  return {
    uid: parseIdMapping(idmap.uid.join(','), 'uidmap'),
    gid: parseIdMapping(idmap.gid.join(','), 'gidmap'),
  };
}

function compose(first: UserMapping, second: UserMapping): UserMapping {
  try {
    return composeUserMappings(first, second);
  } catch (error) {
    throw error instanceof MappingError ? invalidMount(error.message) : error;
  }
}
