// Mounts for the length of a block, at a directory of their own, to look into or to work on a snapshot.
//
//   LOCATION/PREFIX<pid>-<random>.lock   made first and removed last; its maker holds it locked (flock(2)) as long as
//                                        it lives, in whatever pid and mount namespace that is
//   LOCATION/PREFIX<pid>-<random>        the directory
//
// Nothing is ever deleted through a mount: the directory goes by rmdir(2) alone, and only after everything at and
// below it has been unmounted. When that fails both stay, and cleanTempMounts() takes them away once their owner has
// let go of the lock.
import { randomBytes } from 'node:crypto';
import { mkdirSync, openSync, readdirSync, realpathSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AT_FDCWD, O } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import { Fd } from '../sys/fd.ts';
import type { Engine } from './engine.ts';
import { MountError, toMountError } from './errors.ts';
import type { Mount } from './mount.ts';
import { openOwnFile } from './own-file.ts';
import { takeLock } from './take-lock.ts';
import { removeVolatile } from './transforms.ts';

export interface TempLocation {
  /** An existing directory (default: that of the system). */
  readonly location?: string;
  /** What the names in it begin with. Clean-up goes by it: one that nobody else uses. */
  readonly prefix?: string;
}

export interface TempMount extends AsyncDisposable {
  readonly path: string;
}

const PREFIX = 'temporary-mount-';
const LOCK_SUFFIX = '.lock';

/**
 * Mounts, calls `use` with the root of the set, and unmounts, whatever becomes of `use`. `volatile` is left out: the
 * kernel would not let the overlay be mounted again.
 * @throws MountError; when the clean-up after a failure of `use` fails too, a SuppressedError of both
 */
export async function withTempMount<T>(
  engine: Engine,
  mounts: readonly Mount[],
  use: (root: string) => T | Promise<T>,
  at: TempLocation = {},
): Promise<T> {
  await using mounted = await tempMount(engine, mounts, at);
  return await use(mounted.path);
}

/** As withTempMount, to the end of the caller's own block (`await using`). */
export async function tempMount(
  engine: Engine,
  mounts: readonly Mount[],
  { location = tmpdir(), prefix = PREFIX }: TempLocation = {},
): Promise<TempMount> {
  const place = claim(realpathSync(location), prefix);
  const mounted = { path: place.path, [Symbol.asyncDispose]: () => giveUp(engine, place) };
  try {
    mkdirSync(place.path, { mode: 0o700 });
    await engine.mountAll({ mounts: removeVolatile(mounts), target: { path: place.path } });
  } catch (error) {
    await using _cleanUp = mounted;
    throw error;
  }
  return mounted;
}

export interface CleanedUp {
  /** Directories that are gone. */
  readonly removed: readonly string[];
  /** Those of dead owners that could not be unmounted or were not empty, and why. */
  readonly left: readonly { readonly path: string; readonly because: string }[];
}

/** At start: takes away what dead owners left at a location. What a living process holds is not touched. */
export async function cleanTempMounts(
  engine: Engine,
  { location = tmpdir(), prefix = PREFIX }: TempLocation = {},
): Promise<CleanedUp> {
  const directory = realpathSync(location);
  const removed: string[] = [];
  const left: { path: string; because: string }[] = [];
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(prefix) || !name.endsWith(LOCK_SUFFIX)) continue;
    const place = claimAbandoned(path.join(directory, name));
    if (place === undefined) continue;
    try {
      await giveUp(engine, place);
      removed.push(place.path);
    } catch (error) {
      left.push({ path: place.path, because: toMountError(error, false).message });
    }
  }
  return { removed, left };
}

/** A directory, there or not, that is nobody else's while the lock is held. */
interface Place {
  readonly path: string;
  readonly lock: Fd;
}

const lockOf = (path: string): string => path + LOCK_SUFFIX;

/** A lock that someone cleans up between the making and the locking of it is as good as none: the next name. */
const TRIES = 10;

function claim(location: string, prefix: string): Place {
  for (let tries = 0; tries < TRIES; tries++) {
    const name = path.join(location, `${prefix}${process.pid}-${randomBytes(6).toString('hex')}`);
    const flags = O.O_RDWR | O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW | O.O_CLOEXEC;
    const lock = new Fd(openSync(lockOf(name), flags, 0o600));
    if (takeLock(lock, AT_FDCWD, lockOf(name))) return { path: name, lock };
    lock[Symbol.dispose]();
  }
  throw new MountError({
    reason: 'mount-failed',
    message: `${location}: others remove the locks of new temporary mounts at once; use another prefix`,
    rolledBack: true,
  });
}

/** Undefined when it has a living owner, is somebody else's, or has just been cleaned up. */
function claimAbandoned(lockPath: string): Place | undefined {
  using undo = new DisposableStack();
  try {
    const lock = undo.use(openOwnFile(AT_FDCWD, lockPath, O.O_RDWR));
    if (lock === undefined || !takeLock(lock, AT_FDCWD, lockPath)) return undefined;
    undo.move();
    return { path: lockPath.slice(0, -LOCK_SUFFIX.length), lock };
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'EACCES')) return undefined;
    throw error;
  }
}

/** Lets go of the lock in any case: a directory that is left is there for the next clean-up. */
async function giveUp(engine: Engine, { path: directory, lock }: Place): Promise<void> {
  using _lock = lock;
  try {
    await engine.unmountRecursive({
      target: { path: directory, beneath: path.dirname(directory) },
      remove: 'directory',
    });
  } catch (error) {
    const failure = toMountError(error, false);
    const message = `the temporary mount ${directory} is left: ${failure.message}`;
    throw new MountError({ ...failure.toInit(), message, rolledBack: false }, { cause: error });
  }
  unlinkSync(lockOf(directory));
}
