// An image as a block device at a target file, for who wants no filesystem.
//
//   attach    the image gets a loop device, or the one that it has; the node is bound onto the target; then the device is
//             made to stay (no autoclear: nothing mounts it, and a bind mount of its node does not open it)
//   unmount   of the last target lets the device go: told the image, it looks for devices of that file
//
// A process that is killed before the device stays leaves none: it has autoclear and is held open by it alone. What is
// bound by then shows a device without a file (showsDisk()). One that is killed while it unmounts leaves none either, for
// the same reason. Both are done under the lock of the image, so that none lets go what another is about to bind.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { S_IF, STATX, STATX_MASK } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { loopClear, loopSetAutoclear } from '../../sys/loop.ts';
import { statx } from '../../sys/syscalls.ts';
import { apply } from '../apply.ts';
import { afterUndo, invalidMount, toMountError } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { type Shown, shownAt } from '../lookup.ts';
import { type FoundLoop, findLoops, inspectLoop } from '../loop/devices.ts';
import { identityOf, isMissing, isSameImage, kindOf, openImage } from '../loop/image.ts';
import { lockImage } from '../loop/lock.ts';
import {
  type Borrowed,
  borrowedDevice,
  fileOf,
  hasStayingLoops,
  loopOf,
  loopsNamed,
} from '../loop/release.ts';
import { isShown, timesShown } from '../loop/uses.ts';
import { attachLocked } from '../loop.ts';
import { plan } from '../plan.ts';
import { isRefused, type SourceRequest, type Sources, sourcesOf } from '../source.ts';
import { openTarget, type Target, type TargetSpec } from '../target.ts';
import { unmountTop } from '../unmount.ts';

export interface AttachDeviceRequest extends SourceRequest {
  /** An image file, which gets a loop device; or a block device, which is bound as it is. */
  readonly image: string;
  /** A file. */
  readonly target: TargetSpec;
  /** Of the loop device. A block device that can be written cannot be shown read-only: that is refused. */
  readonly readOnly: boolean;
  /** Make the target when it is missing; it is removed again if the attach fails. */
  readonly create?: boolean;
}

export interface AttachDeviceResult {
  /** `/dev/loop3`. */
  readonly device: string;
}

/** Tells the devices that were attached here from those of an administrator, where only the node of one is known. */
const MARK = 'mount-engine:';

/** Never `nodev`, also where /dev has it: what is shown must be usable. */
const OPTIONS = ['dev', 'nosuid', 'noexec'];

/** @throws MountError (bad-target, and as attachLoop()) */
export function attachDevice(request: AttachDeviceRequest, kernel: Kernel): AttachDeviceResult {
  const undo = new DisposableStack();
  using held = new DisposableStack();
  try {
    const image = held.use(openImage(request.image, held.use(sourcesOf(request))));
    const target = held.use(openTarget(request.target));
    if (request.create && target.create('file')) undo.defer(() => target.remove('file'));
    if (kindOf(image) === 'block device') {
      expectMode(image, request);
      bind(image, target, kernel);
      return { device: request.image };
    }
    held.use(lockImage(image, request.image));
    const fileName = `${MARK}${path.basename(request.image)}`;
    const options = { readOnly: request.readOnly, autoclear: false, staysLater: true, fileName };
    const device = held.use(attachLocked(image, request.image, options));
    bind(device.fd, target, kernel);
    undo.defer(() => unmountTop(target, { lazy: true }));
    if (!device.reused) loopSetAutoclear(device.fd, false);
    return { device: device.path };
  } catch (error) {
    throw afterUndo(toMountError(error, true), undo);
  }
}

/** By its descriptor: the node under its name might be another one by now. */
function bind(device: Fd, target: Target, kernel: Kernel): void {
  const source = `/proc/self/fd/${device.number}`;
  apply(plan({ type: 'bind', source, options: OPTIONS }, kernel), target, kernel);
}

/** What is written to a device is not asked for the flags of the mount that its node is on. */
function expectMode(device: Fd, { image, readOnly }: AttachDeviceRequest): void {
  const { specialMajor, specialMinor } = statx(device, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
  if (!readOnly || readFileSync(`/sys/dev/block/${specialMajor}:${specialMinor}/ro`, 'utf8').startsWith('1'))
    return;
  throw invalidMount(
    `${image} is a block device that can be written, and cannot be shown read-only; make it so (blockdev --setro), or use it writable`,
  );
}

/** The loop device that is shown at a target. */
export function loopShown({ look }: Shown): number | undefined {
  if (look === undefined || (look.mode & S_IF.S_IFMT) !== S_IF.S_IFBLK) return undefined;
  return loopOf(`${look.specialMajor}:${look.specialMinor}`);
}

/** The same, if attachDevice() has made it. */
export function deviceShownAt(target: Target): number | undefined {
  const number = loopShown(shownAt(target));
  if (number === undefined) return undefined;
  using look = new DisposableStack();
  return inspectLoop(number, look)?.fileName.startsWith(MARK) ? number : undefined;
}

/** A device whose last target is about to go. Disposed of, it goes, as soon as nobody else has it open. */
export interface Leaving extends Disposable {
  /** The target did not go. */
  stay(): void;
}

/** Undefined for one that is free anyway, or shown elsewhere still. */
export function leave(number: number): Leaving | undefined {
  using lock = new DisposableStack();
  using look = new DisposableStack();
  const device = inspectLoop(number, look);
  if (device === undefined || device.autoclear || timesShown(number) > 1) return undefined;
  lockImageOf(device, lock);
  // Whoever had the lock until now may have shown it at another target.
  if (timesShown(number) > 1) return undefined;
  loopSetAutoclear(device.fd, true, device);
  // In reverse: whoever has the lock next would find the device while it is open still, and that it does not stay.
  const owned = new DisposableStack();
  owned.use(lock.move());
  owned.use(look.move());
  return {
    stay: () => loopSetAutoclear(device.fd, false, device),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/**
 * Lets go of the devices of an image that were attached to stay and that no mount here shows any more. Those that
 * somebody still has open are free when he closes them: they are returned.
 * @param image under the name that it was attached by
 */
export function letGo(image: string, sources: Sources): Borrowed[] {
  // So that a call about any other image does not ask its filesystem, nor wait for its lock.
  if (!hasStayingLoops()) return [];
  using held = new DisposableStack();
  return clear(devicesOf(image, sources, held), held);
}

/** Whether a device is of this image, by the file or, where that is gone, by its name. */
export function isOf(number: number, image: string, sources: Sources): boolean {
  using held = new DisposableStack();
  return devicesOf(image, sources, held).some((device) => device.number === number);
}

/** The same for one device, of whatever image. */
export function letGoOf(number: number): Borrowed[] {
  // Let go of after the device, as above.
  using lock = new DisposableStack();
  using held = new DisposableStack();
  const device = inspectLoop(number, held);
  if (device === undefined) return [];
  lockImageOf(device, lock);
  return clear([device], held);
}

/** Where it has the name still that the kernel shows, and its server lives: else nobody can attach it anew by that. */
function lockImageOf(device: FoundLoop, held: DisposableStack): void {
  const name = fileOf(device.number);
  try {
    const image = held.use(openImage(name));
    if (isSameImage(identityOf(image), device)) held.use(lockImage(image, name));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** @param held what keeps the devices open, closed here */
function clear(devices: readonly FoundLoop[], held: DisposableStack): Borrowed[] {
  const cleared: number[] = [];
  for (const { number, autoclear, fd } of devices) {
    if (autoclear || isShown(number)) continue;
    loopClear(fd);
    cleared.push(number);
  }
  held.dispose();
  return cleared.flatMap((number) => borrowedDevice(number) ?? []);
}

/**
 * By the file, locked; by the name of it alone, when it is deleted or its server is dead, so that nobody can attach it anew,
 * or when the name leads to something else by now that is out of bounds.
 */
function devicesOf(name: string, sources: Sources, held: DisposableStack): FoundLoop[] {
  try {
    const image = held.use(openImage(name, sources));
    if (kindOf(image) !== 'file') return [];
    held.use(lockImage(image, name));
    return findLoops(identityOf(image), held);
  } catch (error) {
    if (!isMissing(error) && !isRefused(error)) throw error;
    return loopsNamed(name).flatMap((number) => inspectLoop(number, held) ?? []);
  }
}
