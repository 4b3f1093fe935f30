// The devices that one file has.
//
// Every bound device is asked by LOOP_GET_STATUS64, which knows the file by device and inode; the name in
// /sys/block/loopN/loop/backing_file does not. Opened for reading only: that keeps a device bound while it is
// looked at, and lets a kernel that forbids writing to mounted devices (CONFIG_BLK_DEV_WRITE_MOUNTED) mount it.
import { readFileSync } from 'node:fs';
import { LO_FLAGS } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { loopGetStatus } from '../../sys/loop.ts';
import type { LoopInfo } from '../../sys/loop-structs.ts';
import { type ImageIdentity, isSameImage, isServerGone, NO_FILE } from './image.ts';
import { boundLoops, loopPath, openLoop } from './nodes.ts';
import type { Existing } from './reuse.ts';

export interface FoundLoop extends Existing, ImageIdentity {
  readonly number: number;
  readonly directIo: boolean;
  /** What whoever attached it called it, cut off: not the file's name now. */
  readonly fileName: string;
  /** Keeps the device bound as long as it is open. */
  readonly fd: Fd;
}

/** The devices of this file, held by `stack`. */
export function findLoops(image: ImageIdentity, stack: DisposableStack): FoundLoop[] {
  return boundLoops().flatMap((number) => {
    using look = new DisposableStack();
    const found = ask(number, look);
    if (found === undefined || !isSameImage(found.info, image)) return [];
    stack.use(look.move());
    return [describe(found)];
  });
}

/** What the device is, held by `stack`; undefined when it has no file (any more). */
export function inspectLoop(number: number, stack: DisposableStack): FoundLoop | undefined {
  const found = ask(number, stack);
  return found && describe(found);
}

/** The same for a device with a file that is open. */
export const describeLoop = (fd: Fd): FoundLoop => describe({ fd, info: loopGetStatus(fd) });

interface Answer {
  readonly fd: Fd;
  readonly info: LoopInfo;
}

function ask(number: number, stack: DisposableStack): Answer | undefined {
  try {
    const fd = stack.use(openLoop(number, 0));
    return { fd, info: infoOf(fd, number) };
  } catch (error) {
    // Given up by its last user, or the device itself removed, while we were looking.
    if (hasErrno(error, 'ENXIO', 'ENOENT', 'ENODEV')) return undefined;
    throw error;
  }
}

/**
 * The kernel asks the file's own filesystem, and says nothing at all when the server of that is gone (loop_get_status,
 * vfs_getattr). One dead server must keep neither other images of the node from being served, nor its own from going: such
 * a device has a file that nobody can name, and otherwise is what sysfs shows.
 */
function infoOf(fd: Fd, number: number): LoopInfo {
  try {
    return loopGetStatus(fd);
  } catch (error) {
    if (!isServerGone(error)) throw error;
  }
  const shown = (attribute: string) => Number(readFileSync(`/sys/block/loop${number}/${attribute}`, 'utf8'));
  const flags =
    (shown('ro') && LO_FLAGS.LO_FLAGS_READ_ONLY) |
    (shown('loop/autoclear') && LO_FLAGS.LO_FLAGS_AUTOCLEAR) |
    (shown('loop/dio') && LO_FLAGS.LO_FLAGS_DIRECT_IO);
  const range = { offset: shown('loop/offset'), sizeLimit: shown('loop/sizelimit') };
  return { ...NO_FILE, ...range, number, flags, fileName: '' };
}

function describe({ fd, info }: Answer): FoundLoop {
  const { number, device, inode, offset, sizeLimit, flags, fileName } = info;
  return {
    fd,
    number,
    path: loopPath(number),
    device,
    inode,
    offset,
    sizeLimit,
    fileName,
    readOnly: (flags & LO_FLAGS.LO_FLAGS_READ_ONLY) !== 0,
    autoclear: (flags & LO_FLAGS.LO_FLAGS_AUTOCLEAR) !== 0,
    directIo: (flags & LO_FLAGS.LO_FLAGS_DIRECT_IO) !== 0,
    // Read when it is asked for: mostly, any will do.
    get blockSize() {
      return Number(readFileSync(`/sys/block/loop${number}/queue/logical_block_size`, 'utf8'));
    },
  };
}
