// Copies of mounts, for layers of an overlay: with their ids mapped, which only a copy can have, or to be attached elsewhere.
// To let go of one costs as much as to make ten (the kernel waits until nobody looks at it any more).
import { MOUNT_ATTR, OPEN_TREE } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { mountSetattr, openTree } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { reachBy } from '../source.ts';
import { canCompose, copyWithBothMaps } from './compose.ts';
import type { Workplace } from './row.ts';
import { unbindable } from './trees.ts';
import { mappingOf } from './userns.ts';

/** A copy, from this directory down, of the mount it is on, without what is mounted below. */
export type Copy = (directory: Fd, name: string) => Fd;

/** @throws MountError (mount-failed) where a mount may not be copied */
export const plainCopy: Copy = (directory, name) => {
  try {
    const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC | OPEN_TREE.AT_EMPTY_PATH;
    return openTree(directory, '', flags);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL')) throw error;
    throw new MountError(
      { reason: 'mount-failed', message: unbindable(name), rolledBack: true, errno: 'EINVAL' },
      { cause: error },
    );
  }
};

export function mappedBy(namespace: Fd, at: Workplace): Copy {
  return (directory, name) => {
    using made = new DisposableStack();
    const tree = made.use(plainCopy(directory, name));
    const attr = { set: 0, clear: 0, propagation: 0, usernsFd: 0 };
    try {
      mountSetattr(tree, 0, { ...attr, set: MOUNT_ATTR.MOUNT_ATTR_IDMAP, usernsFd: namespace.number });
    } catch (error) {
      const mapping = mappingOf(namespace);
      if (!hasErrno(error, 'EPERM') || !mapping || !canCompose(at.kernel)) throw error;
      const source = { path: reachBy(directory), recursive: false };
      const composed = copyWithBothMaps(source, mapping, attr, at.userNamespaces);
      if (composed === undefined) throw error;
      return composed;
    }
    made.move();
    return tree;
  };
}
