// The device nodes of the loop driver, opened, and made where they are missing: a container's own /dev has none
// of the devices that come up later, and a devtmpfs may be late.
import { existsSync, readFileSync } from 'node:fs';
import { AT_FDCWD, O, S_IF, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { deviceNumber } from '../../sys/loop-structs.ts';
import { mknodat, openat, statx } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import type { MountInfo } from '../mountinfo.ts';

const CONTROL = { path: '/dev/loop-control', type: S_IF.S_IFCHR, major: 10, minor: 237 } as const;
const NODE_MODE = 0o600;

interface Node {
  readonly path: string;
  readonly type: number;
  readonly major: number;
  readonly minor: number;
}

/** /dev/loop-control; opening it loads the driver where it is a module. */
export function openLoopControl(): Fd {
  try {
    return openNode(CONTROL, O.O_RDWR);
  } catch (error) {
    if (!hasErrno(error, 'ENODEV', 'ENXIO')) throw error;
    const message = `${CONTROL.path}: this kernel has no loop devices, or cannot load them (modprobe loop)`;
    throw new MountError({ reason: 'kernel-unsupported', message, rolledBack: true }, { cause: error });
  }
}

export const loopPath = (number: number): string => `/dev/loop${number}`;

/** @param access O_RDWR, or 0 for reading, which is enough to keep a device as it is */
export function openLoop(number: number, access: number): Fd {
  const [major, minor] = loopNumbers(number);
  return openNode({ path: loopPath(number), type: S_IF.S_IFBLK, major, minor }, access);
}

const known = new Map<number, readonly [major: number, minor: number]>();

/** Fixed while the driver is loaded. Not computed: with partitions (loop.max_part) the minor is not the number. */
export function loopNumbers(number: number): readonly [major: number, minor: number] {
  const before = known.get(number);
  if (before) return before;
  const [major, minor] = readFileSync(`/sys/block/loop${number}/dev`, 'utf8').split(':').map(Number);
  if (major === undefined || minor === undefined) throw new Error(`no device number of loop${number}`);
  known.set(number, [major, minor]);
  return [major, minor];
}

function openNode(node: Node, access: number): Fd {
  try {
    return openChecked(node, access);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
  try {
    mknodat(AT_FDCWD, node.path, node.type | NODE_MODE, deviceNumber(node.major, node.minor));
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
  }
  return openChecked(node, access);
}

/** What has the name might be another device, or a file that somebody wrote by mistake. */
function openChecked(node: Node, access: number): Fd {
  using opened = openat(AT_FDCWD, node.path, access | O.O_CLOEXEC | O.O_NONBLOCK, 0);
  const { mode, specialMajor, specialMinor } = statx(
    opened,
    '',
    STATX.AT_EMPTY_PATH,
    STATX_MASK.STATX_BASIC_STATS,
  );
  if ((mode & S_IF.S_IFMT) !== node.type || specialMajor !== node.major || specialMinor !== node.minor) {
    throw new MountError({
      reason: 'mount-failed',
      message: `${node.path} is not the device ${node.major}:${node.minor}; remove it, it will be made anew`,
      rolledBack: true,
    });
  }
  return new Fd(opened.release());
}

/** What the smallest device has. */
export const SECTOR_BYTES = 512;

/**
 * The numbers of all loop devices that have a file, of every mount namespace. One read, however many there have ever been:
 * the kernel lists devices that have a sector, which one without a file has not, and one of ours always has (loop.ts).
 */
export function boundLoops(): number[] {
  return Array.from(readFileSync('/proc/partitions', 'latin1').matchAll(/ loop(\d+)$/gm), ([, number]) =>
    Number(number),
  );
}

/** The kernel shows this directory while the device has a file (loop_sysfs_init()). */
export const isBound = (number: number): boolean => existsSync(`/sys/block/loop${number}/loop/backing_file`);

/**
 * Whether a mount of a device's node, which has the node's name for its root, shows a disk. A loop device without a file is
 * none: whoever attached it was killed before it stayed.
 */
export function showsDisk({ root }: Pick<MountInfo, 'root'>): boolean {
  const [, number] = /\/loop(\d+)(\/\/deleted)?$/.exec(root) ?? [];
  return number === undefined || isBound(Number(number));
}

/**
 * The files of all loop devices as sysfs names them, which no hung filesystem holds up: for counting, not for knowing a
 * file again, because a name may be that of another mount namespace, or of a file that is deleted.
 */
export function namesOfLoopFiles(): string[] {
  return boundLoops().flatMap((number) => {
    try {
      return [readFileSync(`/sys/block/loop${number}/loop/backing_file`, 'utf8').trimEnd()];
    } catch {
      return []; // Given up while we were looking.
    }
  });
}
