// What a pidfd says of its process.
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { hasErrno, SyscallError } from './errors.ts';
import type { Fd } from './fd.ts';
import { pidfdSendSignal } from './syscalls.ts';

/**
 * The process's number as this very /proc counts, which may belong to another pid namespace than we do
 * (pidfd_open(2): `Pid` of the fdinfo).
 * @throws SyscallError (ESRCH) when it is gone
 */
export function pidInProc(pidfd: Fd): number {
  const info = readFileSync(`/proc/self/fdinfo/${pidfd.number}`, 'latin1');
  const pid = Number(/^Pid:\t(-?\d+)$/m.exec(info)?.[1]);
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
