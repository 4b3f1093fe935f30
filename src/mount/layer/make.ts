// The writable layer of one overlay, for as long as that lives: two directories, `upper` and `work`.
//
//   without a size   PATH/upper, PATH/work               on the filesystem of PATH, as large as that
//   with a size      PATH/image, mounted at PATH/fs      a sparse ext4 image, and so never larger than it says;
//                    PATH/fs/upper, PATH/fs/work         it takes as much room as was ever written
//
// What is there already is taken as it is, with all that was written: a layer that outlived its overlay, or a reboot, is
// found again. PATH is the caller's own, where nobody else makes names: it is used by its path.
import { chmodSync, chownSync, mkdirSync, renameSync, rmdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import type { UserNamespaces } from '../../userns/cache.ts';
import { apply } from '../apply.ts';
import { afterUndo, invalidMount, MountError, toMountError } from '../errors.ts';
import { beginPrograms, type ProgramOptions } from '../fuse/programs.ts';
import { checkImage } from '../image/check.ts';
import { makeImage } from '../image/make.ts';
import { checkOwner, type RootOwner } from '../image/root-owner.ts';
import type { Kernel } from '../kernel.ts';
import { lookup } from '../lookup.ts';
import { borrowedFor, expectReleased } from '../loop/release.ts';
import { plan } from '../plan.ts';
import { openTarget } from '../target.ts';
import { unmountTop } from '../unmount.ts';
import { mountView } from '../view.ts';

export interface MakeLayerRequest {
  /** Of the layer's directory, which is made, as its parent is. */
  readonly path: string;
  /** The most that it may hold, what the filesystem needs for itself included (default: no bound). */
  readonly bytes?: number;
  /** Owner and mode of `upper`, and so of the overlay's root. */
  readonly root: RootOwner;
  /** Where the programs that make and check images are looked for, and how long they may take. */
  readonly programs?: ProgramOptions;
}

export interface Layer {
  readonly upperdir: string;
  readonly workdir: string;
  /** False: it was there, with what was written to it before. A caller that fails does not remove it. */
  readonly made: boolean;
}

const FILESYSTEM = 'ext4';

/** Where the parts of a layer are. */
export const partsOf = (layer: string) => ({
  image: path.join(layer, 'image'),
  fs: path.join(layer, 'fs'),
});

/** @throws MountError (invalid-mount, and as makeImage(), checkImage() and a mount) */
export function makeLayer(request: MakeLayerRequest, kernel: Kernel, userNamespaces: UserNamespaces): Layer {
  const { path: layer, bytes, root } = request;
  checkOwner(root, 'of a layer');
  const undo = new DisposableStack();
  try {
    mkdirSync(path.dirname(layer), { recursive: true, mode: 0o700 });
    makeDirectory(layer, undo);
    expectSameKind(layer, bytes);
    const within =
      bytes === undefined ? layer : mountFilesystem({ ...request, bytes }, kernel, userNamespaces, undo);
    const upperdir = path.join(within, 'upper');
    const workdir = path.join(within, 'work');
    const made = makeOwned(upperdir, root, undo);
    makeDirectory(workdir, undo);
    return { upperdir, workdir, made };
  } catch (error) {
    throw afterUndo(toMountError(error, true), undo);
  }
}

/** A layer without a bound does not become one that has a bound, with what was written to it out of sight; nor back. */
function expectSameKind(layer: string, bytes: number | undefined): void {
  const other = bytes === undefined ? 'image' : 'upper';
  if (!isThere(path.join(layer, other))) return;
  const was = bytes === undefined ? 'with a size' : 'without a size';
  throw invalidMount(`the layer ${layer} was made ${was}, and is asked for otherwise now; remove it first`);
}

type Bounded = MakeLayerRequest & { readonly bytes: number };

function mountFilesystem(
  { path: layer, bytes, programs }: Bounded,
  kernel: Kernel,
  userNamespaces: UserNamespaces,
  undo: DisposableStack,
): string {
  const { image, fs } = partsOf(layer);
  const options = programs === undefined ? {} : { programs };
  const { made } = makeImage({ path: image, bytes, filesystem: FILESYSTEM, ...options }, kernel);
  if (made) undo.defer(() => rmSync(image));
  const there = lookup({ path: fs }, mountView(kernel));
  if (there.is === 'mount-point') return fs;
  if (there.is === 'unknown') {
    const message = `it cannot be told whether the layer ${layer} is mounted: ${there.because}`;
    throw new MountError({ reason: 'mount-failed', message, rolledBack: true });
  }
  if (!made) checkImage({ path: image, filesystem: FILESYSTEM, ...options });
  makeDirectory(fs, undo);
  const mount = { type: FILESYSTEM, source: image, options: ['loop', 'nosuid', 'nodev'] };
  using target = openTarget({ path: fs });
  apply(plan(mount, kernel), target, kernel, { programs: beginPrograms(programs), userNamespaces });
  undo.defer(() => {
    const devices = borrowedFor(image);
    using again = openTarget({ path: fs });
    unmountTop(again, { lazy: false });
    expectReleased(devices);
  });
  return fs;
}

/** Of this owner from the moment it has its name: who finds it need not wonder how far its maker came. */
function makeOwned(directory: string, { uid, gid, mode }: RootOwner, undo: DisposableStack): boolean {
  if (isThere(directory)) return false;
  const temporary = `${directory}.new`;
  if (isThere(temporary)) rmdirSync(temporary);
  mkdirSync(temporary, { mode: 0o700 });
  undo.defer(() => rmSync(temporary, { recursive: true, force: true }));
  chownSync(temporary, uid, gid);
  // After the owner, whose change takes the set-id bits away.
  chmodSync(temporary, mode);
  renameSync(temporary, directory);
  undo.defer(() => rmdirSync(directory));
  return true;
}

function makeDirectory(directory: string, undo: DisposableStack): void {
  if (isThere(directory)) return;
  mkdirSync(directory, { mode: 0o700 });
  undo.defer(() => rmdirSync(directory));
}

const isThere = (file: string): boolean => statSync(file, { throwIfNoEntry: false }) !== undefined;
