// The user namespace of a pod's sandbox, asked from the kernel rather than from kubelet's record.
//
//   by process   a pid that the runtime told: pinned by a pidfd
//   by path      as NRI tells it: /proc/PID/ns/user, or a file on which the namespace is mounted (CRI-O)
//
// A process id may be another's by the time it is looked at. So the directory of the process is opened once: all that
// is opened below it is that process's or fails with ESRCH. That it was the sandbox in the first place shows in its
// mapping: kubelet gives no ids to two pods (expectMapping()).
import { fstatSync, readFileSync, statSync } from 'node:fs';
import { AT_FDCWD, CLONE, NS_GET_NSTYPE, O } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { openPathAt } from '../sys/open-below.ts';
import { expectUnreaped, pidInProc } from '../sys/pidfd.ts';
import { namespaceIoctl, openat, pidfdOpen } from '../sys/syscalls.ts';
import { MappingError, parseKernelMap, type UserMapping } from './mapping.ts';
import { canonicalText } from './mapping-algebra.ts';

export type SandboxReason =
  /** No such process, or it ended meanwhile. */
  | 'process-gone'
  /** What the path names is something else. */
  | 'not-a-user-namespace'
  /** It is the driver's own: the pod has no mapping. */
  | 'own-namespace'
  /** Its maps are not written yet, or show ids that this process has not. */
  | 'not-mapped'
  /** The process changed its namespace while it was looked at. */
  | 'namespace-changed'
  /** Another mapping than the pod should have. */
  | 'other-mapping';

export class SandboxError extends Error {
  override readonly name = 'SandboxError';
  readonly reason: SandboxReason;

  constructor(reason: SandboxReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface SandboxNamespace extends Disposable {
  /** Serves mount_setattr(2) as it is. */
  readonly fd: Fd;
  /** Undefined where the path named no process: a namespace alone does not tell it to those outside. */
  readonly mapping: UserMapping | undefined;
}

/**
 * @param pid as this very /proc counts: in a container that is only so with the host's pid namespace
 * @throws SandboxError
 */
export function namespaceOfProcess(pid: number): SandboxNamespace & { readonly mapping: UserMapping } {
  return orGone(`process ${pid}`, () => {
    using pidfd = pidfdOpen(pid, 0);
    using directory = openPathAt(AT_FDCWD, `/proc/${pidInProc(pidfd)}`, O.O_DIRECTORY);
    using undo = new DisposableStack();
    const found = undo.use(namespaceBelow(directory));
    expectUnreaped(pidfd);
    undo.move();
    return found;
  });
}

/**
 * @param path may lie in another /proc than this process's own, such as the host's at /host/proc
 * @throws SandboxError
 */
export function namespaceAtPath(path: string): SandboxNamespace {
  return orGone(path, () => {
    const [, process] = /^(.*\/\d+)\/ns\/user$/.exec(path) ?? [];
    if (process !== undefined) {
      using directory = openPathAt(AT_FDCWD, process, O.O_DIRECTORY);
      return namespaceBelow(directory);
    }
    using undo = new DisposableStack();
    const fd = undo.use(openat(AT_FDCWD, path, O.O_NONBLOCK));
    expectForeignNamespace(fd);
    undo.move();
    return { fd, mapping: undefined, [Symbol.dispose]: () => fd[Symbol.dispose]() };
  });
}

/**
 * However the two are written down.
 * @throws SandboxError
 */
export function expectMapping(found: UserMapping, expected: UserMapping): void {
  const [here, wanted] = [canonicalText(found), canonicalText(expected)];
  if (here === wanted) return;
  throw new SandboxError(
    'other-mapping',
    `the sandbox has the mapping ${here}, and the pod should have ${wanted}`,
  );
}

function namespaceBelow(process: Fd): SandboxNamespace & { readonly mapping: UserMapping } {
  using undo = new DisposableStack();
  const fd = undo.use(openat(process, 'ns/user', 0));
  expectForeignNamespace(fd);
  const mapping = { uid: mapOf(process, 'uid_map'), gid: mapOf(process, 'gid_map') };
  using after = openat(process, 'ns/user', 0);
  if (identityOf(after) !== identityOf(fd)) {
    throw new SandboxError(
      'namespace-changed',
      `${process} changed its user namespace while it was looked at; ask again`,
    );
  }
  undo.move();
  return { fd, mapping, [Symbol.dispose]: () => fd[Symbol.dispose]() };
}

function expectForeignNamespace(fd: Fd): void {
  if (kindOf(fd) !== CLONE.CLONE_NEWUSER) {
    throw new SandboxError('not-a-user-namespace', `${fd} is no user namespace`);
  }
  if (identityOf(fd) === identity(statSync('/proc/self/ns/user', { bigint: true }))) {
    throw new SandboxError('own-namespace', `${fd} is the driver's own user namespace: nothing is mapped`);
  }
}

function kindOf(fd: Fd): number | undefined {
  try {
    return namespaceIoctl(fd, NS_GET_NSTYPE);
  } catch (error) {
    // Of no namespace.
    if (hasErrno(error, 'ENOTTY', 'EINVAL')) return undefined;
    throw error;
  }
}

function mapOf(process: Fd, name: 'uid_map' | 'gid_map') {
  using file = openat(process, name, 0);
  const text = readFileSync(file.number, 'latin1');
  try {
    return parseKernelMap(text, `${file}`);
  } catch (error) {
    if (!(error instanceof MappingError)) throw error;
    throw new SandboxError('not-mapped', error.message);
  }
}

const identityOf = (fd: Fd): string => identity(fstatSync(fd.number, { bigint: true }));
const identity = ({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string => `${dev}:${ino}`;

function orGone<T>(what: string, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    if (!hasErrno(error, 'ESRCH', 'ENOENT')) throw error;
    throw new SandboxError('process-gone', `${what} is gone, or was never there: ${error.message}`);
  }
}
