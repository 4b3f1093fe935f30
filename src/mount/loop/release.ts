// After the unmount of an image: is its loop device gone?
//
// umount(2) says yes when the mount is gone from this mount namespace. The filesystem lives on while a copy of the
// mount is in another one (a container that started meanwhile), while an overlay has a layer in it, or while
// somebody has the device open; and whoever then takes the image for unused (copies it, runs fsck) finds it changing
// under him. Only devices with autoclear are looked at: others are meant to stay.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { pause } from '../../sys/pause.ts';
import { MountError } from '../errors.ts';
import { lookupAt, type Shown } from '../lookup.ts';
import { type MountInfo, parseMountinfo } from '../mountinfo.ts';
import { ANYWHERE, isRefused, type Sources } from '../source.ts';
import type { Target } from '../target.ts';
import { inspectLoop } from './devices.ts';
import { type ImageIdentity, identityOf, isMissing, isSameImage, openImage } from './image.ts';
import { boundLoops, isBound, loopPath } from './nodes.ts';
import { filesystemOn, isShown } from './uses.ts';

/** A device that an unmount should set free. */
export interface Borrowed extends ImageIdentity {
  readonly number: number;
}

const LOOP_MAJOR = 7;
/** Whoever had a look at the device (udev, a search for another image) has finished by then. */
const RELEASE_MS = 1_000;
const INTERVAL_MS = 10;

/** The device under the top mount at the target. Undefined too where that cannot be told without the risk to hang. */
export function borrowedBy(target: Target, { look, type }: Shown): Borrowed | undefined {
  try {
    if (look === undefined) return undefined;
    if (look.deviceMajor === LOOP_MAJOR) {
      const number = loopOf(`${look.deviceMajor}:${look.deviceMinor}`);
      return number === undefined ? undefined : borrowed(`loop${number}`);
    }
    // btrfs has device numbers of its own.
    if (look.deviceMajor === 0 && type === 'btrfs') {
      const there = lookupAt(target);
      return there.is === 'mount-point' ? borrowed(basename(there.mount.source)) : undefined;
    }
  } catch {
    // A dead filesystem, or none: the unmount tells.
  }
  return undefined;
}

/** The devices of an image that may be renamed or deleted since. */
export function borrowedFor(path: string, sources: Sources = ANYWHERE): Borrowed[] {
  return loopsNamed(path, sources).flatMap((number) => {
    const found = borrowed(`loop${number}`);
    return found === undefined ? [] : [found];
  });
}

/** The number of the loop device with these numbers; undefined for any other block device. */
export function loopOf(numbers: string): number | undefined {
  const [, digits] = /^loop(\d+)$/.exec(basename(linkOf(`/sys/dev/block/${numbers}`) ?? '')) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * The devices whose file has, or had, this name. One that was attached in a mount namespace that is gone (by a container
 * that ended) is shown with the end of its name, from where the mount began that it was opened by: then the file decides.
 * No other image is asked for, whose filesystem may hang.
 */
export function loopsNamed(path: string, sources: Sources = ANYWHERE): number[] {
  const names = [path, `${path} (deleted)`];
  const exact: number[] = [];
  const tails: number[] = [];
  for (const number of boundLoops()) {
    const file = fileOf(number);
    if (names.includes(file)) exact.push(number);
    else if (file.startsWith('/') && path.endsWith(file)) tails.push(number);
  }
  return tails.length === 0 ? exact : [...exact, ...devicesAmong(tails, path, sources)];
}

function devicesAmong(numbers: readonly number[], path: string, sources: Sources): number[] {
  try {
    using image = openImage(path, sources);
    const identity = identityOf(image);
    return numbers.filter((number) => {
      using look = new DisposableStack();
      const device = inspectLoop(number, look);
      return device !== undefined && isSameImage(device, identity);
    });
  } catch (error) {
    if (!isMissing(error) && !isRefused(error)) throw error;
    return [];
  }
}

/** Whether there are devices without autoclear, which somebody must let go. */
export function hasStayingLoops(): boolean {
  return boundLoops().some((number) => textOf(number, 'autoclear') === '0');
}

/** A device that is to be free when its last user has gone. Undefined when it is, or is meant to stay. */
export const borrowedDevice = (number: number): Borrowed | undefined => borrowed(`loop${number}`);

/**
 * Waits for a moment until the devices are free, or mounted elsewhere in this mount namespace.
 * @throws MountError (busy) naming the device and, where it can be found, who keeps it
 */
export function expectReleased(devices: readonly Borrowed[]): void {
  const deadline = performance.now() + RELEASE_MS;
  for (const device of devices) {
    while (isKept(device)) {
      if (performance.now() > deadline) throw kept(device);
      pause(INTERVAL_MS);
    }
  }
}

function isKept(device: Borrowed): boolean {
  if (!isBound(device.number)) return false;
  const now = borrowed(`loop${device.number}`);
  return now !== undefined && isSameImage(now, device) && !isShown(device.number);
}

function borrowed(name: string): Borrowed | undefined {
  const [, digits] = /^loop(\d+)$/.exec(name) ?? [];
  if (digits === undefined) return undefined;
  using look = new DisposableStack();
  const found = inspectLoop(Number(digits), look);
  if (found === undefined || !found.autoclear) return undefined;
  const { number, device, inode } = found;
  return { number, device, inode };
}

/** The name of the backing file. */
export const fileOf = (number: number): string => textOf(number, 'backing_file');

/** What the kernel shows of a device; empty for one that has no file (any more). */
function textOf(number: number, attribute: string): string {
  try {
    return readFileSync(`/sys/block/loop${number}/loop/${attribute}`, 'utf8').replace(/\n$/, '');
  } catch {
    return '';
  }
}

function kept(device: Borrowed): MountError {
  const keeper = findKeeper(device) ?? 'an overlay with a layer in it, or a process that has the device open';
  return new MountError({
    reason: 'busy',
    message: `unmounted, but the image ${fileOf(device.number)} stays on ${loopPath(device.number)}: it is kept by ${keeper}`,
    rolledBack: false,
  });
}

/** A process in whose mount namespace the device is mounted. Its node there keeps nothing: a bind does not open it. */
function findKeeper(device: Borrowed): string | undefined {
  const seen = new Set([linkOf('/proc/self/ns/mnt')]);
  const isOn = filesystemOn(device.number);
  for (const pid of entries('/proc').filter((name) => /^\d+$/.test(name))) {
    const namespace = linkOf(`/proc/${pid}/ns/mnt`);
    if (namespace === undefined || seen.has(namespace)) continue;
    seen.add(namespace);
    const mount = mountsOf(pid).find(isOn);
    if (mount) return `the mount namespace of process ${pid}, where it is mounted at ${mount.target}`;
  }
  return undefined;
}

// Processes and filesystems come and go while they are listed.

function mountsOf(pid: string): MountInfo[] {
  try {
    return parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  } catch {
    return [];
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
