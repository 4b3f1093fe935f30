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
import { pauseAbout } from '../sys/pause.ts';
import { MountError, type MountReason } from './errors.ts';
import { bindFreeLoop } from './loop/bind.ts';
import { describeLoop, type FoundLoop, findLoops, inspectLoop } from './loop/devices.ts';
import { type ImageIdentity, type ImageLook, identityOf, lookAt, openImage, reopen } from './loop/image.ts';
import { lockImage } from './loop/lock.ts';
import { SECTOR_BYTES } from './loop/nodes.ts';
import { type Attachment, type Decision, decide } from './loop/reuse.ts';
import { isShown } from './loop/uses.ts';

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
  const look = lookAt(image);
  checkRange(look, path, wanted);
  using held = new DisposableStack();
  using file = openBacking(image, path, wanted.readOnly);
  const decision = decideFor(look, wanted, held);
  if (decision.do === 'refuse') {
    const message = `the image ${path} ${decision.why}`;
    throw new MountError({ reason: 'image-in-use', message, rolledBack: true });
  }
  using stack = new DisposableStack();
  if (decision.do === 'reuse') {
    // `held` keeps it until here, so that it cannot have gone meanwhile.
    return owned(inspectLoop(decision.device.number, stack), look, { reused: true, stack });
  }
  const autoclear = wanted.autoclear || options.staysLater === true;
  const { directIo = false, stepwise = false, fileName = path } = options;
  const { fd } = bindFreeLoop({ ...wanted, autoclear, directIo, stepwise, file, fileName });
  stack.use(fd);
  try {
    return owned(describeLoop(fd), look, { reused: false, stack });
  } catch (error) {
    if (!autoclear) loopClear(fd);
    throw error;
  }
}

/** @param held gets the devices that there are */
function decideFor(image: ImageIdentity, wanted: Attachment, held: DisposableStack): Decision<FoundLoop> {
  const deadline = performance.now() + PASSING_MS;
  for (;;) {
    using look = new DisposableStack();
    const found = findLoops(image, look);
    const decision = decide(found, wanted);
    const isPassing = !wanted.autoclear && found.some((one) => one.autoclear && !isShown(one.number));
    if (decision.do !== 'refuse' || !isPassing || performance.now() > deadline) {
      held.use(look.move());
      return decision;
    }
    look.dispose();
    pauseAbout(INTERVAL_MS);
  }
}

/** A device that was let go stays for as long as somebody else looks at it, who needs no lock for that. */
const PASSING_MS = 500;
const INTERVAL_MS = 4;

function owned(
  device: FoundLoop | undefined,
  image: ImageIdentity,
  { reused, stack }: { readonly reused: boolean; readonly stack: DisposableStack },
): LoopDevice {
  if (device === undefined)
    throw new Error('the loop device of the image has lost its file to another program');
  const { path, number, readOnly, directIo, fd } = device;
  const owner = stack.move();
  return { path, number, image, readOnly, directIo, reused, fd, [Symbol.dispose]: () => owner.dispose() };
}

function checkRange({ kind, size }: ImageLook, path: string, { offset, sizeLimit }: Attachment): void {
  const fail = (message: string, reason: MountReason = 'invalid-mount') =>
    new MountError({ reason, message, rolledBack: true });
  if (kind !== 'file') throw fail(`${path} is a block device already; mount it without loop`);
  if (BigInt(offset) >= size && size > 0n) {
    throw fail(`offset ${offset} is behind the end of ${path}, which has ${size} bytes`);
  }
  if (BigInt(offset) + BigInt(sizeLimit) > size) {
    throw fail(
      `offset ${offset} and sizelimit ${sizeLimit} reach past the end of ${path}, which has ${size} bytes`,
    );
  }
  const bytes = sizeLimit === 0 ? size - BigInt(offset) : BigInt(sizeLimit);
  if (bytes < SECTOR_BYTES) {
    throw fail(
      `the image ${path} has ${bytes} bytes, less than the smallest device (${SECTOR_BYTES})`,
      'bad-image',
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
