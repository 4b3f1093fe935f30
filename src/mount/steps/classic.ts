// Steps of mount(2), for kernels and sandboxes without the calls that make detached mounts.
//
// A slot that such a step fills refers to the top of the target at that moment: later steps and `verify` compare
// against it, and undo takes away what it refers to and nothing else.
import { existsSync, mkdtempSync, readlinkSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { renderFlags } from '../../sys/bind.ts';
import { AT_FDCWD, MOVE_MOUNT, MS, O, OPEN_TREE, ST, UMOUNT } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { loopGetStatus } from '../../sys/loop.ts';
import { fstatfs, mkdirat, mount, moveMount, openat, openTree, umount2 } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { loopPath } from '../loop/nodes.ts';
import { onThread } from '../thread/thread.ts';
import { unmountTop } from '../unmount.ts';
import { assertShown } from './attach.ts';
import { EMPTY_LAYER, type Rows, type Slot } from './row.ts';
import { unbindable } from './trees.ts';

export interface ClassicSteps {
  /** mount(2) at the target. With `cwd`, relative names in `data` start at that directory. */
  readonly mountCall: {
    readonly source: string;
    readonly type: string;
    /** MS flags. */
    readonly flags: number;
    readonly data: string;
    /** What must exist, to be named when it does not. */
    readonly paths: readonly string[];
    readonly cwd?: Slot;
    /** The loop device that is the source, in the place of `source`. */
    readonly device?: Slot;
    readonly as: Slot;
  };
  /** Flags of the bind that is at the target: those it has, and so those that are locked, are kept. */
  readonly remountBind: { readonly set: number; readonly clear: number };
  readonly propagationCall: { readonly type: number; readonly recursive: boolean };
  /**
   * Detached mounts under the names 0, 1, ... in a temporary directory of the host, whose descriptor is `as`; and an
   * empty tmpfs as EMPTY_LAYER, as a directory would have to stay for as long as the overlay.
   */
  readonly attachTemporarily: {
    readonly layers: readonly Slot[];
    readonly empty: boolean;
    readonly location: string;
    readonly as: Slot;
  };
  /** Takes them away again: the overlay has copies of its own. */
  readonly removeTemporary: { readonly directory: Slot; readonly layers: number };
  /** A detached copy of what is mounted at the target. */
  readonly cloneTarget: { readonly as: Slot };
  /** Takes away the top mount at the target, which a detached copy of it is about to replace. */
  readonly detachTarget: { readonly mount: Slot };
}

export const classicSteps: Rows<ClassicSteps> = {
  mountCall: {
    describe: ({ source, type, flags, data, cwd, device }) => {
      const what = [device ?? source, 'target', type, renderFlags(flags, MS), JSON.stringify(data)].join(
        ', ',
      );
      return `mount(${what})${cwd ? ` with ${cwd} as working directory` : ''}`;
    },
    apply: ({ source: path, type, flags, data, cwd, device, as }, at) => {
      const source = device === undefined ? path : loopPath(loopGetStatus(at.get(device)).number);
      using target = at.target.open();
      const place = `/proc/self/fd/${target.number}`;
      if (cwd === undefined) mount(source, place, type || null, flags, data || null);
      else onThread('cwd', 'mountAt', { cwd: at.get(cwd).number, source, target: place, type, flags, data });
      at.put(as, at.target.open());
    },
    undo: ({ as }, at) => {
      assertShown(as, at);
      unmountTop(at.target, { lazy: true });
    },
    explain: (errno, { type, source, paths }) => {
      if (errno === 'ENODEV') {
        return {
          reason: 'kernel-unsupported',
          meaning: `this kernel has no filesystem ${type}; see /proc/filesystems`,
        };
      }
      if (errno === 'ENOTBLK') {
        return {
          reason: 'invalid-mount',
          meaning: 'the source must be a block device; an image file needs the option loop',
        };
      }
      if (errno === 'ENOTDIR') {
        return { reason: 'bad-target', meaning: 'target and source must both be directories, or neither' };
      }
      const missing = errno === 'ENOENT' ? paths.find((needed) => !existsSync(needed)) : undefined;
      if (missing !== undefined) {
        return {
          reason: 'source-not-found',
          meaning: `the ${type === '' ? 'source' : 'directory'} ${missing} does not exist`,
        };
      }
      if (errno === 'EINVAL' && type === '') return { reason: 'mount-failed', meaning: unbindable(source) };
      if (errno === 'EINVAL') {
        return {
          reason: 'invalid-mount',
          meaning: `${type} does not take one of the options; the kernel log may say which`,
        };
      }
      return undefined;
    },
  },
  remountBind: {
    describe: ({ set, clear }) =>
      `mount(target, MS_REMOUNT|MS_BIND, set ${renderFlags(set, MS)}, clear ${renderFlags(clear, MS)})`,
    apply: ({ set, clear }, at) => {
      using target = at.target.open();
      const flags = (currentFlags(target) & ~clear) | set;
      mount(null, `/proc/self/fd/${target.number}`, null, MS.MS_REMOUNT | MS.MS_BIND | flags, null);
    },
    explain: (errno) =>
      errno === 'EPERM'
        ? { reason: 'not-permitted', meaning: 'a flag of the source is locked here and cannot be cleared' }
        : undefined,
  },
  propagationCall: {
    describe: ({ type, recursive }) =>
      `mount(target, ${renderFlags(type | (recursive ? MS.MS_REC : 0), MS)})`,
    apply: ({ type, recursive }, at) => {
      using target = at.target.open();
      mount(null, `/proc/self/fd/${target.number}`, null, type | (recursive ? MS.MS_REC : 0), null);
    },
  },
  attachTemporarily: {
    describe: ({ layers, empty, location, as }) =>
      `${as} = temporary directory below ${location} with ${[...layers, ...(empty ? [EMPTY_LAYER] : [])].join(', ')}`,
    apply: ({ layers, empty, location, as }, at) => {
      const made = mkdtempSync(path.join(location, TEMPORARY_PREFIX));
      const directory = openat(AT_FDCWD, made, O.O_PATH | O.O_DIRECTORY);
      at.put(as, directory);
      try {
        for (const [i, slot] of layers.entries()) {
          mkdirat(directory, String(i), 0o700);
          moveMount(at.get(slot), '', directory, String(i), MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
        }
        if (!empty) return;
        mkdirat(directory, EMPTY_LAYER, 0o755);
        mount('empty', `/proc/self/fd/${directory.number}/${EMPTY_LAYER}`, 'tmpfs', MS.MS_RDONLY, 'mode=755');
      } catch (error) {
        removeTemporary(directory, layers.length);
        throw error;
      }
    },
    undo: ({ layers, as }, at) => removeTemporary(at.get(as), layers.length),
  },
  removeTemporary: {
    describe: ({ directory }) => `unmount and remove ${directory}`,
    apply: ({ directory, layers }, at) => removeTemporary(at.get(directory), layers),
  },
  cloneTarget: {
    describe: ({ as }) => `${as} = open_tree(target, OPEN_TREE_CLONE)`,
    apply: ({ as }, at) => {
      using target = at.target.open();
      const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC | OPEN_TREE.AT_EMPTY_PATH;
      at.put(as, openTree(target, '', flags));
    },
  },
  detachTarget: {
    describe: ({ mount: slot }) => `umount(target), of which ${slot} is a copy`,
    apply: (_, at) => {
      unmountTop(at.target, { lazy: true });
    },
  },
};

/** What cleaning up at start looks for. */
export const TEMPORARY_PREFIX = 'csi-driver-idmap-layers-';

/**
 * Directories go one by one, each only after its unmount, never with what is in them. Doing it again does nothing.
 * Lazily, as our own descriptor of each layer still refers to it.
 */
function removeTemporary(directory: Fd, count: number): void {
  const place = `/proc/self/fd/${directory.number}`;
  const made = readlinkSync(place);
  if (made.endsWith(' (deleted)')) return;
  for (const name of [...Array(count).keys(), EMPTY_LAYER]) {
    try {
      umount2(`${place}/${name}`, UMOUNT.MNT_DETACH | UMOUNT.UMOUNT_NOFOLLOW);
    } catch (error) {
      // EINVAL: not mounted (any more); ENOENT: not even made.
      if (!hasErrno(error, 'EINVAL', 'ENOENT')) throw leftBehind(made, error);
    }
    removeDirectory(`${place}/${name}`);
  }
  removeDirectory(made);
}

function removeDirectory(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw leftBehind(directory, error);
  }
}

function leftBehind(directory: string, cause: unknown): MountError {
  const message = `temporary mounts of layers are left at ${directory}: ${cause instanceof Error ? cause.message : cause}`;
  return new MountError({ reason: 'busy', message, rolledBack: false }, { cause });
}

/** MS flags of the mount behind an fd. statfs(2) uses the same bits but for two. */
export function currentFlags(fd: Fd): number {
  const { flags } = fstatfs(fd);
  const same = MS.MS_RDONLY | MS.MS_NOSUID | MS.MS_NODEV | MS.MS_NOEXEC | MS.MS_NOATIME | MS.MS_NODIRATIME;
  const relatime = flags & ST.ST_RELATIME ? MS.MS_RELATIME : 0;
  const nosymfollow = flags & ST.ST_NOSYMFOLLOW ? MS.MS_NOSYMFOLLOW : 0;
  return (flags & same) | relatime | nosymfollow;
}
