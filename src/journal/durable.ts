// Files of one directory, each a list of lines of which the last whole one counts: after any crash it is the one before or
// the new one.
//
//   first line     a new file
//   another        added to it: what is there stays as it is
//   of a file      that this process has not begun, or that has grown long: a temporary file, on disk before anything else
//                  (O_DSYNC), and rename
//   remove         unlink
//
//   what has to survive   costs besides
//   driver                nothing: what this process has done, the kernel has
//   machine               fdatasync of the file; and of one that is new, at the same time, fsync of the directory: those
//                         who ask for that while one is under way share the next
//
// A disk that is full or read-only is said to be so, and leaves what was there.
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, unlink } from 'node:fs/promises';
import path from 'node:path';

export const TEMPORARY = '.tmp';

/** The state directory takes no record. What a caller meant to do next, it must not begin. */
export class StateError extends Error {
  override readonly name = 'StateError';
}

/** What must have ended for a change to be lost, and the content before to be found again. */
export type Survives = 'driver' | 'machine';

/** @throws StateError, all of them */
export interface DurableDirectory {
  /**
   * Makes the directory too: it may have been removed under us, with all that was in it.
   * @param line with its newline
   */
  write(name: string, line: string, survives: Survives): Promise<void>;
  /** What is not there is no error. Survives the driver. */
  remove(name: string): Promise<void>;
}

/** A file that this process has begun. */
interface Own {
  lines: number;
  bytes: number;
  /** Its name is on disk. */
  isNamed: boolean;
}

/** Of a volume that is mounted and let go of again and again. */
const MOST_LINES = 100;

const FIRST = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_EXCL;
const MORE = constants.O_WRONLY | constants.O_APPEND;

export function durableDirectory(directory: string): DurableDirectory {
  const files = new Map<string, Own>();
  const syncNames = shared(() => syncDirectory(directory));
  const pathOf = (name: string) => path.join(directory, name);

  async function begin(name: string, line: string, survives: Survives): Promise<void> {
    const handle = await open(pathOf(name), FIRST, 0o600).catch((error: unknown) => {
      if (codeOf(error) === 'EEXIST') return undefined;
      throw error;
    });
    if (handle === undefined) return replace(name, line, survives);
    const own = { lines: 0, bytes: 0, isNamed: false };
    files.set(name, own);
    await add(handle, own, line, survives);
  }

  async function add(handle: FileHandle, own: Own, line: string, survives: Survives): Promise<void> {
    try {
      await handle.writeFile(line).catch(async (error: unknown) => {
        await handle.truncate(own.bytes).catch(() => undefined);
        throw error;
      });
      own.lines++;
      own.bytes += Buffer.byteLength(line);
      if (survives === 'driver') return;
      await Promise.all([handle.datasync(), own.isNamed ? undefined : syncNames()]);
      own.isNamed = true;
    } finally {
      // Nobody has to wait for that: what was written is where it was written to.
      void handle.close().catch(() => undefined);
    }
  }

  async function replace(name: string, line: string, survives: Survives): Promise<void> {
    await replaceFile(pathOf(name), line);
    files.set(name, { lines: 1, bytes: Buffer.byteLength(line), isNamed: survives === 'machine' });
    if (survives === 'machine') await syncNames();
  }

  async function write(name: string, line: string, survives: Survives): Promise<void> {
    const own = files.get(name);
    try {
      if (own === undefined) await begin(name, line, survives);
      else if (own.lines < MOST_LINES) await add(await open(pathOf(name), MORE), own, line, survives);
      else await replace(name, line, survives);
    } catch (error) {
      // What is at its end is not known.
      files.delete(name);
      throw error;
    }
  }

  return {
    write: (name, line, survives) =>
      explained(directory, async () => {
        try {
          await write(name, line, survives);
        } catch (error) {
          if (codeOf(error) !== 'ENOENT') throw error;
          await makeDirectory(directory);
          await write(name, line, survives);
        }
      }),
    remove: (name) =>
      explained(directory, async () => {
        files.delete(name);
        await unlink(pathOf(name)).catch((error: unknown) => {
          if (codeOf(error) !== 'ENOENT') throw error;
        });
      }),
  };
}

export async function makeDirectory(directory: string): Promise<void> {
  await explained(directory, () => mkdir(directory, { recursive: true, mode: 0o700 }));
}

async function replaceFile(file: string, text: string): Promise<void> {
  const temporary = `${file}${TEMPORARY}`;
  try {
    await writeSynced(temporary, text);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

const WHOLE = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_DSYNC;

async function writeSynced(file: string, text: string): Promise<void> {
  await using handle = await open(file, WHOLE, 0o600);
  await handle.writeFile(text);
}

/** A new name is only on disk once its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
}

/**
 * The same work for all who ask for it at the same time. One that is under way may have begun before what the caller wants
 * done by it: that caller gets the next.
 */
function shared(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const begin = () => {
    next = undefined;
    running = work().finally(() => {
      running = undefined;
    });
    return running;
  };
  return () => {
    if (running === undefined) return begin();
    next ??= running.then(begin, begin);
    return next;
  };
}

const WHY: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: make room on its filesystem',
  EDQUOT: 'its disk quota is used up: make room, or raise the quota',
  EROFS:
    'it is on a read-only filesystem: look for disk errors in the kernel log, or choose another --state-dir',
  EACCES: 'permission is denied: run the driver as root',
  EPERM: 'permission is denied: look for an immutable directory (lsattr), or a denial of SELinux or AppArmor',
  EIO: 'its disk fails: look at the kernel log',
};

async function explained<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StateError) throw error;
    const why = WHY[codeOf(error) ?? ''] ?? (error instanceof Error ? error.message : String(error));
    throw new StateError(`nothing can be recorded in ${directory}: ${why}`, { cause: error });
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
