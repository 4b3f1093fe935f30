// What a pidfd says of its process.
import { constants } from 'node:os';
import { AT_FDCWD } from './constants.ts';
import { hasErrno, SyscallError } from './errors.ts';
import type { Fd } from './fd.ts';
import { openat, pidfdSendSignal, read } from './syscalls.ts';

/**
 * The process's number as this very /proc counts, which may belong to another pid namespace than we do
 * (pidfd_open(2): `Pid` of the fdinfo).
 * @throws SyscallError (ESRCH) when it is gone
 */
export function pidInProc(pidfd: Fd): number {
  const pid = Number(/^Pid:\t(-?\d+)$/m.exec(infoOf(pidfd))?.[1]);
  if (pid > 0) return pid;
  if (pid === 0) {
    throw new Error(
      '/proc belongs to a pid namespace that does not see this process; mount a /proc of this one',
    );
  }
  throw new SyscallError({
    syscall: 'read',
    args: `/proc/self/fdinfo/${pidfd.number}`,
    errno: constants.errno.ESRCH,
  });
}

/** Some lines, which one read gives whole. */
function infoOf(pidfd: Fd): string {
  using file = openat(AT_FDCWD, `/proc/self/fdinfo/${pidfd.number}`, 0);
  const buffer = Buffer.alloc(INFO_BYTES);
  return buffer.toString('latin1', 0, read(file, buffer, buffer.length));
}

const INFO_BYTES = 1024;

/**
 * Throws ESRCH when the process has been reaped, so that its number may be another's by now. What was opened below
 * /proc/PID before it returns was the process's own. One that has ended and was not reaped has its number still.
 */
export function expectUnreaped(pidfd: Fd): void {
  pidfdSendSignal(pidfd, 0, null, 0);
}

export function isReaped(pidfd: Fd): boolean {
  try {
    expectUnreaped(pidfd);
    return false;
  } catch (error) {
    if (hasErrno(error, 'ESRCH')) return true;
    throw error;
  }
}
