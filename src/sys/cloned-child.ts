// A child that runs no code of ours and is held by a pidfd: something to be looked at, and killed.
//
// It shares our memory (CLONE_VM), so that nothing is copied, and anything but a libc call that needs none of that
// memory would race with this thread: its entry is libc's usleep(), on a stack of its own, which unlike sleep() does not
// even write errno at its end. All signals are blocked in it from birth, or a Ctrl-C to the process group would run our
// handlers there. It holds copies of our descriptors, locks and listening sockets among them: should we be killed, it
// ends by itself after a second.
import { lastErrno, libcAddress, libcClone, renderFlags } from './bind.ts';
import { CLONE, MAP, P_PIDFD, PROT, SIG_SETMASK, SIGKILL, WAIT } from './constants.ts';
import { hasErrno, SyscallError } from './errors.ts';
import { Fd } from './fd.ts';
import { pidInProc } from './pidfd.ts';
import { mmap, munmap, pidfdOpen, pidfdSendSignal, rtSigprocmask, waitid } from './syscalls.ts';

const STACK_BYTES = 64 * 1024;
/** What a child has left, for the next. */
let idleStack: bigint | undefined;
let entry: bigint | undefined;
let arePidfdsHere = false;
const LIFE_MICROSECONDS = 1_000_000n;

/** Disposed, it is killed, and waited for where that is ours to do. */
export interface Child extends Disposable {
  /** As this very /proc counts. */
  readonly pid: number;
  readonly pidfd: Fd;
}

/**
 * @param flags of CLONE: what it gets of its own
 * @throws SyscallError: ENOSYS where the kernel has no pidfds
 */
export function cloneChild(flags: number): Child {
  expectPidfds();
  using undo = new DisposableStack();
  const stack = takeStack();
  let runsOnIt = false;
  undo.defer(() => {
    if (!runsOnIt) leaveStack(stack);
  });
  const usleep = entry ?? libcAddress('usleep');
  entry = usleep;
  const all = flags | CLONE.CLONE_VM | CLONE.CLONE_PIDFD;
  const pidfdAt = Buffer.alloc(4);
  const [returned, errno] = withSignalsBlocked(() => {
    const pid = libcClone(usleep, stack + BigInt(STACK_BYTES), all, LIFE_MICROSECONDS, pidfdAt, null, null);
    return [pid, pid === -1 ? lastErrno() : 0];
  });
  if (returned === -1) {
    throw new SyscallError({ syscall: 'clone', args: `usleep, ${renderFlags(all, CLONE)}`, errno });
  }
  // Until it is gone for certain: memory that is another's by then would be written to.
  runsOnIt = true;
  const pidfd = undo.use(new Fd(pidfdAt.readInt32LE()));
  undo.defer(() => {
    try {
      killByPidfd(pidfd);
    } finally {
      // One that may not be killed (seccomp, a security module) ends by itself.
      reap(pidfd);
      runsOnIt = false;
    }
  });
  const pid = pidInProc(pidfd);
  const owned = undo.move();
  return { pid, pidfd, [Symbol.dispose]: () => owned.dispose() };
}

/** Before Linux 5.2 clone() takes no notice of CLONE_PIDFD, and the child could only be found by its number. */
function expectPidfds(): void {
  if (!arePidfdsHere) pidfdOpen(process.pid, 0)[Symbol.dispose]();
  arePidfdsHere = true;
}

/** Two calls and a page fault are a tenth of what a child takes. */
function takeStack(): bigint {
  const left = idleStack;
  idleStack = undefined;
  const protection = PROT.PROT_READ | PROT.PROT_WRITE;
  const kind = MAP.MAP_PRIVATE | MAP.MAP_ANONYMOUS | MAP.MAP_STACK;
  return left ?? mmap(0n, STACK_BYTES, protection, kind, -1, 0);
}

function leaveStack(stack: bigint): void {
  if (idleStack === undefined) idleStack = stack;
  else munmap(stack, STACK_BYTES);
}

/** No error when it has ended, or has been reaped, before. */
export function killByPidfd(pidfd: Fd): void {
  try {
    pidfdSendSignal(pidfd, SIGKILL, null, 0);
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error;
  }
}

function reap(pidfd: Fd): void {
  for (;;) {
    try {
      // __WALL because the child has no exit signal, which also keeps it out of sight of libuv's SIGCHLD.
      waitid(P_PIDFD, pidfd, null, WAIT.WEXITED | WAIT.__WALL, null);
      return;
    } catch (error) {
      if (hasErrno(error, 'ECHILD')) return;
      if (!hasErrno(error, 'EINTR')) throw error;
    }
  }
}

const ALL_SIGNALS = Buffer.alloc(8, 0xff);

/** The signal mask is inherited by the child at clone; this thread gets its own back at once. */
function withSignalsBlocked<T>(work: () => T): T {
  const before = Buffer.alloc(8);
  rtSigprocmask(SIG_SETMASK, ALL_SIGNALS, before, before.length);
  try {
    return work();
  } finally {
    rtSigprocmask(SIG_SETMASK, before, null, before.length);
  }
}
