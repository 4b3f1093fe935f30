// Makes what is at a target larger, while it is in use: the file of a loop device, the device, and the filesystem on
// it, in this order. Each is done only as far as it is not done yet, so a call that was cut short is completed by the
// next one. Nothing is ever made smaller.
import { O, S_IF, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { openat } from '../../sys/syscalls.ts';
import { invalidMount, MountError, toMountError } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { lookup } from '../lookup.ts';
import type { MountInfo } from '../mountinfo.ts';
import { type SourceRequest, sourcesOf } from '../source.ts';
import { openTarget, type Target, type TargetSpec } from '../target.ts';
import { mountView } from '../view.ts';
import { bytesOf, cannotGrow, deviceOf, growDevice, sizeAfter } from './grow-device.ts';
import { GROWERS, WHY_NOT } from './growers.ts';

export interface GrowRequest extends SourceRequest {
  /** Where a filesystem is mounted, or a device is shown. */
  readonly target: TargetSpec;
  /** How large it is to be at least: the device, of which a filesystem takes a part for itself. */
  readonly bytes: number;
  /** The image file, or the device, under the name it was mounted by (default: the name that the kernel shows). */
  readonly image?: string;
}

export interface GrowResult {
  /** The size of the device now. */
  readonly bytes: number;
}

/** @throws MountError (cannot-grow, bad-target, invalid-mount, not-permitted, busy, source-not-found, and as Sources) */
export function grow(request: GrowRequest, kernel: Kernel): GrowResult {
  const { target: spec, bytes, image } = request;
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw invalidMount(`${bytes} is not a number of bytes to grow to`);
  using target = openTarget(spec);
  const mount = mountAt(spec, kernel);
  const shown = spec.path;
  using sources = sourcesOf(request);
  const wanted = { bytes, image, sources, shown };
  const { mode, specialMajor, specialMinor } = target.stat(STATX_MASK.STATX_BASIC_STATS);
  if ((mode & S_IF.S_IFMT) === S_IF.S_IFBLK) {
    return { bytes: growDevice(`${specialMajor}:${specialMinor}`, wanted) };
  }
  const grower = growerOf(mount, shown);
  const device = deviceOf(mount);
  using top = openTop(target);
  const after = sizeAfter(device, bytes);
  const refusal = grower.refuse?.(top, after, after > bytesOf(device));
  if (refusal !== undefined) {
    const message = `${shown} cannot grow: ${refusal.why}`;
    throw new MountError({ reason: refusal.reason, message, rolledBack: true });
  }
  const size = growDevice(device, wanted);
  try {
    grower.grow(top, size);
  } catch (error) {
    throw explain(error, mount, shown);
  }
  return { bytes: size };
}

function mountAt(spec: TargetSpec, kernel: Kernel): MountInfo {
  const found = lookup(spec, mountView(kernel));
  if (found.is === 'mount-point') return found.mount;
  const why =
    found.is === 'not' ? 'nothing is mounted there' : `it cannot be told what is there: ${found.because}`;
  throw new MountError({ reason: 'bad-target', message: `target ${spec.path}: ${why}`, rolledBack: true });
}

function growerOf({ type, root, options, superblockOptions }: MountInfo, shown: string) {
  const grower = GROWERS[type];
  if (grower === undefined)
    throw cannotGrow(shown, `${type}: ${WHY_NOT[type] ?? 'not while it is mounted, by us'}`);
  if (root !== '/')
    throw cannotGrow(shown, `it shows the directory ${root} of a larger ${type}; grow that one`);
  if (options.includes('ro') || superblockOptions.includes('ro')) {
    throw cannotGrow(shown, `its ${type} is mounted read-only here; grow it where it is writable`);
  }
  return grower;
}

function openTop(target: Target): Fd {
  using place = target.open();
  return openat(place, '.', O.O_DIRECTORY);
}

/** The device has grown by then, so nothing is undone: the next call goes on from there. */
function explain(error: unknown, { type }: MountInfo, shown: string): MountError {
  const failure = toMountError(error, false);
  const reason = hasErrno(error, 'EBUSY', 'EAGAIN')
    ? 'busy'
    : hasErrno(error, 'EPERM', 'EINVAL', 'EOPNOTSUPP', 'ENOTTY', 'EROFS')
      ? 'cannot-grow'
      : failure.reason;
  const message = `${shown}: its device has grown, its ${type} has not: ${failure.message}`;
  return new MountError({ ...failure.toInit(), reason, message, rolledBack: false }, { cause: error });
}
