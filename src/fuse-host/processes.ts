// The processes of helpers, held by pidfds: their ends are seen, and a number that has become another's is never killed.
//
// They become children of this process, which is their subreaper, when the one that started them ends
// (start-process.ts). libuv only reaps what it has started itself, so the others are reaped here, each by its own pidfd:
// never by "any child", which would take libuv's from it.
import { readdirSync, readFileSync } from 'node:fs';
import { P_PIDFD, POLL, PR, WAIT } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { decodeExit, type Exit, SIGINFO_SIZE } from '../sys/structs.ts';
import { exitOf, pidfdOpen, pidfdSendSignal, poll, prctl, waitid } from '../sys/syscalls.ts';

export interface HeldProcess extends Disposable {
  readonly pid: number;
  /** How it has ended, and reaps it; `unknown` where it was somebody else's child; undefined while it lives. */
  end(): Exit | 'unknown' | undefined;
  /** No error when it has ended. */
  signal(number: number): void;
}

/** @throws SyscallError (ESRCH) when there is none */
export function holdProcess(pid: number): HeldProcess {
  const pidfd = pidfdOpen(pid, 0);
  let ended: Exit | 'unknown' | undefined;
  return {
    pid,
    end() {
      ended ??= reap(pidfd);
      return ended;
    },
    signal(number) {
      try {
        pidfdSendSignal(pidfd, number, null, 0);
      } catch (error) {
        if (!hasErrno(error, 'ESRCH')) throw error;
      }
    },
    [Symbol.dispose]: () => pidfd[Symbol.dispose](),
  };
}

function reap(pidfd: Fd): Exit | 'unknown' | undefined {
  // Readable when it has ended, whoever reaps it.
  if (!poll([{ fd: pidfd.number, events: POLL.POLLIN }], 0)) return undefined;
  try {
    const siginfo = Buffer.alloc(SIGINFO_SIZE);
    waitid(P_PIDFD, pidfd, siginfo, WAIT.WEXITED | WAIT.WNOHANG, null);
    return decodeExit(siginfo);
  } catch (error) {
    if (!hasErrno(error, 'ECHILD')) throw error;
    return 'unknown';
  }
}

/** From now on, whoever below this process loses its parent becomes its child, a daemon too. */
export function becomeSubreaper(): void {
  prctl(PR.PR_SET_CHILD_SUBREAPER, 1);
}

export interface Child {
  readonly pid: number;
  /** It has ended, and waits to be reaped. */
  readonly isZombie: boolean;
}

/** The children of this process, whoever started them. */
export function childrenOfThis(): Child[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const [state, parent] = statOf(name);
      return parent === String(process.pid) ? [{ pid: Number(name), isZombie: state === 'Z' }] : [];
    });
}

/** What follows the name in /proc/PID/stat, which may hold anything: state, parent (proc(5)). */
function statOf(pid: string): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return [];
    throw error;
  }
}

/**
 * Reaps what helpers have left to us: what could be reaped when it was last asked too. libuv would have reaped its own by
 * then.
 */
export function strayReaper(): () => void {
  let before: ReadonlySet<number> = new Set();
  return () => {
    const zombies = childrenOfThis().filter(({ isZombie }) => isZombie);
    const ended = zombies.filter(({ pid }) => isOver(pid));
    for (const { pid } of ended.filter((child) => before.has(child.pid))) {
      using stray = holdProcess(pid);
      stray.end();
    }
    before = new Set(ended.map(({ pid }) => pid));
  };
}

/** A process is shown as a zombie from the end of its first thread on, and can be reaped from that of its last on. */
function isOver(pid: number): boolean {
  using pidfd = pidfdOpen(pid, 0);
  return exitOf(pidfd) !== undefined;
}
