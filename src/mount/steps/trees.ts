// Steps on trees of mounts that exist already: references to them, detached copies, and their attributes.
import { renderFlags } from '../../sys/bind.ts';
import { AT_FDCWD, MOUNT_ATTR, MOUNT_SETATTR, O, OPEN_TREE, PROPAGATION } from '../../sys/constants.ts';
import { type ErrnoName, hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { mountIdOf, mountSetattr, openat, openTree } from '../../sys/syscalls.ts';
import { type Explanation, invalidMount } from '../errors.ts';
import { lockedMeaning, refusedOptions } from '../flags.ts';
import { isDirectory } from '../target.ts';
import { type Copied, canCompose, copyWithBothMaps } from './compose.ts';
import type { Rows, Slot } from './row.ts';
import { mappingOf } from './userns.ts';

export interface TreeSteps {
  /** A detached copy of the mount at `path`, or of the whole tree of mounts there. */
  readonly cloneTree: {
    readonly path: string;
    readonly recursive: boolean;
    /** It must be a directory. */
    readonly layer?: boolean;
    readonly as: Slot;
  };
  /** A reference to a directory. */
  readonly openPath: { readonly path: string; readonly as: Slot };
  /** The kernel wants upperdir and workdir on one mount, and would not say so. */
  readonly checkSameMount: { readonly slots: readonly Slot[]; readonly message: string };
  readonly setAttributes: {
    readonly on: Slot;
    readonly set: number;
    readonly clear: number;
    readonly recursive: boolean;
    /** One of PROPAGATION, or 0. */
    readonly propagation: number;
    readonly userns?: Slot;
  };
}

export const treeSteps: Rows<TreeSteps> = {
  cloneTree: {
    describe: ({ path, recursive, as }) =>
      `${as} = open_tree(${JSON.stringify(path)}, OPEN_TREE_CLONE${recursive ? '|AT_RECURSIVE' : ''})`,
    apply: ({ path, recursive, layer = false, as }, at) => {
      const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC;
      const source = at.sources.reach(path);
      const tree = openTree(AT_FDCWD, source, recursive ? flags | OPEN_TREE.AT_RECURSIVE : flags);
      copied.set(tree, { path: source, recursive });
      at.put(as, tree);
      // The kernel says other things of a layer that is none, or nothing.
      if (layer && !isDirectory(tree))
        throw invalidMount(`${path} is not a directory, which a layer must be`);
    },
    explain: (errno, args) =>
      errno === 'EINVAL'
        ? { reason: 'mount-failed', meaning: unbindable(args.path) }
        : explainPath('the source')(errno, args),
  },
  openPath: {
    describe: ({ path, as }) => `${as} = open(${JSON.stringify(path)}, O_PATH|O_DIRECTORY)`,
    apply: ({ path, as }, at) =>
      at.put(as, openat(AT_FDCWD, at.sources.reach(path), O.O_PATH | O.O_DIRECTORY)),
    explain: explainPath('the directory'),
  },
  checkSameMount: {
    describe: ({ slots }) => `check that ${slots.join(' and ')} are on one mount`,
    apply: ({ slots, message }, at) => {
      if (new Set(slots.map((slot) => mountIdOf(at.get(slot)))).size > 1) throw invalidMount(message);
    },
  },
  setAttributes: {
    describe: ({ on, set, clear, recursive, propagation, userns }) => {
      const parts = [
        set ? `set ${renderFlags(set, MOUNT_ATTR)}` : '',
        clear ? `clear ${renderFlags(clear, MOUNT_ATTR)}` : '',
        propagation ? renderFlags(propagation, PROPAGATION) : '',
        userns ? `userns ${userns}` : '',
      ].filter((part) => part !== '');
      return `mount_setattr(${on}${recursive ? ', AT_RECURSIVE' : ''}, ${parts.join(', ')})`;
    },
    apply({ on, set, clear, recursive, propagation, userns }, at) {
      const tree = at.get(on);
      const attr = { set, clear, propagation, usernsFd: 0 };
      const flags = recursive ? MOUNT_SETATTR.AT_RECURSIVE : 0;
      const namespace = userns === undefined ? undefined : at.find(userns);
      if (namespace === undefined) return mountSetattr(tree, flags, attr);
      try {
        const idmap = { ...attr, set: set | MOUNT_ATTR.MOUNT_ATTR_IDMAP, usernsFd: namespace.number };
        mountSetattr(tree, flags, idmap);
      } catch (error) {
        const source = copied.get(tree);
        const mapping = mappingOf(namespace);
        if (!hasErrno(error, 'EPERM') || !source || !mapping || !canCompose(at.kernel)) throw error;
        const copy = copyWithBothMaps(source, mapping, attr, at.userNamespaces);
        if (copy === undefined) throw error;
        at.replace(on, copy);
      }
    },
    explain: (errno, { userns, set, clear }) => {
      if (userns !== undefined) return explainIdmap(errno);
      if (errno !== 'EPERM') return undefined;
      return { reason: 'not-permitted', meaning: lockedMeaning(refusedOptions(undefined, { set, clear })) };
    },
  },
};

/** Where a copy came from, for when it has to be made anew. */
const copied = new WeakMap<Fd, Copied>();

/** What mount_setattr(2) means where it was to map ids. */
export function explainIdmap(errno: string): Explanation | undefined {
  switch (errno) {
    case 'EINVAL':
      return {
        reason: 'idmap-unsupported',
        meaning:
          'this filesystem cannot be ID-mapped on this kernel (overlay, FUSE and NFS cannot; tmpfs from Linux 6.3); ' +
          'for an overlay, map its lowerdirs instead',
      };
    case 'EPERM':
      return {
        reason: 'idmap-unsupported',
        meaning:
          'the source is an ID-mapped mount already, which takes Linux 6.15 (open-tree-attr) to map again, or its filesystem ' +
          'belongs to another user namespace; use the unmapped source',
      };
    default:
      return undefined;
  }
}

/** What EINVAL means for a bind mount. */
export function unbindable(source: string): string {
  return (
    `${source} is on an unbindable mount or one of another mount namespace, or, in a user namespace, has mounts ` +
    'below that are locked to it, without which it cannot be bound (use rbind)'
  );
}

/** What an errno means for a path that leads to what is mounted. */
export function explainPath(what: string) {
  return (errno: string, { path }: { readonly path: string }): Explanation | undefined => {
    const meanings: Partial<Record<ErrnoName, string>> = {
      ENOENT: `${what} ${path} does not exist`,
      ENOTDIR: `${path}, or a part of it, is not a directory`,
      ELOOP: `${path} has too many symbolic links`,
      EACCES: `${path} cannot be reached with this process's rights`,
    };
    const meaning = meanings[errno as ErrnoName];
    return meaning === undefined ? undefined : { reason: 'source-not-found', meaning };
  };
}
