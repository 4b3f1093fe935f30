// A mapping becomes a user namespace file descriptor, which idmapped mounts take (mount_setattr(2)).
//
// A user namespace is born with a process, so one is made, its namespace is taken, and it is killed:
//
//   clone(CLONE_NEWUSER|CLONE_PIDFD|CLONE_VM)  child: libc's sleep(1), on a stack of its own
//   open /proc/PID/{uid_map,gid_map}            held open: a later reuse of the PID cannot redirect them
//   ioctl(pidfd, PIDFD_GET_USER_NAMESPACE)      or /proc/PID/ns/user before Linux 6.11
//   pidfd_send_signal(pidfd, 0)                 proves that all of the above were our child's
//   write both maps; SIGKILL by pidfd; waitid(P_PIDFD)
//
// The child runs no code of ours: it shares our memory (CLONE_VM), so anything but a libc call that needs none
// of it would race with this thread. All signals are blocked in it from birth, or a Ctrl-C to the process
// group would run our handlers there. Should we be killed in between, it ends by itself after a second: until
// then it holds copies of our descriptors.
import { openSync, writeSync } from 'node:fs';
import { lastErrno, libcAddress, libcClone } from '../sys/bind.ts';
import {
  CLONE,
  MAP,
  P_PIDFD,
  PIDFD_GET_USER_NAMESPACE,
  PROT,
  SIG_SETMASK,
  SIGKILL,
  WAIT,
} from '../sys/constants.ts';
import { hasErrno, SyscallError } from '../sys/errors.ts';
import { Fd } from '../sys/fd.ts';
import { SIGINFO_SIZE } from '../sys/structs.ts';
import { ioctl, mmap, munmap, pidfdSendSignal, rtSigprocmask, waitid } from '../sys/syscalls.ts';
import { formatKernelMap, type UserMapping } from './mapping.ts';

const STACK_BYTES = 64 * 1024;
const CHILD_LIFE_SECONDS = 1n;

/**
 * A new user namespace with this mapping. It lives as long as the fd or a mount that uses it.
 *
 * Needs CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID in the current user namespace for anything but a mapping of
 * one's own id.
 * @throws SyscallError: EPERM (mapping not permitted), ENOSPC (/proc/sys/user/max_user_namespaces)
 */
export function createUserNamespace(mapping: UserMapping): Fd {
  using child = startChild();
  using uidMap = openProc(child.pid, 'uid_map');
  using gidMap = openProc(child.pid, 'gid_map');
  using namespace = namespaceOf(child);
  pidfdSendSignal(child.pidfd, 0, null, 0);
  writeMap(uidMap, child.pid, 'uid_map', formatKernelMap(mapping.uid));
  writeMap(gidMap, child.pid, 'gid_map', formatKernelMap(mapping.gid));
  return new Fd(namespace.release());
}

interface Child extends Disposable {
  readonly pid: number;
  readonly pidfd: Fd;
}

function startChild(): Child {
  using undo = new DisposableStack();
  const stack = mmap(
    0n,
    STACK_BYTES,
    PROT.PROT_READ | PROT.PROT_WRITE,
    MAP.MAP_PRIVATE | MAP.MAP_ANONYMOUS | MAP.MAP_STACK,
    -1,
    0,
  );
  undo.defer(() => munmap(stack, STACK_BYTES));
  const entry = libcAddress('sleep');
  const pidfdAt = Buffer.alloc(4);
  const [pid, errno] = withSignalsBlocked(() => {
    const flags = CLONE.CLONE_VM | CLONE.CLONE_NEWUSER | CLONE.CLONE_PIDFD;
    const returned = libcClone(
      entry,
      stack + BigInt(STACK_BYTES),
      flags,
      CHILD_LIFE_SECONDS,
      pidfdAt,
      null,
      null,
    );
    return [returned, returned === -1 ? lastErrno() : 0];
  });
  if (pid === -1) {
    throw new SyscallError({
      syscall: 'clone',
      args: 'sleep, CLONE_VM|CLONE_NEWUSER|CLONE_PIDFD',
      errno,
      ...cloneMeaning(errno),
    });
  }
  const pidfd = undo.use(new Fd(pidfdAt.readInt32LE()));
  // Runs before the two above: the stack may only be freed when the child is gone for certain.
  undo.defer(() => {
    pidfdSendSignal(pidfd, SIGKILL, null, 0);
    // __WALL because the child has no exit signal, which also keeps it out of sight of libuv's SIGCHLD.
    waitid(P_PIDFD, pidfd, Buffer.alloc(SIGINFO_SIZE), WAIT.WEXITED | WAIT.__WALL, null);
  });
  const owned = undo.move();
  return { pid, pidfd, [Symbol.dispose]: () => owned.dispose() };
}

function cloneMeaning(errno: number): { meaning?: string } {
  const name = new SyscallError({ syscall: '', args: '', errno }).code;
  const meanings: Readonly<Record<string, string>> = {
    EPERM: 'making a user namespace is not permitted here; run as root with CAP_SYS_ADMIN',
    ENOSPC: 'too many user namespaces; raise /proc/sys/user/max_user_namespaces',
    EUSERS: 'user namespaces are nested too deeply, or there are too many',
    EINVAL: 'this kernel has no user namespaces (CONFIG_USER_NS), or no CLONE_PIDFD (Linux 5.2)',
  };
  const meaning = meanings[name];
  return meaning === undefined ? {} : { meaning };
}

/** The signal mask is inherited by the child at clone; this thread gets its own back at once. */
function withSignalsBlocked<T>(work: () => T): T {
  const all = Buffer.alloc(8, 0xff);
  const before = Buffer.alloc(8);
  rtSigprocmask(SIG_SETMASK, all, before, before.length);
  try {
    return work();
  } finally {
    rtSigprocmask(SIG_SETMASK, before, null, before.length);
  }
}

function namespaceOf(child: Child): Fd {
  try {
    return ioctl(child.pidfd, PIDFD_GET_USER_NAMESPACE, 0);
  } catch (error) {
    // ENOTTY or EINVAL: the kernel is older than 6.11. The caller's liveness check covers this way too.
    if (!hasErrno(error, 'ENOTTY', 'EINVAL')) throw error;
    return new Fd(openSync(`/proc/${child.pid}/ns/user`, 'r'));
  }
}

function openProc(pid: number, name: 'uid_map' | 'gid_map'): Fd {
  return new Fd(openSync(`/proc/${pid}/${name}`, 'w'));
}

/** The kernel takes a map in one write, once (user_namespaces(7)). */
function writeMap(file: Fd, pid: number, name: string, map: string): void {
  try {
    writeSync(file.number, map);
  } catch (error) {
    if (!(error instanceof Error && 'errno' in error && typeof error.errno === 'number')) throw error;
    throw new SyscallError({
      syscall: 'write',
      args: `/proc/${pid}/${name}, ${JSON.stringify(map)}`,
      errno: -error.errno,
      meaning: hasErrno(error, 'EPERM')
        ? 'this mapping is not permitted: it needs CAP_SETUID and CAP_SETGID, and host ids that exist in this user namespace'
        : 'the kernel refused the mapping',
    });
  }
}
