// Which mounts of this mount namespace have to do with a loop device: filesystems on it, and its node at another place.
//
// A bind mount of the node has no trace of the device but the node's name, `/loop3` or `/loop3//deleted`. That says
// something only of a filesystem that has nodes:
//
//   devtmpfs                       yes: there is one, whoever mounts it, and what is called so in it is the device
//   the tmpfs of our own node      yes: it is the /dev of this container
//   a tmpfs that is out of sight   yes: the /dev of another container, which may be gone, and has left its nodes here
//   any other tmpfs                no: what somebody keeps in memory may be called anything, and be bound by that name
//
// In sight is a tmpfs whose root is mounted here: who binds a directory of one has it mounted first.
import { basename } from 'node:path';
import { AT_FDCWD, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { statx } from '../../sys/syscalls.ts';
import { type MountInfo, readMountinfo } from '../mountinfo.ts';
import { loopNumbers, loopPath } from './nodes.ts';

/** Whether a mount of this namespace is a filesystem on the device, or shows its node at another place. */
export const isShown = (number: number): boolean => timesShown(number) > 0;

export function timesShown(number: number): number {
  const mounts = readMountinfo();
  const [isOn, isNode] = [filesystemOn(number), nodeOf(number, mounts)];
  return mounts.filter((mount) => isOn(mount) || isNode(mount)).length;
}

/** Whether a mount is a filesystem on this device, and keeps it so. */
export function filesystemOn(number: number): (mount: MountInfo) => boolean {
  const numbers = loopNumbers(number).join(':');
  // btrfs has device numbers of its own.
  return ({ device, source }) => device === numbers || source === loopPath(number);
}

function nodeOf(number: number, mounts: readonly MountInfo[]): (mount: MountInfo) => boolean {
  const own = filesystemOfNode(number);
  const inSight = new Set(mounts.filter(({ root }) => root === '/').map(({ device }) => device));
  return ({ device, root, type }) => {
    if (basename(root.replace(/\/\/deleted$/, '')) !== `loop${number}`) return false;
    if (type === 'devtmpfs') return true;
    return type === 'tmpfs' && (device === own || !inSight.has(device));
  };
}

/** What our own /dev is, where the device has a node, as `major:minor`. */
function filesystemOfNode(number: number): string | undefined {
  try {
    const { deviceMajor, deviceMinor } = statx(
      AT_FDCWD,
      loopPath(number),
      STATX.AT_SYMLINK_NOFOLLOW,
      STATX_MASK.STATX_TYPE,
    );
    return `${deviceMajor}:${deviceMinor}`;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
