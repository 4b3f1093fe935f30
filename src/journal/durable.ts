// Files that are on disk when a call returns, whole: after a crash the old content or the new.
//
//   write    temporary file, fsync, rename, fsync of the directory
//   remove   unlink, fsync of the directory
//
// A disk that is full or read-only is said to be so, and leaves what was there.
import { mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

export const TEMPORARY = '.tmp';

/** The state directory takes no record. What a caller meant to do next, it must not begin. */
export class StateError extends Error {
  override readonly name = 'StateError';
}

/** Makes the directory too: it may have been removed under us, with all that was in it. */
export function writeDurably(directory: string, name: string, text: string): Promise<void> {
  return explained(directory, async () => {
    await makeDirectory(directory);
    const temporary = path.join(directory, `${name}${TEMPORARY}`);
    try {
      await writeSynced(temporary, text);
      await rename(temporary, path.join(directory, name));
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw error;
    }
    await syncDirectory(directory);
  });
}

/** What is not there is no error. */
export function removeDurably(directory: string, name: string): Promise<void> {
  return explained(directory, async () => {
    try {
      await rm(path.join(directory, name));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return;
      throw error;
    }
    await syncDirectory(directory);
  });
}

export async function makeDirectory(directory: string): Promise<void> {
  await explained(directory, () => mkdir(directory, { recursive: true, mode: 0o700 }));
}

async function writeSynced(file: string, text: string): Promise<void> {
  await using handle = await open(file, 'w', 0o600);
  await handle.writeFile(text);
  await handle.sync();
}

/** A rename or removal is only durable once its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
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
