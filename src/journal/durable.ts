// Files of one directory that are whole after any crash: the old content or the new.
//
//   write    temporary file, its content on disk before anything else (O_DSYNC); rename
//   remove   unlink
//
//   what has to survive   costs besides
//   driver                nothing: what this process has done, the kernel has
//   machine               fsync of the directory; those who ask while one is under way share the next
//
// A disk that is full or read-only is said to be so, and leaves what was there.
import { constants } from 'node:fs';
import { mkdir, open, rename, rm, unlink } from 'node:fs/promises';
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
  /** Makes the directory too: it may have been removed under us, with all that was in it. */
  write(name: string, text: string, survives: Survives): Promise<void>;
  /** What is not there is no error. Survives the driver. */
  remove(name: string): Promise<void>;
}

export function durableDirectory(directory: string): DurableDirectory {
  const sync = shared(() => syncDirectory(directory));
  const write = async (name: string, text: string, survives: Survives) => {
    await replaceFile(path.join(directory, name), text);
    if (survives === 'machine') await sync();
  };
  return {
    write: (name, text, survives) =>
      explained(directory, async () => {
        try {
          await write(name, text, survives);
        } catch (error) {
          if (codeOf(error) !== 'ENOENT') throw error;
          await makeDirectory(directory);
          await write(name, text, survives);
        }
      }),
    remove: (name) =>
      explained(directory, () =>
        unlink(path.join(directory, name)).catch((error: unknown) => {
          if (codeOf(error) !== 'ENOENT') throw error;
        }),
      ),
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

const NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_DSYNC;

async function writeSynced(file: string, text: string): Promise<void> {
  await using handle = await open(file, NEW, 0o600);
  await handle.writeFile(text);
}

/** A rename is only on disk once its directory is. */
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
