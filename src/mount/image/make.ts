// A new image file with a filesystem in it, where there is none yet. It takes as much space as is written into it
// (sparse), and has its name when it is complete and on disk, so that whoever finds a file of that name finds a
// filesystem: a crash at any point leaves a file of another name at most (new-file.ts).
import { ftruncateSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, O, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { openat, statx } from '../../sys/syscalls.ts';
import { invalidMount, MountError, toMountError } from '../errors.ts';
import { beginPrograms, type ProgramOptions } from '../fuse/programs.ts';
import type { Kernel } from '../kernel.ts';
import { type SourceRequest, type Sources, sourcesOf } from '../source.ts';
import { LONGEST_NAME, newFile, removeAbandoned } from './new-file.ts';
import { checkRoot, giveRoot, type RootOwner } from './root-owner.ts';
import { failureText, IMAGE_PATH, runTool, type Tool } from './tool.ts';

export type MadeFilesystem = 'ext4' | 'xfs' | 'btrfs';

export interface MakeImageRequest extends SourceRequest {
  /** Its directory must exist. */
  readonly path: string;
  /** Size of the image; rounded up to a whole block of 4,096 bytes. */
  readonly bytes: number;
  readonly filesystem: MadeFilesystem;
  /** Of the filesystem's root directory (default: 0:0, as the program that makes it has it). */
  readonly root?: RootOwner;
  /** Where mkfs is looked for, and how long it may take. */
  readonly programs?: ProgramOptions;
}

export interface MakeImageResult {
  /** False: something of this name was there, and is as it was. */
  readonly made: boolean;
}

interface Maker extends Tool {
  readonly args: readonly string[];
  /** Below it the program refuses, or leaves out what makes the filesystem safe (ext4: the journal). */
  readonly smallest: number;
}

const MIB = 2 ** 20;
const BLOCK = 4_096;

/** None of them discards: a new file has nothing to discard. */
const MAKERS: { readonly [F in MadeFilesystem]: Maker } = {
  ext4: {
    program: 'mkfs.ext4',
    from: 'e2fsprogs',
    // -F: a file, not a disk; -m 0: no blocks that only root may use.
    args: ['-q', '-F', '-m', '0', '-E', 'nodiscard'],
    smallest: 2 * MIB,
  },
  xfs: { program: 'mkfs.xfs', from: 'xfsprogs', args: ['-q', '-K'], smallest: 300 * MIB },
  btrfs: { program: 'mkfs.btrfs', from: 'btrfs-progs', args: ['-q', '-K'], smallest: 109 * MIB },
};

/** @throws MountError (invalid-mount, source-not-found, program-missing, program-failed, timeout) */
export function makeImage(request: MakeImageRequest, kernel: Kernel): MakeImageResult {
  const maker = checkRequest(request, kernel);
  try {
    return { made: make(request, maker, kernel) };
  } catch (error) {
    // What was made could not be taken away.
    if (error instanceof SuppressedError) throw toMountError(error.suppressed, false);
    throw toMountError(error, true);
  }
}

function make(request: MakeImageRequest, maker: Maker, kernel: Kernel): boolean {
  const { path: image, bytes, filesystem, root, programs } = request;
  const within = beginPrograms(programs);
  const name = path.basename(image);
  using sources = sourcesOf(request);
  using directory = openDirectory(image, sources);
  removeAbandoned(directory, name);
  if (isThere(directory, name)) return false;
  using file = newFile(directory, name);
  ftruncateSync(file.fd.number, Math.ceil(bytes / BLOCK) * BLOCK);
  const ran = runTool(maker, [...maker.args, IMAGE_PATH], { image: file.fd, path: image, programs: within });
  if (!('status' in ran.exit) || ran.exit.status !== 0) {
    const message = `no image ${image} was made: ${failureText(maker, ran)}`;
    throw new MountError({ reason: 'program-failed', message, rolledBack: true });
  }
  if (root !== undefined) giveRoot(file.fd, { name, type: filesystem, root, kernel });
  return file.publish();
}

function checkRequest({ path: image, bytes, filesystem, root }: MakeImageRequest, kernel: Kernel): Maker {
  const maker = MAKERS[filesystem] as Maker | undefined;
  if (maker === undefined) {
    throw invalidMount(
      `a filesystem ${filesystem} cannot be made; use one of ${Object.keys(MAKERS).join(', ')}`,
    );
  }
  if (['', '.', '..', '/'].includes(path.basename(image)) || image.endsWith('/')) {
    throw invalidMount(`an image cannot be made at ${JSON.stringify(image)}, which names no file`);
  }
  if (Buffer.byteLength(path.basename(image)) > LONGEST_NAME) {
    throw invalidMount(`the name of the image ${image} is too long; give it ${LONGEST_NAME} bytes at most`);
  }
  if (!Number.isSafeInteger(bytes) || bytes < maker.smallest) {
    throw invalidMount(
      `${image}: ${bytes} bytes are too small for ${filesystem}; give it ${maker.smallest} (${maker.smallest / MIB} MiB) or more`,
    );
  }
  if (root !== undefined) checkRoot(root, kernel);
  return maker;
}

function openDirectory(image: string, sources: Sources): Fd {
  try {
    return openat(AT_FDCWD, sources.reachPlace(path.dirname(image)), O.O_DIRECTORY);
  } catch (error) {
    if (error instanceof MountError && error.reason !== 'source-not-found') throw error;
    const cause = error instanceof MountError ? error.cause : error;
    if (!hasErrno(cause, 'ENOENT', 'ENOTDIR')) throw error;
    const message = `the image ${image} cannot be made: its directory does not exist; make it first`;
    throw new MountError({ reason: 'source-not-found', message, rolledBack: true }, { cause });
  }
}

function isThere(directory: Fd, name: string): boolean {
  try {
    statx(directory, name, STATX.AT_SYMLINK_NOFOLLOW, STATX_MASK.STATX_BASIC_STATS);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return false;
    throw error;
  }
}
