// How the engine sees what is mounted: two ways, alike.
//
//   statmount   statmount(2) and listmount(2), unique ids: asks about the mounts in question only
//   mountinfo   /proc/self/mountinfo, ids that are used again: reads all mounts, and can miss one that is being
//               moved while it reads
//
// Both see what is reachable from this process's root, in its mount namespace.
import { readFileSync } from 'node:fs';
import { O, STATX, STATX_ATTR_MOUNT_ROOT, STATX_MASK } from '../sys/constants.ts';
import { type ErrnoName, hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import type { Statx } from '../sys/structs.ts';
import { openat, statx } from '../sys/syscalls.ts';
import { type Kernel, kernelHere } from './kernel.ts';
import { type MountInfo, readMountinfo } from './mountinfo.ts';
import { listBelow, statmount, statTarget, statType } from './statmount.ts';
import type { Target } from './target.ts';

/** A mount with its ids as one view knows them. Ids of different views are not to be compared. */
export interface SeenMount {
  readonly id: bigint;
  readonly parentId: bigint;
  readonly info: MountInfo;
}

export interface MountView {
  readonly by: 'statmount' | 'mountinfo';
  /** What statx(2) is to be asked for to get an id of this view. */
  readonly idMask: number;
  /** Undefined when there is no such mount, any more. */
  readonly find: (id: bigint) => SeenMount | undefined;
  /** The type of the filesystem that is mounted, as in `info`. */
  readonly typeOf: (id: bigint) => string | undefined;
  /** Those of the mounts that stand on this one, on those, and so on, whose target is wanted; in any order. */
  readonly below: (id: bigint, isWanted: (target: string) => boolean) => SeenMount[];
}

export const statmountView: MountView = {
  by: 'statmount',
  idMask: STATX_MASK.STATX_MNT_ID_UNIQUE,
  find: (id) => seen(statmount(id)),
  typeOf: statType,
  below: (id, isWanted) =>
    listBelow(id).flatMap((one) => {
      // Undefined when it went meanwhile.
      const target = statTarget(one);
      const mount = target !== undefined && isWanted(target) ? seen(statmount(one)) : undefined;
      return mount === undefined ? [] : [mount];
    }),
};

const seen = (mount: ReturnType<typeof statmount>): SeenMount | undefined =>
  mount && { id: mount.uniqueId, parentId: mount.parentUniqueId, info: mount.info };

export const mountinfoView: MountView = {
  by: 'mountinfo',
  idMask: STATX_MASK.STATX_MNT_ID,
  find: (id) => readSeen().find((mount) => mount.id === id),
  typeOf: (id) => mountinfoView.find(id)?.info.type,
  below(id, isWanted) {
    const byParent = Map.groupBy(readSeen(), ({ parentId }) => parentId);
    const found: SeenMount[] = [];
    const pending = [id];
    for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
      for (const mount of byParent.get(parent) ?? []) {
        // The root of a namespace may be shown as its own parent.
        if (mount.id === id || mount.id === parent) continue;
        if (isWanted(mount.info.target)) found.push(mount);
        pending.push(mount.id);
      }
    }
    return found;
  },
};

const readSeen = (): SeenMount[] =>
  readMountinfo().map((info) => ({ id: BigInt(info.id), parentId: BigInt(info.parentId), info }));

/** The better way that the kernel has. */
export function mountView(kernel: Pick<Kernel, 'has'> = here): MountView {
  return kernel.has('statmount') && kernel.has('listmount') ? statmountView : mountinfoView;
}

const here = kernelHere();

/** Where a file descriptor or a name is, as far as mounts go. */
export interface Standing {
  /** The mount it is on: of the view that was asked, or of mountinfo where `old`. */
  readonly id: bigint;
  /** It is the root of that mount. */
  readonly isRoot: boolean;
  /** The filesystem could not be asked: its server is gone, or refuses us. */
  readonly old: boolean;
  /** Where it could: its kind of file, and which device it is, and is on. */
  readonly look?: Statx;
}

/** What a filesystem says whose server is dead, or does not know us (FUSE without allow_other). */
const UNANSWERED: readonly ErrnoName[] = ['ENOTCONN', 'EIO', 'ESTALE', 'EACCES', 'EHOSTDOWN', 'ETIMEDOUT'];

/** The mount that this file descriptor is on, which is alive. */
export function mountIdOf(at: Fd, { idMask }: MountView): bigint {
  return statx(at, '', STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC, idMask).mountId;
}

/** The top mount at a place, dead or alive. Throws what the kernel says when it is not there or not reachable. */
export function standingOf(place: Pick<Target, 'parent' | 'name' | 'stat'>, { idMask }: MountView): Standing {
  try {
    const look = place.stat(idMask | STATX_MASK.STATX_TYPE);
    return { id: look.mountId, isRoot: (look.attributes & STATX_ATTR_MOUNT_ROOT) !== 0n, old: false, look };
  } catch (error) {
    if (!hasErrno(error, ...UNANSWERED)) throw error;
    // A reference to the root of a mount (O_PATH) asks nothing of its filesystem.
    using at = openat(place.parent, place.name, O.O_PATH | O.O_NOFOLLOW);
    const id = oldIdOf(at);
    return { id, isRoot: id !== oldIdOf(place.parent), old: true };
  }
}

/** proc_pid_fdinfo(5): the mount of any open file, without asking its filesystem. */
function oldIdOf(at: Fd): bigint {
  const [, id] = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${at.number}`, 'utf8')) ?? [];
  if (id === undefined) throw new Error('/proc/self/fdinfo tells no mount id');
  return BigInt(id);
}
