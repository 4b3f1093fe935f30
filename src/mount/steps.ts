// What a plan is made of. One map says which kinds of step there are and what each needs; the union `Step` is
// derived from it, and one row per kind says how it is described, carried out and explained when it fails. A
// missing row does not compile. To add a kind: its arguments in StepArguments, its row in STEPS.
//
// Steps pass file descriptors on by name (a Slot): a step with `as` fills one, later steps read it. All slots
// are closed when the plan has been carried out or has failed, so a detached mount that never got attached is
// gone with its descriptor.
import { renderFlags } from '../sys/bind.ts';
import {
  AT_FDCWD,
  MOUNT_ATTR,
  MOUNT_SETATTR,
  MOVE_MOUNT,
  OPEN_TREE,
  PROPAGATION,
  ST_RDONLY,
  STATX,
  STATX_MASK,
} from '../sys/constants.ts';
import type { ErrnoName } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import {
  fsconfig,
  fsmount,
  fsopen,
  fstatfs,
  mountSetattr,
  moveMount,
  openTree,
  statx,
} from '../sys/syscalls.ts';
import { createUserNamespace } from '../userns/create.ts';
import { formatIdMapping, type UserMapping } from '../userns/mapping.ts';
import { MountError, type MountReason } from './errors.ts';
import type { Target } from './target.ts';
import { unmountTop } from './unmount.ts';

/** Name of a file descriptor within one plan. */
export type Slot = string;

interface StepArguments {
  /** A user namespace of this mapping. */
  readonly createUserNamespace: { readonly mapping: UserMapping; readonly as: Slot };
  /** A detached copy of the mount at `path`, or of the whole tree of mounts there. */
  readonly cloneTree: { readonly path: string; readonly recursive: boolean; readonly as: Slot };
  /** A reference to `path` that does nothing but point at it (O_PATH). */
  readonly openPath: { readonly path: string; readonly as: Slot };
  readonly setAttributes: {
    readonly on: Slot;
    readonly set: number;
    readonly clear: number;
    readonly recursive: boolean;
    /** One of PROPAGATION, or 0. */
    readonly propagation: number;
    readonly userns?: Slot;
  };
  readonly openFilesystem: { readonly type: string; readonly as: Slot };
  /** One parameter of a filesystem context. */
  readonly configure: { readonly context: Slot; readonly key: string; readonly value: ConfigValue };
  /** The superblock, and a detached mount of it. */
  readonly createMount: { readonly context: Slot; readonly as: Slot };
  /** A writable overlay whose upper layer cannot be written turns read-only without an error. */
  readonly checkWritable: { readonly on: Slot };
  /** From here on the mount is visible. */
  readonly attach: { readonly mount: Slot };
  /** Propagation of the attached mount: a move below a shared parent makes the moved mount shared. */
  readonly setPropagation: { readonly on: Slot; readonly type: number; readonly recursive: boolean };
  /** The target shows the mount that was made, not one that came between. */
  readonly verify: { readonly mount: Slot };
}

export type ConfigValue = { readonly flag: true } | { readonly string: string } | { readonly fd: Slot };

export type StepKind = keyof StepArguments;
export type Step = { [K in StepKind]: { readonly kind: K } & StepArguments[K] }[StepKind];

/** What steps work on: the descriptors made so far and the place where the mount goes. */
export interface Workplace {
  readonly target: Target;
  get(slot: Slot): Fd;
  put(slot: Slot, fd: Fd): void;
}

interface StepRow<A> {
  readonly describe: (args: A) => string;
  readonly apply: (args: A, at: Workplace) => void;
  /** Takes back what `apply` did beyond its descriptors. */
  readonly undo?: (args: A, at: Workplace) => void;
  /** What an errno means at this step, where that is known. */
  readonly explain?: (errno: string, args: A) => Explanation | undefined;
}

export interface Explanation {
  readonly reason: MountReason;
  readonly meaning: string;
}

const explainPath =
  (what: string) =>
  (errno: string, { path }: { readonly path: string }): Explanation | undefined => {
    const meanings: Partial<Record<ErrnoName, string>> = {
      ENOENT: `${what} ${path} does not exist`,
      ENOTDIR: `a part of ${path} is not a directory`,
      ELOOP: `${path} has too many symbolic links`,
      EACCES: `${path} cannot be reached with this process's rights`,
    };
    const meaning = meanings[errno as ErrnoName];
    return meaning === undefined ? undefined : { reason: 'source-not-found', meaning };
  };

export const STEPS: { readonly [K in StepKind]: StepRow<StepArguments[K]> } = {
  createUserNamespace: {
    describe: ({ mapping, as }) =>
      `${as} = user namespace {uid ${formatIdMapping(mapping.uid)}, gid ${formatIdMapping(mapping.gid)}}`,
    apply: ({ mapping, as }, at) => at.put(as, createUserNamespace(mapping)),
  },
  cloneTree: {
    describe: ({ path, recursive, as }) =>
      `${as} = open_tree(${JSON.stringify(path)}, OPEN_TREE_CLONE${recursive ? '|AT_RECURSIVE' : ''})`,
    apply: ({ path, recursive, as }, at) => {
      const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC;
      at.put(as, openTree(AT_FDCWD, path, recursive ? flags | OPEN_TREE.AT_RECURSIVE : flags));
    },
    explain: (errno, args) =>
      errno === 'EINVAL'
        ? {
            reason: 'mount-failed',
            meaning: `${args.path} is on an unbindable mount or one of another mount namespace`,
          }
        : explainPath('the source')(errno, args),
  },
  openPath: {
    describe: ({ path, as }) => `${as} = open_tree(${JSON.stringify(path)}, 0)`,
    apply: ({ path, as }, at) => at.put(as, openTree(AT_FDCWD, path, OPEN_TREE.OPEN_TREE_CLOEXEC)),
    explain: explainPath('the directory'),
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
    apply: ({ on, set, clear, recursive, propagation, userns }, at) =>
      mountSetattr(at.get(on), recursive ? MOUNT_SETATTR.AT_RECURSIVE : 0, {
        set: userns === undefined ? set : set | MOUNT_ATTR.MOUNT_ATTR_IDMAP,
        clear,
        propagation,
        usernsFd: userns === undefined ? 0 : at.get(userns).number,
      }),
    explain: (errno, { userns }) => {
      if (userns === undefined) return undefined;
      if (errno === 'EINVAL') {
        return {
          reason: 'idmap-unsupported',
          meaning:
            'this filesystem cannot be ID-mapped on this kernel (overlay, FUSE and NFS cannot; tmpfs from Linux 6.3); ' +
            'for an overlay, map its lowerdirs instead',
        };
      }
      if (errno === 'EPERM') {
        return {
          reason: 'idmap-unsupported',
          meaning:
            'the source is an ID-mapped mount already, or its filesystem belongs to another user namespace; use the unmapped source',
        };
      }
      return undefined;
    },
  },
  openFilesystem: {
    describe: ({ type, as }) => `${as} = fsopen(${JSON.stringify(type)})`,
    apply: ({ type, as }, at) => at.put(as, fsopen(type, 1)),
    explain: (errno, { type }) =>
      errno === 'ENODEV'
        ? {
            reason: 'kernel-unsupported',
            meaning: `this kernel has no filesystem ${type}; see /proc/filesystems`,
          }
        : undefined,
  },
  configure: {
    describe: ({ context, key, value }) =>
      `fsconfig(${context}, ${key}${'fd' in value ? ` = ${value.fd}` : 'string' in value ? ` = ${JSON.stringify(value.string)}` : ''})`,
    apply: ({ context, key, value }, at) =>
      fsconfig(
        at.get(context),
        'fd' in value
          ? { by: 'fd', key, value: at.get(value.fd) }
          : 'string' in value
            ? { by: 'string', key, value: value.string }
            : { by: 'flag', key },
      ),
    explain: (errno, { key, value }) => {
      if (errno !== 'EINVAL') return undefined;
      return 'fd' in value
        ? { reason: 'kernel-unsupported', meaning: 'overlay layers by file descriptor need Linux 6.15' }
        : { reason: 'invalid-mount', meaning: `the filesystem does not take the option ${key} or its value` };
    },
  },
  createMount: {
    describe: ({ context, as }) => `${as} = fsmount(fsconfig(${context}, FSCONFIG_CMD_CREATE))`,
    apply: ({ context, as }, at) => {
      fsconfig(at.get(context), { by: 'create' });
      at.put(as, fsmount(at.get(context), 1, 0));
    },
  },
  checkWritable: {
    describe: ({ on }) => `check that ${on} is writable`,
    apply: ({ on }, at) => {
      if ((fstatfs(at.get(on)).flags & ST_RDONLY) === 0) return;
      throw new MountError({
        reason: 'not-writable',
        message:
          'the overlay came out read-only: its workdir could not be prepared; upperdir and workdir must be on a ' +
          'writable filesystem, and not on an ID-mapped mount in which the mounting user has no id',
        rolledBack: false,
      });
    },
  },
  attach: {
    describe: ({ mount }) => `move_mount(${mount}, target)`,
    apply: ({ mount }, at) => {
      using target = at.target.open();
      const both = MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT.MOVE_MOUNT_T_EMPTY_PATH;
      moveMount(at.get(mount), '', target, '', both);
    },
    undo: ({ mount }, at) => {
      assertShown(mount, at);
      unmountTop(at.target, { lazy: true });
    },
    explain: (errno) =>
      errno === 'ENOTDIR'
        ? { reason: 'bad-target', meaning: 'source and target must both be directories, or both be files' }
        : undefined,
  },
  setPropagation: {
    describe: ({ on, type, recursive }) =>
      `mount_setattr(${on}${recursive ? ', AT_RECURSIVE' : ''}, ${renderFlags(type, PROPAGATION)})`,
    apply: ({ on, type, recursive }, at) =>
      mountSetattr(at.get(on), recursive ? MOUNT_SETATTR.AT_RECURSIVE : 0, {
        set: 0,
        clear: 0,
        propagation: type,
        usernsFd: 0,
      }),
  },
  verify: {
    describe: ({ mount }) => `verify that target shows ${mount}`,
    apply: ({ mount }, at) => assertShown(mount, at),
  },
};

/** Two mounts at one place at the same time, and whoever unmounts by path takes away the other's. */
function assertShown(mount: Slot, at: Workplace): void {
  using shown = at.target.open();
  if (mountIdOf(at.get(mount)) === mountIdOf(shown)) return;
  throw new MountError({
    reason: 'wrong-mount',
    message: `${at.target.path} shows another mount than the one just made: someone else mounts there at the same time`,
    rolledBack: false,
  });
}

function mountIdOf(fd: Fd): bigint {
  return statx(fd, '', STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC, STATX_MASK.STATX_MNT_ID).mountId;
}
