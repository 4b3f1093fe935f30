// One caller at a time per image, between looking for a device that has it and giving it one.
//
// The driver does not do this for us: LOOP_CONFIGURE makes sure that a device gets one file, not that a file gets
// one device. The lock is a flock(2) on the image itself, so that it holds between processes, containers and mount
// namespaces that share nothing but the file; it goes with the process that holds it. It is taken on an open file
// of its own: the loop driver keeps the file that it is given, which would keep the lock until the unmount.
//
//   filesystem without such locks     /dev/loop-control is locked instead: one attach at a time on this /dev.
//   (NFS: none on files opened to     Always opened for reading, so that all callers for one image end up
//   read; some FUSE)                  with the same of the two.
import { LOCK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { pauseAbout } from '../../sys/pause.ts';
import { flock } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { reopen } from './image.ts';
import { openLoopControl } from './nodes.ts';

/** Held for about a millisecond by one of ours. For longer only by a program that uses the image by itself. */
const PATIENCE_MS = 5_000;
const INTERVAL_MS = 4;

/** @throws MountError (image-in-use) */
export function lockImage(image: Fd, path: string, patienceMs = PATIENCE_MS): Fd {
  using own = reopen(image, 0);
  try {
    lock(own, path, patienceMs);
    return new Fd(own.release());
  } catch (error) {
    if (!hasErrno(error, 'EBADF', 'ENOLCK', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL', 'ENOSYS')) throw error;
  }
  using control = openLoopControl();
  lock(control, '/dev/loop-control', patienceMs);
  return new Fd(control.release());
}

function lock(file: Fd, path: string, patienceMs: number): void {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    try {
      flock(file, LOCK.LOCK_EX | LOCK.LOCK_NB);
      return;
    } catch (error) {
      if (!hasErrno(error, 'EAGAIN', 'EWOULDBLOCK', 'EINTR')) throw error;
      if (performance.now() > deadline) {
        const message = `another program holds a lock (flock) on ${path}; end it first (lslocks(8) names it)`;
        throw new MountError({ reason: 'image-in-use', message, rolledBack: true }, { cause: error });
      }
      pauseAbout(INTERVAL_MS);
    }
  }
}
