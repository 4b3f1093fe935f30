// The device below what is to grow: a loop device grows with its file, any other must be large enough already.
//
// The file is never cut: two who grow it to different sizes take turns (the lock of the image), and the larger one stays.
// It has its new size on disk before anything is told of it, or a filesystem could be larger than its file after a crash.
import { fsyncSync, ftruncateSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { O, STATX, STATX_MASK } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { loopSetCapacity } from '../../sys/loop.ts';
import { deviceNumber } from '../../sys/loop-structs.ts';
import { statx } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { type FoundLoop, inspectLoop } from '../loop/devices.ts';
import { identityOf, isSameImage, kindOf, openImage, reopen, sizeOf } from '../loop/image.ts';
import { lockImage } from '../loop/lock.ts';
import { type MountInfo, readMountinfo } from '../mountinfo.ts';
import { ANYWHERE, isRefused, type Sources } from '../source.ts';

/** `major:minor`. */
export type DeviceNumbers = string;

/** Sizes are whole pages, which suits all block sizes there are. */
const BLOCK = 4096;
const SECTOR = 512;

export function cannotGrow(what: string, why: string): MountError {
  return new MountError({ reason: 'cannot-grow', message: `${what} cannot grow: ${why}`, rolledBack: true });
}

/** The one device of a mounted filesystem. @throws MountError (cannot-grow) */
export function deviceOf({ device, source, target, type }: MountInfo): DeviceNumbers {
  if (!device.startsWith('0:')) return device;
  // btrfs has device numbers of its own, as it may have several devices.
  const [, name] = /^\/dev\/(loop\d+)$/.exec(source) ?? [];
  const numbers = name === undefined ? numbersOf(source) : read(`/sys/block/${name}/dev`);
  if (numbers === undefined)
    throw cannotGrow(target, `its ${type} has no device that can be found (${source})`);
  const siblings = btrfsDevices(path.basename(readlinkSync(`/sys/dev/block/${numbers}`)));
  if (siblings.length > 1)
    throw cannotGrow(target, `its ${type} has several devices (${siblings.join(', ')})`);
  return numbers;
}

/** How large it will be at least: for what must be known before anything is changed. */
export function sizeAfter(device: DeviceNumbers, bytes: number): number {
  return loopNumber(device) === undefined ? bytesOf(device) : Math.max(bytesOf(device), roundUp(bytes));
}

export interface Growth {
  readonly bytes: number;
  /** The backing file, or the device itself; looked for by the name that the kernel shows when absent. */
  readonly image: string | undefined;
  readonly sources: Sources;
  /** What grows, for messages. */
  readonly shown: string;
}

/**
 * @returns the size of the device
 * @throws MountError (cannot-grow, source-not-found, image-in-use, not-writable)
 */
export function growDevice(device: DeviceNumbers, wanted: Growth): number {
  const { bytes, image, sources, shown } = wanted;
  const number = loopNumber(device);
  if (number !== undefined) {
    growLoop(number, wanted);
  } else {
    if (image !== undefined && numbersOf(image, sources) !== device)
      throw cannotGrow(shown, `${image} is not its device (${device})`);
    const there = bytesOf(device);
    if (there < bytes) {
      throw cannotGrow(
        shown,
        `its device ${device} has ${there} bytes, ${bytes} are asked for; enlarge the device first`,
      );
    }
  }
  return bytesOf(device);
}

function growLoop(number: number, growth: Growth): void {
  const { bytes, shown } = growth;
  using held = new DisposableStack();
  const loop = inspectLoop(number, held);
  if (loop === undefined) throw cannotGrow(shown, `loop${number} has lost its file`);
  const file = held.use(openBacking(loop, growth));
  if (loop.readOnly) throw cannotGrow(shown, `${loop.path} is read-only`);
  if (loop.sizeLimit !== 0) throw cannotGrow(shown, `${loop.path} has a part of its file only (sizelimit)`);
  held.use(lockImage(file, shown));
  const wanted = loop.offset + roundUp(bytes);
  if (sizeOf(file) < BigInt(wanted)) {
    using writable = reopen(file, O.O_RDWR);
    ftruncateSync(writable.number, wanted);
    fsyncSync(writable.number);
  }
  // Also when the file was large enough: who made it so may have been killed before this.
  const sectors = Math.floor((Number(sizeOf(file)) - loop.offset) / SECTOR);
  if (sectors * SECTOR > bytesOf(read(`/sys/block/loop${number}/dev`) ?? '')) loopSetCapacity(loop.fd);
}

/** The file of the device, by device and inode. A name that the kernel shows is nobody's request. */
function openBacking(loop: FoundLoop, { image, sources, shown }: Growth): Fd {
  const file = image === undefined ? openShown(loop) : openFileOf(loop, image, sources);
  if (file !== undefined) return file;
  const name = image ?? shownName(loop);
  throw cannotGrow(shown, `${name} is not the file of ${loop.path}, or not there; name the image`);
}

/**
 * By the name that the kernel shows. That begins at the mount by which the file was opened, where the mount namespace of that
 * is no more: then it is looked for below what is mounted of the same filesystem here.
 */
function openShown(loop: FoundLoop): Fd | undefined {
  const name = shownName(loop);
  for (const place of ['/', ...mountsOf(loop)]) {
    try {
      const file = openFileOf(loop, path.join(place, name), ANYWHERE);
      if (file !== undefined) return file;
    } catch (error) {
      if (!(error instanceof MountError)) throw error;
    }
  }
  return undefined;
}

const shownName = ({ number }: FoundLoop): string => read(`/sys/block/loop${number}/loop/backing_file`) ?? '';

/** Of the filesystem that its file is on. */
function mountsOf({ device }: FoundLoop): string[] {
  return readMountinfo().flatMap((mount) => {
    const [major = 0, minor = 0] = mount.device.split(':').map(Number);
    return BigInt(deviceNumber(major, minor)) === device ? [mount.target] : [];
  });
}

function openFileOf(loop: FoundLoop, name: string, sources: Sources): Fd | undefined {
  using found = new DisposableStack();
  const file = found.use(openImage(name, sources));
  if (kindOf(file) !== 'file' || !isSameImage(identityOf(file), loop)) return undefined;
  found.move();
  return file;
}

function numbersOf(node: string, sources: Sources = ANYWHERE): DeviceNumbers | undefined {
  try {
    using file = openImage(node, sources);
    if (kindOf(file) !== 'block device') return undefined;
    const { specialMajor, specialMinor } = statx(file, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
    return `${specialMajor}:${specialMinor}`;
  } catch (error) {
    if (isRefused(error)) throw error;
    return undefined;
  }
}

function loopNumber(device: DeviceNumbers): number | undefined {
  try {
    const [, digits] = /^loop(\d+)$/.exec(path.basename(readlinkSync(`/sys/dev/block/${device}`))) ?? [];
    return digits === undefined ? undefined : Number(digits);
  } catch {
    return undefined;
  }
}

export const bytesOf = (device: DeviceNumbers): number =>
  Number(read(`/sys/dev/block/${device}/size`) ?? 0) * SECTOR;

const roundUp = (bytes: number): number => Math.ceil(bytes / BLOCK) * BLOCK;

/** The devices of the btrfs that has this one. */
function btrfsDevices(name: string): string[] {
  for (const uuid of entries('/sys/fs/btrfs')) {
    const devices = entries(`/sys/fs/btrfs/${uuid}/devices`);
    if (devices.includes(name)) return devices;
  }
  return [];
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').replace(/\n$/, '');
  } catch {
    return undefined;
  }
}
