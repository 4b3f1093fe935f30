// The temporary directory of the host in which layers have short names for the time of a call (steps/temporary-layers.ts).
//
//   LOCATION/csi-driver-idmap-layers-<6 characters>    locked      its maker is at work
//                                                      not locked  its maker was killed: what is in it keeps the layers'
//                                                                  filesystems busy, until the next one removes it
//
// The next one is the next engine process that starts, or who makes such a directory.
import { lstatSync, mkdtempSync, readdirSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, O, STATX, STATX_ATTR_MOUNT_ROOT, STATX_MASK, UMOUNT } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { openPathAt } from '../sys/open-below.ts';
import { openat, statx, umount2 } from '../sys/syscalls.ts';
import { MountError, messageOf } from './errors.ts';
import { reachBy } from './source.ts';
import { takeLock } from './take-lock.ts';

const PREFIX = 'csi-driver-idmap-layers-';
const NAME = new RegExp(`^${PREFIX}[A-Za-z0-9]{6}$`);

/** One that someone cleans up between the making and the locking of it is as good as none: the next name. */
const TRIES = 10;

/** Open for reading, and locked. */
export function makeLayersDirectory(location: string): Fd {
  for (let tries = 0; tries < TRIES; tries++) {
    const made = mkdtempSync(path.join(location, PREFIX));
    using undo = new DisposableStack();
    try {
      const directory = undo.use(openat(AT_FDCWD, made, O.O_DIRECTORY | O.O_NOFOLLOW));
      if (!takeLock(directory, AT_FDCWD, made)) continue;
      undo.move();
      return directory;
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) continue;
      rmdirSync(made);
      throw error;
    }
  }
  const message = `${location}: others remove new directories for layers at once; keep them out of it`;
  throw new MountError({ reason: 'mount-failed', message, rolledBack: true });
}

/** Of dead makers, as far as it can be had: what stays is there for the next one, and no matter for who begins now. */
export function removeAbandonedLayers(location: string): void {
  for (const name of namesIn(location)) {
    try {
      using directory = openAbandoned(path.join(location, name));
      if (directory !== undefined) removeLayersDirectory(directory);
    } catch {
      // Busy, or gone by now.
    }
  }
}

function namesIn(location: string): readonly string[] {
  try {
    return readdirSync(location).filter((name) => NAME.test(name));
  } catch {
    return [];
  }
}

/** In a directory that all may write to, anybody can make something of this name, or mount on it. */
function openAbandoned(place: string): Fd | undefined {
  using found = openPathAt(AT_FDCWD, place, O.O_DIRECTORY | O.O_NOFOLLOW);
  const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
  const { uid, attributes } = statx(found, '', flags, STATX_MASK.STATX_BASIC_STATS);
  if (uid !== process.geteuid?.() || (attributes & STATX_ATTR_MOUNT_ROOT) !== 0n) return undefined;
  using undo = new DisposableStack();
  const directory = undo.use(openat(found, '.', O.O_DIRECTORY));
  if (!takeLock(directory, AT_FDCWD, place)) return undefined;
  undo.move();
  return directory;
}

/**
 * Directories go one by one, each only after its unmount, never with what is in them. Doing it again does nothing.
 * Lazily, as our own descriptor of each layer still refers to it.
 */
export function removeLayersDirectory(directory: Fd): void {
  const place = reachBy(directory);
  const made = readlinkSync(place);
  if (made.endsWith(' (deleted)')) return;
  for (const name of readdirSync(`${place}/.`)) {
    try {
      umount2(`${place}/${name}`, UMOUNT.MNT_DETACH | UMOUNT.UMOUNT_NOFOLLOW);
    } catch (error) {
      // Not mounted (any more), or a link.
      if (!hasErrno(error, 'EINVAL')) throw leftBehind(made, error);
    }
    removeName(`${place}/${name}`);
  }
  removeName(made);
}

function removeName(name: string): void {
  try {
    rmdirSync(name);
  } catch (error) {
    if (!hasErrno(error, 'ENOTDIR') || !lstatSync(name).isSymbolicLink()) throw leftBehind(name, error);
    unlinkSync(name);
  }
}

function leftBehind(directory: string, cause: unknown): MountError {
  const message = `temporary mounts of layers are left at ${directory}: ${messageOf(cause)}`;
  return new MountError({ reason: 'busy', message, rolledBack: false }, { cause });
}
