// A bind mount: a copy of the mount at `source`, with attributes and ids of its own.
//
//   open_tree(source, OPEN_TREE_CLONE [| AT_RECURSIVE for rbind])
//   mount_setattr(...)     attributes and ID map together, before anyone can see the mount
import { invalidMount } from '../errors.ts';
import type { ParsedOptions } from '../options.ts';
import type { ParsedMount, Planner } from '../plan.ts';
import { finishDetached } from './finish.ts';

export const planBind: Planner = (mount, kernel) => {
  const recursive = checkBind(mount);
  const { source, options } = mount;
  return [
    { kind: 'cloneTree', path: source, recursive, as: 'mount' },
    ...finishDetached({ options, idmap: true, tree: recursive, kernel }),
  ];
};

/** Whether a bind is of all that is mounted below its source. */
export const isTree = (type: string, { bind }: ParsedOptions): boolean =>
  type === 'rbind' || bind === 'rbind';

/** What both ways to make a bind refuse. Returns whether the whole tree below the source is meant. */
export function checkBind({ type, source, options }: ParsedMount): boolean {
  if (source === '') throw invalidMount('a bind mount needs a source directory or file');
  if (options.data.length > 0) {
    throw invalidMount(
      `a bind mount has no filesystem options of its own, but was given ${options.data.join(',')}; remove them`,
    );
  }
  if (options.superblock.length > 0) {
    throw invalidMount(
      `${options.superblock.join(',')}: flags of the filesystem, which a bind mount shares with its source; remove them`,
    );
  }
  return isTree(type, options);
}
