// A file that is seen complete or not at all: written under a temporary name in its directory, locked (flock(2)) by
// its maker, and renamed without replacing.
//
//   .NAME.<12 hex digits>.new    locked      somebody is making it
//                                not locked  its maker was killed: the next one who makes NAME removes it
//
// The lock is on the open file and its copies, which programs that fill it are given: it lasts as long as any of them.
import { randomBytes } from 'node:crypto';
import { fsyncSync, readdirSync } from 'node:fs';
import { O, RENAME_NOREPLACE } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { linkat, openat, renameat2, unlinkat } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { openOwnFile } from '../own-file.ts';
import { takeLock } from '../take-lock.ts';

/** Disposed of before it has been published, it is removed. */
export interface NewFile extends Disposable {
  /** Open for reading and writing, and locked. */
  readonly fd: Fd;
  /** Gives it its name, durably or not at all. False when something has that name, which is left as it is. */
  publish(): boolean;
}

/** What NAME_MAX leaves of a name when it becomes a temporary one. */
export const LONGEST_NAME = 255 - '..0123456789ab.new'.length;

/** A lock that someone cleans up between the making and the locking of it is as good as none: the next name. */
const TRIES = 10;
const FILE_MODE = 0o600;

/** @param directory opened for reading */
export function newFile(directory: Fd, name: string): NewFile {
  for (let tries = 0; tries < TRIES; tries++) {
    const temporary = `.${name}.${randomBytes(6).toString('hex')}.new`;
    using undo = new DisposableStack();
    const flags = O.O_RDWR | O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW;
    const fd = undo.use(openat(directory, temporary, flags, FILE_MODE));
    const names: Names = { name, temporary };
    undo.defer(() => names.temporary !== undefined && removeQuietly(directory, names.temporary));
    if (takeLock(fd, directory, temporary)) return owned(directory, names, fd, undo.move());
  }
  const message = `${name}: others remove new files of this name at once; keep them out of its directory`;
  throw new MountError({ reason: 'mount-failed', message, rolledBack: true });
}

interface Names {
  readonly name: string;
  /** While it has that name. */
  temporary: string | undefined;
}

function owned(directory: Fd, names: Names, fd: Fd, stack: DisposableStack): NewFile {
  return {
    fd,
    publish() {
      const { name, temporary } = names;
      if (temporary === undefined) throw new Error(`${name} was published before`);
      fsyncSync(fd.number);
      if (!rename(directory, temporary, name)) return false;
      // The other name is gone with that: to look for it could only fail when all is done.
      names.temporary = undefined;
      try {
        fsyncSync(directory.number);
      } catch (error) {
        // Who is told that it failed is to find nothing.
        removeQuietly(directory, name);
        throw error;
      }
      return true;
    },
    [Symbol.dispose]: () => stack.dispose(),
  };
}

/** False when the name is taken. */
function rename(directory: Fd, from: string, to: string): boolean {
  try {
    try {
      renameat2(directory, from, directory, to, RENAME_NOREPLACE);
    } catch (error) {
      // Not every filesystem can (NFS). A link does not replace either, and the old name goes afterwards.
      if (!hasErrno(error, 'EINVAL', 'ENOSYS')) throw error;
      linkat(directory, from, directory, to, 0);
      try {
        unlinkat(directory, from, 0);
      } catch {
        // The next one who makes a file of this name removes it.
      }
    }
    return true;
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Removes what makers of this name left when they were killed. */
export function removeAbandoned(directory: Fd, name: string): void {
  for (const entry of readdirSync(`/proc/self/fd/${directory.number}`)) {
    if (entry.startsWith(`.${name}.`) && /^[0-9a-f]{12}\.new$/.test(entry.slice(name.length + 2))) {
      removeIfAbandoned(directory, entry);
    }
  }
}

function removeIfAbandoned(directory: Fd, entry: string): void {
  try {
    using file = openOwnFile(directory, entry, O.O_RDWR);
    if (file !== undefined && takeLock(file, directory, entry)) unlinkat(directory, entry, 0);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'EACCES', 'ETXTBSY')) throw error;
  }
}

/** Somebody else may have removed it. */
function removeQuietly(directory: Fd, name: string): void {
  try {
    unlinkat(directory, name, 0);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}
