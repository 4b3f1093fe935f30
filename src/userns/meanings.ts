// What the errnos of a new user namespace mean, and what to do about them.
import { readFileSync } from 'node:fs';
import type { SyscallError } from '../sys/errors.ts';
import type { IdMapping } from './mapping.ts';

/** Of clone(2) and unshare(2) with CLONE_NEWUSER, and of pidfd_open(2). */
const NAMESPACE: Readonly<Record<string, string>> = {
  EPERM:
    'making a user namespace is not permitted here; run as root with CAP_SYS_ADMIN, not in a chroot, and without a seccomp filter or security module that forbids it',
  EAGAIN: 'no more processes may be started; raise the limit of the pids cgroup, or RLIMIT_NPROC',
  ENOSPC: 'too many user namespaces; raise /proc/sys/user/max_user_namespaces',
  EUSERS: 'user namespaces are nested too deeply, or there are too many',
  EINVAL: 'this kernel has no user namespaces (CONFIG_USER_NS)',
  ENOSYS:
    'this kernel has no pidfds (Linux 5.3), or a seccomp filter hides them; without, a process cannot be held safely',
};

export function explainNamespace(error: SyscallError): SyscallError {
  const meaning = NAMESPACE[error.code];
  return meaning === undefined ? error : error.explain(meaning);
}

export type MapFile = 'uid_map' | 'gid_map';

/** What it takes to write a map (user_namespaces(7)), by the bit of the capability (linux/capability.h). */
const CAPABILITIES: readonly {
  readonly name: string;
  readonly bit: bigint;
  readonly neededFor: (file: MapFile, mapping: IdMapping) => boolean;
}[] = [
  { name: 'CAP_SETUID', bit: 7n, neededFor: (file) => file === 'uid_map' },
  { name: 'CAP_SETGID', bit: 6n, neededFor: (file) => file === 'gid_map' },
  // Linux 5.12: whoever maps the root of the parent could otherwise forge file capabilities.
  {
    name: 'CAP_SETFCAP',
    bit: 31n,
    neededFor: (file, mapping) => file === 'uid_map' && mapping.some(({ host }) => host === 0),
  },
];

/** Why the kernel refused to write a map. */
export function mapMeaning(code: string, file: MapFile, mapping: IdMapping): string {
  if (code !== 'EPERM') return 'the kernel refused the mapping';
  const held = effectiveCapabilities();
  const missing = CAPABILITIES.filter(
    ({ bit, neededFor }) => neededFor(file, mapping) && (held & (1n << bit)) === 0n,
  ).map(({ name }) => name);
  if (missing.length > 0) {
    return `this mapping is not permitted: this process lacks ${missing.join(' and ')}`;
  }
  return 'this mapping is not permitted: its host ids must exist in the user namespace of this process (/proc/self/uid_map, gid_map)';
}

function effectiveCapabilities(): bigint {
  const status = readFileSync('/proc/self/status', 'latin1');
  return BigInt(`0x${/^CapEff:\t([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
}
