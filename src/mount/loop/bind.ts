// A free loop device gets a file. Two ways:
//
//   LOOP_CONFIGURE      Linux 5.8: everything at once
//   LOOP_SET_FD, ...    before: the file, then one call per property. A process killed between the first two leaves
//                       a device that stays bound, as autoclear comes with the second
import { LO_FLAGS, O } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import {
  loopClear,
  loopConfigure,
  loopGetFree,
  loopSetBlockSize,
  loopSetDirectIo,
  loopSetFd,
  loopSetStatus,
} from '../../sys/loop.ts';
import { pauseAbout } from '../../sys/pause.ts';
import { MountError, messageOf } from '../errors.ts';
import { reopen } from './image.ts';
import { openLoop, openLoopControl } from './nodes.ts';
import type { Attachment } from './reuse.ts';

export interface Binding extends Attachment {
  /** Opened as the device is to be: for reading, or for reading and writing. */
  readonly file: Fd;
  readonly fileName: string;
  readonly directIo: boolean;
  /** Use the second way, also where the kernel has the first. */
  readonly stepwise: boolean;
}

export interface Bound {
  readonly number: number;
  /** The device, opened for reading. */
  readonly fd: Fd;
}

const TRIES = 100;
const MAX_PAUSE_MS = 32;

/** Between asking for a free device and having it, any other process may take it: then the next one is tried. */
export function bindFreeLoop(binding: Binding): Bound {
  using control = openLoopControl();
  for (let tries = 1; ; tries++) {
    try {
      return bindLoop(freeLoop(control), binding);
    } catch (error) {
      // EBUSY: taken, or held exclusively; ENXIO, ENODEV, ENOENT: removed (LOOP_CTL_REMOVE).
      if (!hasErrno(error, 'EBUSY', 'ENXIO', 'ENODEV', 'ENOENT', 'EINTR') || tries === TRIES) throw error;
      pauseAbout(Math.min(2 ** tries, MAX_PAUSE_MS));
    }
  }
}

/**
 * A device without a file; the kernel makes one where there is none.
 * @throws MountError (node-exhausted): EINVAL, all minor numbers are taken, of which there are 2^20, or 4,096 with
 *   loop.max_part=255 (tried on 6.12)
 */
export function freeLoop(control: Fd): number {
  try {
    return loopGetFree(control);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL')) throw error;
    const message = `${messageOf(error)}: all the loop devices that there can be have a file; let go of those that nobody needs (losetup --list)`;
    throw new MountError(
      { reason: 'node-exhausted', message, rolledBack: true, errno: 'EINVAL' },
      { cause: error },
    );
  }
}

function bindLoop(number: number, binding: Binding): Bound {
  // Opened for reading it would be read-only itself (loop_configure()).
  using device = openLoop(number, binding.readOnly ? 0 : O.O_RDWR);
  if (binding.stepwise || !configure(device, binding)) setUp(device, binding);
  if (binding.readOnly) return { number, fd: new Fd(device.release()) };
  // A writer of the device, be it us, keeps it from being mounted where CONFIG_BLK_DEV_WRITE_MOUNTED is off. This
  // one takes its place before it goes.
  try {
    return { number, fd: reopen(device, O.O_NONBLOCK) };
  } catch (error) {
    loopClear(device);
    throw error;
  }
}

function settingsOf(binding: Binding, flags: number) {
  const { offset, sizeLimit, fileName, autoclear } = binding;
  return { offset, sizeLimit, fileName, flags: flags | (autoclear ? LO_FLAGS.LO_FLAGS_AUTOCLEAR : 0) };
}

/** False where the kernel does not know the call, or does not take these arguments: the other way tells which. */
function configure(device: Fd, binding: Binding): boolean {
  const flags =
    (binding.readOnly ? LO_FLAGS.LO_FLAGS_READ_ONLY : 0) |
    // Where it cannot be the kernel leaves it off, and says so in the status only.
    (binding.directIo ? LO_FLAGS.LO_FLAGS_DIRECT_IO : 0);
  const { file, blockSize } = binding;
  try {
    loopConfigure(device, { ...settingsOf(binding, flags), file: file.number, blockSize });
    return true;
  } catch (error) {
    if (hasErrno(error, 'EINVAL', 'ENOTTY')) return false;
    throw error;
  }
}

function setUp(device: Fd, binding: Binding): void {
  loopSetFd(device, binding.file);
  try {
    whileAgain(() => loopSetStatus(device, settingsOf(binding, 0)));
    if (binding.blockSize !== 0) whileAgain(() => loopSetBlockSize(device, binding.blockSize));
    if (binding.directIo) tryDirectIo(device);
  } catch (error) {
    loopClear(device);
    throw error;
  }
}

/** As with LOOP_CONFIGURE, what cannot be is left off. */
function tryDirectIo(device: Fd): void {
  try {
    loopSetDirectIo(device, true);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL', 'ENOTTY', 'EOPNOTSUPP', 'ENOTSUP')) throw error;
  }
}

/** EAGAIN: pages that were read ahead (udev, partition scan) are still in the cache of the device. */
function whileAgain(call: () => void): void {
  for (let tries = 1; ; tries++) {
    try {
      call();
      return;
    } catch (error) {
      if (!hasErrno(error, 'EAGAIN', 'EWOULDBLOCK') || tries === TRIES) throw error;
      pauseAbout(Math.min(2 ** tries, MAX_PAUSE_MS));
    }
  }
}
