// Steps that make a finished mount visible, and what only holds from then on.
import { renderFlags } from '../../sys/bind.ts';
import { MOUNT_SETATTR, MOVE_MOUNT, PROPAGATION, STATX_MASK } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { mountIdOf, mountSetattr, moveMount } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { isDirectory, type Target } from '../target.ts';
import { unmountTop } from '../unmount.ts';
import type { Rows, Slot, Workplace } from './row.ts';

export interface AttachSteps {
  /** From here on the mount is visible. */
  readonly attach: { readonly mount: Slot };
  /** Propagation of the attached mount: a move below a shared parent makes the moved mount shared. */
  readonly setPropagation: { readonly on: Slot; readonly type: number; readonly recursive: boolean };
  /** The target shows the mount that was made, not one that came between. */
  readonly verify: { readonly mount: Slot };
}

export const attachSteps: Rows<AttachSteps> = {
  attach: {
    describe: ({ mount }) => `move_mount(${mount}, target)`,
    apply: ({ mount }, at) => {
      const tree = at.get(mount);
      if (isDirectory(tree)) attachDirectory(tree, at.target);
      else attachFile(tree, at.target);
    },
    undo: ({ mount }, at) => {
      assertShown(mount, at);
      unmountTop(at.target, { lazy: true });
    },
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

/** The kernel mounts no directory on anything else, links among that: only when it refuses is the target looked at. */
function attachDirectory(tree: Fd, target: Target): void {
  try {
    moveMount(tree, '', target.parent, target.name, MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
  } catch (error) {
    using there = target.open();
    if (!isDirectory(there)) throw unlike(target);
    throw error;
  }
}

/** On a link it would mount, which would hide from its users. */
function attachFile(tree: Fd, target: Target): void {
  using there = target.open();
  if (isDirectory(there)) throw unlike(target);
  const both = MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT.MOVE_MOUNT_T_EMPTY_PATH;
  moveMount(tree, '', there, '', both);
}

const unlike = (target: Target): MountError =>
  new MountError({
    reason: 'bad-target',
    message: `target ${target.path}: it and the source must both be directories, or neither`,
    rolledBack: true,
  });

/** Two mounts at one place at the same time, and whoever unmounts by path takes away the other's. */
export function assertShown(mount: Slot, at: Workplace): void {
  if (mountIdOf(at.get(mount)) === at.target.stat(STATX_MASK.STATX_MNT_ID).mountId) return;
  throw new MountError({
    reason: 'wrong-mount',
    message: `${at.target.path} shows another mount than the one just made: someone else mounts there at the same time`,
    rolledBack: false,
  });
}
