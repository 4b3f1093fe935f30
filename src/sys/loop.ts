// The loop driver's ioctls with their structures (include/uapi/linux/loop.h, drivers/block/loop.c).
import { LO_FLAGS, LOOP } from './constants.ts';
import type { Fd } from './fd.ts';
import {
  decodeLoopInfo,
  encodeLoopConfig,
  encodeLoopInfo,
  LOOP_INFO_SIZE,
  type LoopInfo,
  type LoopSettings,
} from './loop-structs.ts';
import { loopIoctl, loopIoctlFile, loopIoctlStruct } from './syscalls.ts';

/** The number of a device without a file, made if there is none. Only a hint: whoever configures it first has it. */
export function loopGetFree(control: Fd): number {
  return loopIoctl(control, LOOP.LOOP_CTL_GET_FREE, 0);
}

export interface LoopConfig extends LoopSettings {
  /** Number of the open file to attach. */
  readonly file: number;
  /** Logical block size in bytes, 0 for the kernel's choice. */
  readonly blockSize: number;
}

/** All in one, so that the device is never seen half set up (Linux 5.8). EBUSY: it has a file already. */
export function loopConfigure(device: Fd, { file, blockSize, ...settings }: LoopConfig): void {
  loopIoctlStruct(device, LOOP.LOOP_CONFIGURE, encodeLoopConfig(file, blockSize, settings));
}

/** Read-only if the device or the file was opened so. */
export function loopSetFd(device: Fd, file: Fd): void {
  loopIoctlFile(device, LOOP.LOOP_SET_FD, file);
}

export function loopSetStatus(device: Fd, settings: LoopSettings): void {
  loopIoctlStruct(device, LOOP.LOOP_SET_STATUS64, encodeLoopInfo(settings));
}

/** Asks the filesystem of the backing file, and hangs with its server. ENXIO: the device has no file. */
export function loopGetStatus(device: Fd): LoopInfo {
  const buffer = Buffer.alloc(LOOP_INFO_SIZE);
  loopIoctlStruct(device, LOOP.LOOP_GET_STATUS64, buffer);
  return decodeLoopInfo(buffer);
}

/**
 * Whether the device lets its file go when its last user closes it; nothing else of it changes.
 * @param is what it is now, by loopGetStatus() or another way
 */
export function loopSetAutoclear(
  device: Fd,
  on: boolean,
  is: Omit<LoopSettings, 'flags'> = loopGetStatus(device),
): void {
  const { offset, sizeLimit, fileName } = is;
  loopSetStatus(device, { offset, sizeLimit, fileName, flags: on ? LO_FLAGS.LO_FLAGS_AUTOCLEAR : 0 });
}

/** EINVAL: the filesystem of the file, or an offset between its blocks, does not allow it. */
export function loopSetDirectIo(device: Fd, on: boolean): void {
  loopIoctl(device, LOOP.LOOP_SET_DIRECT_IO, on ? 1 : 0);
}

export function loopSetBlockSize(device: Fd, bytes: number): void {
  loopIoctl(device, LOOP.LOOP_SET_BLOCK_SIZE, bytes);
}

/** After the file has grown: so has the device. */
export function loopSetCapacity(device: Fd): void {
  loopIoctl(device, LOOP.LOOP_SET_CAPACITY, 0);
}

/** Takes the file away; while others have the device open, when the last of them closes it. */
export function loopClear(device: Fd): void {
  loopIoctl(device, LOOP.LOOP_CLR_FD, 0);
}
