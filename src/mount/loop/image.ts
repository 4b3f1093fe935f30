// The file behind a loop device: opened once by name, and known by device and inode from then on. Names lie: a
// file is renamed, replaced and deleted while it is attached, and has other names in other mount namespaces.
import { AT_FDCWD, O, S_IF, STATX, STATX_MASK } from '../../sys/constants.ts';
import { type ErrnoName, hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { deviceNumber } from '../../sys/loop-structs.ts';
import { openat, statx } from '../../sys/syscalls.ts';
import { invalidMount, kernelSaid, MountError } from '../errors.ts';
import { ANYWHERE, type Sources } from '../source.ts';
import { diskNode } from '../source-device.ts';

/** A part of a file. */
export interface ImageRange {
  /** Where the filesystem begins, in bytes. */
  readonly offset: number;
  /** How much belongs to it, in bytes; 0 is all to the end. */
  readonly sizeLimit: number;
}

/** Which file it is, whatever it is called. */
export interface ImageIdentity {
  /** As the kernel's new_encode_dev() packs it. */
  readonly device: bigint;
  readonly inode: bigint;
}

export type ImageKind = 'file' | 'block device';

/**
 * A regular file or block device, opened for reading. Pointed at first: nothing else is opened, for a FIFO would hold us
 * for ever, and some devices do something when they are opened.
 * @throws MountError (source-not-found, invalid-mount, and as Sources)
 */
export function openImage(path: string, sources: Sources = ANYWHERE): Fd {
  try {
    using place = openat(AT_FDCWD, sources.reach(path), O.O_PATH);
    const kind = kindOf(place);
    if (kind === undefined) {
      throw invalidMount(
        `${path} is no image: neither a file nor a block device; to show a directory, bind it`,
      );
    }
    if (kind === 'block device' && sources.hold(path) !== undefined) diskNode(place, path);
    return reopen(place, O.O_NONBLOCK);
  } catch (error) {
    const why = WHY_NOT.find(([codes]) => hasErrno(error, ...codes))?.[1];
    if (why === undefined) throw error;
    const message = `the image ${path} ${why}`;
    throw new MountError({ reason: 'source-not-found', message, rolledBack: true }, { cause: error });
  }
}

const WHY_NOT: readonly [codes: readonly ErrnoName[], why: string][] = [
  [['ENOENT'], 'does not exist'],
  [['ENOTDIR'], 'does not exist: a part of its path is not a directory'],
  [['ELOOP'], 'cannot be found: too many symbolic links'],
  [['EACCES'], "cannot be read with this process's rights"],
  [['ENXIO', 'ENODEV'], 'is no file, and nothing stands behind it'],
];

/** All that is asked of an image, by one call. */
export interface ImageLook extends ImageIdentity {
  readonly kind: ImageKind | undefined;
  readonly size: bigint;
}

export function lookAt(image: Fd): ImageLook {
  const { deviceMajor, deviceMinor, inode, mode, size } = statx(
    image,
    '',
    STATX.AT_EMPTY_PATH,
    STATX_MASK.STATX_BASIC_STATS,
  );
  return {
    device: BigInt(deviceNumber(deviceMajor, deviceMinor)),
    inode,
    kind: KINDS.get(mode & S_IF.S_IFMT),
    size,
  };
}

const KINDS: ReadonlyMap<number, ImageKind> = new Map([
  [S_IF.S_IFREG, 'file'],
  [S_IF.S_IFBLK, 'block device'],
]);

export const kindOf = (image: Fd): ImageKind | undefined => lookAt(image).kind;

export const identityOf = (image: Fd): ImageIdentity => lookAt(image);

export const sizeOf = (image: Fd): bigint => lookAt(image).size;

export function isSameImage(a: ImageIdentity, b: ImageIdentity): boolean {
  return a.device === b.device && a.inode === b.inode;
}

/** That of no file: inodes are numbered from 1. */
export const NO_FILE: ImageIdentity = { device: 0n, inode: 0n };

/** What the filesystem of an image says whose server is dead (FUSE), or has forgotten the file (NFS). */
export const isServerGone = (error: unknown): boolean => kernelSaid(error, 'ENOTCONN', 'ESTALE', 'EIO');

/** Whether openImage() has found no file, so that nobody can attach it by that name. */
export const isMissing = (error: unknown): boolean =>
  (error instanceof MountError && error.reason === 'source-not-found') || isServerGone(error);

/** The same file, opened anew: what is held by the one (position, mode, flock(2)) is not by the other. */
export function reopen(image: Fd, flags: number): Fd {
  return openat(AT_FDCWD, `/proc/self/fd/${image.number}`, flags | O.O_CLOEXEC, 0);
}
