// Steps of mount(2), for kernels and sandboxes without the calls that make detached mounts.
//
// A slot that such a step fills refers to the top of the target at that moment: later steps and `verify` compare
// against it, and undo takes away what it refers to and nothing else.
import { existsSync } from 'node:fs';
import { renderFlags } from '../../sys/bind.ts';
import { MS, OPEN_TREE, ST, UMOUNT } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { fstatfs, mount, openTree, umount2 } from '../../sys/syscalls.ts';
import { onePage } from '../plan/classic-flags.ts';
import { filesystemSource } from '../source-device.ts';
import { onThread } from '../thread/thread.ts';
import { unmountTop } from '../unmount.ts';
import { assertShown } from './attach.ts';
import { devicePath } from './image.ts';
import type { Rows, Slot, Upper } from './row.ts';
import { upperOptions } from './temporary-layers.ts';
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
    /** Of an overlay: its two directories, which `cwd` has links to (nameLayers). */
    readonly upper?: Upper;
    /** The loop device that is the source, in the place of `source`. */
    readonly device?: Slot;
    readonly as: Slot;
  };
  /** Flags of the bind that is at the target: those it has, and so those that are locked, are kept. */
  readonly remountBind: { readonly set: number; readonly clear: number };
  readonly propagationCall: { readonly type: number; readonly recursive: boolean };
  /** A detached copy of what is mounted at the target. */
  readonly cloneTarget: { readonly as: Slot };
  /** Takes away the top mount at the target, which a detached copy of it is about to replace. */
  readonly detachTarget: { readonly mount: Slot };
}

export const classicSteps: Rows<ClassicSteps> = {
  mountCall: {
    describe: ({ source, type, flags, data, cwd, upper, device }) => {
      const links = upper ? `, and its links to ${upper.upperdir} and ${upper.workdir}` : '';
      const what = [device ?? source, 'target', type, renderFlags(flags, MS), JSON.stringify(data)].join(
        ', ',
      );
      return `mount(${what})${cwd ? ` with ${cwd} as working directory${links}` : ''}`;
    },
    apply: ({ source: given, type, flags, data: text, cwd, upper, device, as }, at) => {
      const data =
        upper === undefined
          ? text
          : onePage([text, ...upperOptions(upper, at)].join(','), 'use fewer layers');
      const source =
        device !== undefined
          ? devicePath(device, at)
          : type === ''
            ? at.sources.reach(given)
            : filesystemSource(type, given, at.sources);
      using target = at.target.open();
      using undo = new DisposableStack();
      const place = `/proc/self/fd/${target.number}`;
      if (cwd === undefined) mount(source, place, type || null, flags, data || null);
      else onThread('cwd', 'mountAt', { cwd: at.get(cwd).number, source, target: place, type, flags, data });
      // A call that needs no descriptor: the next one may fail for want of one.
      undo.defer(() => umount2(at.target.pathByParent, UMOUNT.UMOUNT_NOFOLLOW | UMOUNT.MNT_DETACH));
      at.put(as, at.target.open());
      undo.move();
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

/** MS flags of the mount behind an fd. statfs(2) uses the same bits but for two. */
export function currentFlags(fd: Fd): number {
  const { flags } = fstatfs(fd);
  const same = MS.MS_RDONLY | MS.MS_NOSUID | MS.MS_NODEV | MS.MS_NOEXEC | MS.MS_NOATIME | MS.MS_NODIRATIME;
  const relatime = flags & ST.ST_RELATIME ? MS.MS_RELATIME : 0;
  const nosymfollow = flags & ST.ST_NOSYMFOLLOW ? MS.MS_NOSYMFOLLOW : 0;
  return (flags & same) | relatime | nosymfollow;
}
