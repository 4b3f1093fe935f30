// Steps that have a FUSE helper mount its filesystem at the target.
import { renderFlags } from '../../sys/bind.ts';
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, UMOUNT } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { mountIdOf, mountSetattr, umount2 } from '../../sys/syscalls.ts';
import { type Helper, helperArguments } from '../fuse/command.ts';
import { abortConnection } from '../fuse/connection.ts';
import { isFuse, mountsAt, topOf } from '../fuse/mounts.ts';
import { type MountInfo, readMountinfo } from '../mountinfo.ts';
import { parseOptions } from '../options.ts';
import { startHelper } from './fuse-helper.ts';
import type { Rows, Slot, Workplace } from './row.ts';

export interface FuseSteps {
  /** What is mounted at the target before the helper begins. Undone, everything that has come since is gone. */
  readonly noteMounts: Record<never, never>;
  /** Runs until the target shows a FUSE filesystem that answers. */
  readonly startHelper: Helper;
  /** Attributes of a mount that is attached already. */
  readonly ensureAttributes: { readonly on: Slot; readonly set: number; readonly clear: number };
}

interface Noted {
  /** Ids of the mounts that were at the target before the plan of this workplace began. */
  readonly here: ReadonlySet<number>;
  /** Filesystems that were mounted anywhere. */
  readonly devices: ReadonlySet<string>;
}

const noted = new WeakMap<Workplace, Noted>();

export const fuseSteps: Rows<FuseSteps> = {
  noteMounts: {
    describe: () => 'note what is mounted at target',
    apply: (_, at) => {
      // Refuses what a helper would make otherwise, or follow.
      using _place = at.target.open();
      noted.set(at, {
        here: new Set(mountsAt(at.target).map(({ id }) => id)),
        devices: new Set(readMountinfo().map(({ device }) => device)),
      });
    },
    undo: (_, at) => {
      for (let top = topAdded(at); top !== undefined; top = topAdded(at)) {
        // A server that hangs would keep those who asked it waiting. One that served before is not the helper's.
        const isNew = isFuse(top) && noted.get(at)?.devices.has(top.device) === false;
        if (isNew) abortConnection(at.target, top);
        const flags = UMOUNT.MNT_DETACH | (isNew ? UMOUNT.MNT_FORCE : 0);
        umount2(at.target.pathByParent, UMOUNT.UMOUNT_NOFOLLOW | flags);
      }
    },
  },
  startHelper: {
    describe: (helper) => {
      const words = [helper.name, ...helperArguments(helper, 'target')];
      return `${words.map(quote).join(' ')}; wait until target is FUSE and answers`;
    },
    apply: (given, at) => {
      startHelper(given, at, () => topAdded(at));
    },
  },
  ensureAttributes: {
    describe: ({ on, set, clear }) =>
      `ensure that ${on} has ${renderFlags(set, MOUNT_ATTR)}, and not ${renderFlags(clear & ~set, MOUNT_ATTR)}`,
    apply: ({ on, set, clear }, at) => {
      try {
        mountSetattr(at.get(on), 0, { set, clear, propagation: 0, usernsFd: 0 });
      } catch (error) {
        // An ordinary user may mount through fusermount3, and not change it. What libfuse did may be enough.
        if (!hasErrno(error, 'EPERM') || !hasAttributes(at.get(on), set, clear)) throw error;
      }
    },
  },
};

function added(at: Workplace): MountInfo[] {
  const before = noted.get(at)?.here;
  return mountsAt(at.target).filter(({ id }) => before?.has(id) === false);
}

/** The mount that is seen at the target, if it has come since. */
function topAdded(at: Workplace): MountInfo | undefined {
  const top = topOf(mountsAt(at.target));
  return top && added(at).some(({ id }) => id === top.id) ? top : undefined;
}

/** Apart from access times, which mountinfo does not tell in full. */
function hasAttributes(mount: Fd, set: number, clear: number): boolean {
  const mountId = mountIdOf(mount);
  const shown = readMountinfo().find(({ id }) => BigInt(id) === mountId);
  if (shown === undefined) return false;
  const has = parseOptions(shown.options).mount.set;
  return (set & ~MOUNT_ATTR__ATIME & ~has) === 0 && (clear & ~MOUNT_ATTR__ATIME & ~set & has) === 0;
}

const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word));
