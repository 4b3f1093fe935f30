// The end of a writable layer (make.ts), in two parts, because what was written to it may be millions of files:
//
//   removeLayer    quick: unmounts it, proves its loop device gone, renames it to `removed-*`
//   purgeLayers    slow: deletes what has such a name, a while at a time (purge.ts)
//
// A layer that is in use is left as it is: by an overlay, by a mount of it in another mount namespace (which keeps its
// loop device), or by whatever else is mounted below it.
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { O, RENAME_NOREPLACE, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { openat, renameat2, statx } from '../../sys/syscalls.ts';
import { MountError, toMountError } from '../errors.ts';
import { beginPrograms, type ProgramOptions } from '../fuse/programs.ts';
import type { Kernel } from '../kernel.ts';
import { seenBelow } from '../lookup.ts';
import { borrowedFor, expectReleased } from '../loop/release.ts';
import { overlayWith } from '../steps/claim.ts';
import { isGone, openTarget, type Target } from '../target.ts';
import { unmountTop } from '../unmount.ts';
import { mountView } from '../view.ts';
import { partsOf } from './make.ts';

export interface RemoveLayerRequest {
  /** Of the layer's directory. One that is not there is no error. */
  readonly path: string;
  readonly programs?: ProgramOptions;
}

export interface RemoveLayerResult {
  /** What it is called until it is deleted; undefined when there was none. */
  readonly removedTo?: string;
}

export const REMOVED = 'removed-';

/** What the name of a layer may be, so that the new one fits into a directory. */
const LONGEST_NAME = 255 - `${REMOVED}-0123456789ab`.length;

/** @throws MountError (busy: nothing is deleted) */
export function removeLayer(request: RemoveLayerRequest, kernel: Kernel): RemoveLayerResult {
  let unmounted = 0;
  try {
    using layer = openTarget({ path: request.path });
    if (!isThere(layer)) return {};
    // As the kernel shows it, so that the device is found by the name of its file.
    const { image, fs } = partsOf(layer.realPath());
    expectUnused(layer);
    const devices = borrowedFor(image);
    unmounted = unmountAll(fs, request.programs);
    expectReleased(devices);
    expectNothingMounted(layer, kernel);
    return { removedTo: rename(layer) };
  } catch (error) {
    if (isGone(error)) return {};
    const failure = toMountError(error, true);
    throw unmounted === 0 ? failure : new MountError({ ...failure.toInit(), rolledBack: false, unmounted });
  }
}

function isThere(layer: Target): boolean {
  try {
    layer.stat(STATX_MASK.STATX_BASIC_STATS);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

/** An overlay goes on without its upperdir's name, and what is written to it is lost without a word. */
function expectUnused(layer: Target): void {
  for (const upper of ['upper', 'fs/upper']) {
    try {
      using directory = openat(
        layer.parent,
        path.join(path.basename(layer.path), upper),
        O.O_PATH | O.O_NOFOLLOW,
      );
      const overlay = overlayWith(statx(directory, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS));
      if (overlay !== undefined) throw busy(layer, `the overlay at ${overlay.target} writes to it`);
    } catch (error) {
      if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
}

function unmountAll(fs: string, programs: ProgramOptions | undefined): number {
  try {
    using target = openTarget({ path: fs });
    let count = 0;
    while (unmountTop(target, { lazy: false, programs: beginPrograms(programs) })) count++;
    return count;
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
}

function expectNothingMounted(layer: Target, kernel: Kernel): void {
  const [mount] = seenBelow(layer, mountView(kernel));
  if (mount !== undefined) throw busy(layer, `${mount.info.type} is mounted at ${mount.info.target}`);
}

function rename(layer: Target): string {
  const name = path.basename(layer.path);
  const removed = `${REMOVED}${name.slice(0, LONGEST_NAME)}-${randomBytes(6).toString('hex')}`;
  renameat2(layer.parent, name, layer.parent, removed, RENAME_NOREPLACE);
  return path.join(path.dirname(layer.path), removed);
}

function busy(layer: Target, why: string): MountError {
  const message = `the layer ${layer.path} is in use: ${why}; unmount that first`;
  return new MountError({ reason: 'busy', message, rolledBack: true });
}
