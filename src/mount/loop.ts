// Loop devices: a file as a block device (loop(4)).
//
// attachLoop() hands out a device with autoclear: the kernel frees it when its last user is gone. That is the
// descriptor in the LoopDevice first, then the mount too; so the descriptor is closed when the mount stands, or has
// failed, and a process that is killed at any point leaves nothing. With `autoclear: false` it stays until
// detachLoop(), for block devices that are handed to others.
//
// All of this asks the filesystem of the image, and hangs with its server: run it where that does no harm.
import { O } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { loopClear } from '../sys/loop.ts';
import { MountError } from './errors.ts';
import { type Bound, bindFreeLoop } from './loop/bind.ts';
import { findLoops, inspectLoop } from './loop/devices.ts';
import { type ImageIdentity, identityOf, kindOf, openImage, reopen, sizeOf } from './loop/image.ts';
import { lockImage } from './loop/lock.ts';
import { loopPath } from './loop/nodes.ts';
import { type Attachment, decide } from './loop/reuse.ts';

export interface LoopOptions extends Partial<Attachment> {
  /** With `autoclear: false`, attached with it all the same: the caller ends that when somebody knows of the device. */
  readonly staysLater?: boolean;
  /** Past the page cache of the image's filesystem, where that can be. */
  readonly directIo?: boolean;
  /** Without LOOP_CONFIGURE, as before Linux 5.8. */
  readonly stepwise?: boolean;
  /** What the device is told that its file is called, for people (default: the path). */
  readonly fileName?: string;
  /** How long to wait for a program that has a lock on the image, in ms (default 5,000). */
  readonly patienceMs?: number;
}

/** A device with a file. Disposed of, it is let go: with autoclear, and not mounted, it is free then. */
export interface LoopDevice extends Disposable {
  /** `/dev/loop3`. */
  readonly path: string;
  readonly number: number;
  /** The file behind it, for detachLoop(). */
  readonly image: ImageIdentity;
  readonly readOnly: boolean;
  /** Not always as asked: some filesystems and offsets do not allow it, and a device that was there is as it is. */
  readonly directIo: boolean;
  /** The image had this device already. */
  readonly reused: boolean;
  /** What holds the device. To be handed on with `stack.move()`. */
  readonly fd: Fd;
}

/**
 * The one device of this image, or of this part of it: the one it has already, if that is as wanted.
 * @throws MountError (image-in-use, source-not-found, not-writable, invalid-mount)
 */
export function attachLoop(path: string, options: LoopOptions = {}): LoopDevice {
  using image = openImage(path);
  return attachImage(image, path, options);
}

/** The same for an image that is open. @param path for messages */
export function attachImage(image: Fd, path: string, options: LoopOptions = {}): LoopDevice {
  using _lock = lockImage(image, path, options.patienceMs);
  return attachLocked(image, path, options);
}

/** The same for one that the caller has locked (lockImage()), for as long as what comes next needs it. */
export function attachLocked(image: Fd, path: string, options: LoopOptions = {}): LoopDevice {
  const wanted = { readOnly: false, autoclear: true, blockSize: 0, offset: 0, sizeLimit: 0, ...options };
  checkRange(image, path, wanted);
  using held = new DisposableStack();
  using file = openBacking(image, path, wanted.readOnly);
  const identity = identityOf(image);
  const found = findLoops(identity, held);
  const decision = decide(found, wanted);
  if (decision.do === 'refuse') {
    const message = `the image ${path} ${decision.why}`;
    throw new MountError({ reason: 'image-in-use', message, rolledBack: true });
  }
  if (decision.do === 'reuse') return holdLoop(decision.device.number, identity, true);
  const autoclear = wanted.autoclear || options.staysLater === true;
  const binding = { ...wanted, autoclear, file, fileName: options.fileName ?? path };
  const bound = bindNew(binding, options, held);
  try {
    return holdLoop(bound.number, identity, false);
  } catch (error) {
    if (!autoclear) loopClear(bound.fd);
    throw error;
  }
}

type NewBinding = Attachment & { readonly file: Fd; readonly fileName: string };

function bindNew(binding: NewBinding, options: LoopOptions, held: DisposableStack): Bound {
  const { directIo = false, stepwise = false } = options;
  const bound = bindFreeLoop({ ...binding, directIo, stepwise });
  held.use(bound.fd);
  return bound;
}

/** Held by `held` of the caller until here, so that it cannot have gone meanwhile. */
function holdLoop(number: number, image: ImageIdentity, reused: boolean): LoopDevice {
  using stack = new DisposableStack();
  const device = inspectLoop(number, stack);
  if (device === undefined) throw new Error(`${loopPath(number)} has lost its file to another program`);
  const { path, readOnly, directIo, fd } = device;
  const owned = stack.move();
  return { path, number, image, readOnly, directIo, reused, fd, [Symbol.dispose]: () => owned.dispose() };
}

function checkRange(image: Fd, path: string, { offset, sizeLimit }: Attachment): void {
  const fail = (message: string) => new MountError({ reason: 'invalid-mount', message, rolledBack: true });
  if (kindOf(image) !== 'file') throw fail(`${path} is a block device already; mount it without loop`);
  const size = sizeOf(image);
  if (BigInt(offset) >= size && size > 0n) {
    throw fail(`offset ${offset} is behind the end of ${path}, which has ${size} bytes`);
  }
  if (BigInt(offset) + BigInt(sizeLimit) > size) {
    throw fail(
      `offset ${offset} and sizelimit ${sizeLimit} reach past the end of ${path}, which has ${size} bytes`,
    );
  }
}

/** A device that was to be written to does not silently become read-only. */
function openBacking(image: Fd, path: string, readOnly: boolean): Fd {
  try {
    return reopen(image, readOnly ? 0 : O.O_RDWR);
  } catch (error) {
    if (readOnly || !hasErrno(error, 'EROFS', 'EACCES', 'EPERM', 'ETXTBSY')) throw error;
    const message = `the image ${path} cannot be written to (${error.code}); add the option ro`;
    throw new MountError({ reason: 'not-writable', message, rolledBack: true }, { cause: error });
  }
}

/** The devices that a file has now, in any mount namespace: `/dev/loop3`. */
export function loopDevicesOf(path: string): string[] {
  using image = openImage(path);
  using stack = new DisposableStack();
  return findLoops(identityOf(image), stack).map((device) => device.path);
}

/**
 * Takes the file off a device that was attached to stay, if it still is that file. False when there was nothing to
 * do. While somebody has the device open or mounted, the kernel does it when they have finished.
 */
export function detachLoop(number: number, image: ImageIdentity): boolean {
  using stack = new DisposableStack();
  // Open, so that between the look and the call it cannot become another's.
  const device = inspectLoop(number, stack);
  if (device === undefined || device.device !== image.device || device.inode !== image.inode) return false;
  loopClear(device.fd);
  return true;
}
