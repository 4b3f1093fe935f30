// One driver per state directory: an exclusive flock(2) on it, which the kernel releases with the process.
import { openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { LOCK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import { Fd } from '../sys/fd.ts';
import { flock } from '../sys/syscalls.ts';

/** A killed predecessor may hold it for a moment: its last child lives for up to a second (userns/create.ts). */
const PATIENCE_MS = 3_000;
const INTERVAL_MS = 50;

/** @throws Error naming the directory when it stays locked */
export async function lockDirectory(directory: string): Promise<Fd> {
  using fd = new Fd(openSync(directory, 'r'));
  for (let waited = 0; ; waited += INTERVAL_MS) {
    try {
      flock(fd, LOCK.LOCK_EX | LOCK.LOCK_NB);
      return new Fd(fd.release());
    } catch (error) {
      if (!hasErrno(error, 'EAGAIN', 'EWOULDBLOCK')) throw error;
      if (waited >= PATIENCE_MS) {
        throw new Error(
          `${directory} is in use by another driver; stop it, or give this one its own --state-dir`,
          {
            cause: error,
          },
        );
      }
      await sleep(INTERVAL_MS);
    }
  }
}
