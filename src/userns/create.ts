// A mapping becomes a user namespace file descriptor, which idmapped mounts take (mount_setattr(2)).
//
// A user namespace is born with a process, so one is made, its namespace is taken, and it is killed:
//
//   clone(CLONE_NEWUSER|CLONE_PIDFD|CLONE_VM)   (sys/cloned-child.ts); else unshare(1) (spawned-child.ts)
//   open /proc/PID/{uid_map,gid_map}            held open: a later reuse of the PID cannot redirect them
//   ioctl(pidfd, PIDFD_GET_USER_NAMESPACE)      or /proc/PID/ns/user before Linux 6.11
//   pidfd_send_signal(pidfd, 0)                 proves that all of the above were our child's
//   write both maps; SIGKILL by pidfd; waitid(P_PIDFD)
//
// Not proved, because someone killed and reaped the child: once more, with another child.
import { type Child, cloneChild } from '../sys/cloned-child.ts';
import { AT_FDCWD, CLONE, O, PIDFD_GET_USER_NAMESPACE } from '../sys/constants.ts';
import { SyscallError } from '../sys/errors.ts';
import { Fd } from '../sys/fd.ts';
import { type FeatureName, probeFeature } from '../sys/features.ts';
import { expectUnreaped, isReaped } from '../sys/pidfd.ts';
import { ioctl, openat, write } from '../sys/syscalls.ts';
import { formatKernelMap, type IdMapping, type UserMapping } from './mapping.ts';
import { explainNamespace, type MapFile, mapMeaning } from './meanings.ts';
import { spawnInUserNamespace } from './spawned-child.ts';

export interface CreateOptions {
  /** What may be counted on: `clone-pidfd`, `pidfd-user-namespace`. Default: what is found here, tried once. */
  readonly has?: (feature: FeatureName) => boolean;
  /** How the child is made. Default: the best way that there is. */
  readonly start?: () => Child;
}

/** Whoever kills our child so often will not stop. */
const TRIES = 10;

/**
 * A new user namespace with this mapping. It lives as long as the fd or a mount that uses it.
 *
 * Needs CAP_SETUID and CAP_SETGID in the current user namespace for anything but a mapping of one's own id, and
 * CAP_SETFCAP to map its root (since Linux 5.12).
 * @throws SyscallError: EPERM (mapping not permitted), ENOSPC (/proc/sys/user/max_user_namespaces), ENOSYS (no pidfd)
 */
export function createUserNamespace(mapping: UserMapping, options: CreateOptions = {}): Fd {
  const { has = hasHere } = options;
  const { start = has('clone-pidfd') ? cloneInUserNamespace : spawnInUserNamespace } = options;
  for (let tries = 1; ; tries++) {
    try {
      using child = start();
      return namespaceOfChild(child, mapping, has('pidfd-user-namespace'));
    } catch (error) {
      if (!(error instanceof SyscallError) || error.code !== 'ESRCH') throw error;
      if (tries >= TRIES) {
        throw error.explain(
          `the child of the new namespace was killed ${tries} times; find out what kills it`,
        );
      }
    }
  }
}

/** The first way; the second is spawnInUserNamespace(). */
export function cloneInUserNamespace(): Child {
  try {
    return cloneChild(CLONE.CLONE_NEWUSER);
  } catch (error) {
    throw error instanceof SyscallError ? explainNamespace(error) : error;
  }
}

/** @throws SyscallError (ESRCH) when what was opened may have been another process's, with the child's number */
function namespaceOfChild(child: Child, mapping: UserMapping, byPidfd: boolean): Fd {
  using stack = new DisposableStack();
  try {
    const uidMap = stack.use(openMap(child.pid, 'uid_map'));
    const gidMap = stack.use(openMap(child.pid, 'gid_map'));
    const namespace = stack.use(byPidfd ? namespaceByPidfd(child.pidfd) : namespaceByProc(child.pid));
    expectUnreaped(child.pidfd);
    writeMap(uidMap, child.pid, 'uid_map', mapping.uid);
    writeMap(gidMap, child.pid, 'gid_map', mapping.gid);
    return new Fd(namespace.release());
  } catch (error) {
    // Whatever the process with this number made of it (ENOENT, EACCES).
    if (isReaped(child.pidfd)) expectUnreaped(child.pidfd);
    throw error;
  }
}

function namespaceByPidfd(pidfd: Fd): Fd {
  return ioctl(pidfd, PIDFD_GET_USER_NAMESPACE, 0);
}

function namespaceByProc(pid: number): Fd {
  return openat(AT_FDCWD, `/proc/${pid}/ns/user`, 0);
}

function openMap(pid: number, name: MapFile): Fd {
  return openat(AT_FDCWD, `/proc/${pid}/${name}`, O.O_WRONLY);
}

/** The kernel takes a map in one write, once (user_namespaces(7)). */
function writeMap(file: Fd, pid: number, name: MapFile, mapping: IdMapping): void {
  const map = formatKernelMap(mapping);
  try {
    write(file, map);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    const args = `/proc/${pid}/${name}, ${JSON.stringify(map)}`;
    const call = new SyscallError({ syscall: error.syscall, args, errno: error.errno });
    throw call.explain(mapMeaning(call.code, name, mapping));
  }
}

/** Found out once: each costs a child or a call. */
const found = new Map<FeatureName, boolean>();

function hasHere(feature: FeatureName): boolean {
  const known = found.get(feature);
  if (known !== undefined) return known;
  // Where it may not be tried, the call itself says best why.
  const { here } = probeFeature(feature);
  const has = here !== 'no';
  if (here !== 'not-now') found.set(feature, has);
  return has;
}
