// Steps that make an overlay of layers that cannot be given to the kernel by descriptor.
import { realpathSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, MOUNT_ATTR, OPEN_TREE, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno, SyscallError } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { mountSetattr, openTree, statx } from '../../sys/syscalls.ts';
import { invalidMount, MountError } from '../errors.ts';
import { commonParent } from '../layers.ts';
import { onThread } from '../thread/thread.ts';
import { upperName } from './claim.ts';
import type { Rows, Slot } from './row.ts';
import { rootOfNamespace } from './userns.ts';

export interface OverlaySteps {
  /** In a private mount namespace, where the detached layers get short names: nothing is seen on the host. */
  readonly assembleOverlay: {
    readonly layers: readonly { readonly slot: Slot; readonly dataOnly: boolean }[];
    readonly upper: Upper | undefined;
    /** Where the upper layer is mapped too: with this user namespace, if it is there. */
    readonly userns?: Slot;
    /** Whether fsopen(2) may be used; else mount(2). */
    readonly context: boolean;
    readonly source: string;
    /** Options and flags of the superblock, without layers. */
    readonly data: readonly string[];
    readonly as: Slot;
  };
}

export interface Upper {
  readonly upperdir: string;
  readonly workdir: string;
}

export const overlaySteps: Rows<OverlaySteps> = {
  assembleOverlay: {
    describe: ({ layers, upper, userns, data, as }) => {
      const lowerdir = layers
        .map(({ slot, dataOnly }, i) => `${i === 0 ? '' : dataOnly ? '::' : ':'}${slot}`)
        .join('');
      const upperdir = upper ? [`upperdir=${upper.upperdir}`, `workdir=${upper.workdir}`] : [];
      const mapped = userns ? `, upperdir and workdir mapped by ${userns}, mounted as its root` : '';
      return `${as} = overlay(${[`lowerdir=${lowerdir}`, ...upperdir, ...data].join(', ')}) in a private mount namespace${mapped}`;
    },
    apply: ({ layers, upper, userns, context, source, data, as }, at) => {
      using held = upper === undefined ? undefined : cloneOfBoth(upper);
      const namespace = userns === undefined ? undefined : at.find(userns);
      if (held && namespace) mapUpper(held.fd, namespace);
      const mount = onThread('private', 'assembleOverlay', {
        context,
        source,
        data,
        layers: layers.map(({ slot, dataOnly }) => ({ fd: at.get(slot).number, dataOnly })),
        upper: held && { ...held, fd: held.fd.number },
        user: namespace && rootOfNamespace(namespace),
      });
      at.put(as, new Fd(mount));
    },
    explain: (errno) =>
      errno === 'EINVAL'
        ? {
            reason: 'invalid-mount',
            meaning: 'the overlay does not take one of its options or layers; the kernel log may say which',
          }
        : undefined,
  },
};

function mapUpper(tree: Fd, namespace: Fd): void {
  const set = MOUNT_ATTR.MOUNT_ATTR_IDMAP;
  try {
    mountSetattr(tree, 0, { set, clear: 0, propagation: 0, usernsFd: namespace.number });
  } catch (error) {
    if (!(error instanceof SyscallError) || !hasErrno(error, 'EINVAL', 'EPERM')) throw error;
    const meaning =
      error.code === 'EINVAL'
        ? 'the filesystem of upperdir cannot be ID-mapped on this kernel; put it on another, or leave out idmapupper'
        : 'upperdir is on an ID-mapped mount already, or its filesystem belongs to another user namespace; use the unmapped one';
    const { message } = error.explain(meaning);
    throw new MountError(
      { reason: 'idmap-unsupported', message, rolledBack: true, errno: error.code },
      { cause: error },
    );
  }
}

interface HeldUpper extends Upper, Disposable {
  readonly fd: Fd;
  readonly name: string;
}

/**
 * A copy of the mount that has both directories, from their common parent down. They must be on one mount: the
 * kernel wants it, and a mount point in between would not be in the copy.
 */
function cloneOfBoth({ upperdir, workdir }: Upper): HeldUpper {
  const [upper, work] = [realpathOf('upperdir', upperdir), realpathOf('workdir', workdir)];
  const parent = commonParent([upper, work]);
  const ids = [parent, upper, work].map(mountIdAt);
  if (new Set(ids).size > 1) throw invalidMount(sameMountMessage({ upperdir, workdir }));
  const fd = openTree(AT_FDCWD, parent, OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC);
  return {
    fd,
    name: upperName(statx(AT_FDCWD, upper, STATX.AT_STATX_DONT_SYNC, STATX_MASK.STATX_BASIC_STATS)),
    upperdir: path.relative(parent, upper),
    workdir: path.relative(parent, work),
    [Symbol.dispose]: () => fd[Symbol.dispose](),
  };
}

export function sameMountMessage({ upperdir, workdir }: Upper): string {
  return `upperdir ${upperdir} and workdir ${workdir} must be two directories of the same mount`;
}

function mountIdAt(directory: string): bigint {
  return statx(AT_FDCWD, directory, STATX.AT_STATX_DONT_SYNC, STATX_MASK.STATX_MNT_ID).mountId;
}

function realpathOf(field: string, directory: string): string {
  try {
    return realpathSync(directory);
  } catch (error) {
    const message = `${field} ${directory} does not exist or cannot be reached`;
    throw new MountError({ reason: 'source-not-found', message, rolledBack: true }, { cause: error });
  }
}
