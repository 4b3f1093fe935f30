// Every system call that the project makes, one row each: name, number, arguments, result. To use a new one,
// add its row; nothing else in the project calls libc. Numbers: arch/x86/entry/syscalls/syscall_64.tbl and
// include/uapi/asm-generic/unistd.h (arm64).
import {
  address,
  dirfd,
  fd,
  flags,
  int,
  long,
  memory,
  newFd,
  nothing,
  number,
  oneOf,
  pointer,
  renderFlags,
  size,
  syscall,
  text,
} from './bind.ts';
import {
  CLONE,
  CLOSE_RANGE_CLOEXEC,
  F_ADD_SEALS,
  F_SEAL,
  FSCONFIG,
  FSPICK,
  LOCK,
  LOOP,
  MAP,
  MFD,
  MOUNT_ATTR,
  MOUNT_SETATTR,
  MOVE_MOUNT,
  MS,
  NS_GET_NSTYPE,
  O,
  OPEN_TREE,
  P_PIDFD,
  PR,
  PROPAGATION,
  PROT,
  RENAME_NOREPLACE,
  RESIZE,
  RESOLVE,
  SEEK_END,
  STATMOUNT,
  STATX,
  STATX_MASK,
  UMOUNT,
  WAIT,
} from './constants.ts';
import { hasErrno, SyscallError } from './errors.ts';
import { Fd } from './fd.ts';
import { showLoopStruct } from './loop-structs.ts';
import {
  CAPABILITY_BYTES,
  decodeExit,
  decodeMountAttr,
  decodeMountIdRequest,
  decodeOpenHow,
  decodeStatfs,
  decodeStatx,
  type Exit,
  encodeCapabilityHeader,
  encodeMountAttr,
  encodeMountIdRequest,
  encodeOpenHow,
  encodePollfds,
  encodeTimespec,
  type MountAttr,
  memoryFor,
  type OpenHow,
  type PollEntry,
  SIGINFO_SIZE,
  STATFS_SIZE,
  STATX_SIZE,
  type Statfs,
  type Statx,
} from './structs.ts';

const mountAttr = memory((buffer) => {
  const attr = decodeMountAttr(buffer);
  const shown = [
    `attr_set=${renderFlags(attr.set, MOUNT_ATTR)}`,
    `attr_clr=${renderFlags(attr.clear, MOUNT_ATTR)}`,
  ];
  if (attr.propagation !== 0) shown.push(`propagation=${renderFlags(attr.propagation, PROPAGATION)}`);
  if (attr.set & MOUNT_ATTR.MOUNT_ATTR_IDMAP) shown.push(`userns_fd=${attr.usernsFd}`);
  return `{${shown.join(', ')}}`;
});
const openHow = memory((buffer) => {
  const how = decodeOpenHow(buffer);
  return `{flags=${renderFlags(how.flags, O)}, resolve=${renderFlags(how.resolve, RESOLVE)}}`;
});

const statmountRequest = memory((buffer) => {
  const { mountId, param } = decodeMountIdRequest(buffer);
  return `{mnt_id=0x${mountId.toString(16)}, param=${renderFlags(Number(param), STATMOUNT)}}`;
});
const listmountRequest = memory((buffer) => {
  const { mountId, param } = decodeMountIdRequest(buffer);
  return `{mnt_id=0x${mountId.toString(16)}, param=0x${param.toString(16)}}`;
});

// --- mounts ---
export const openTree = syscall('open_tree', 428, [dirfd, text, flags(OPEN_TREE)], newFd);
const openTreeAttrCall = syscall(
  'open_tree_attr',
  467,
  [dirfd, text, flags(OPEN_TREE), mountAttr, long],
  newFd,
);
export const moveMount = syscall('move_mount', 429, [dirfd, text, dirfd, text, flags(MOVE_MOUNT)], nothing);
export const fsopen = syscall('fsopen', 430, [text, flags({ FSOPEN_CLOEXEC: 1 })], newFd);
export const fsmount = syscall('fsmount', 432, [fd, flags({ FSMOUNT_CLOEXEC: 1 }), flags(MOUNT_ATTR)], newFd);
export const fspick = syscall('fspick', 433, [dirfd, text, flags(FSPICK)], newFd);
const fsconfigCall = syscall('fsconfig', 431, [fd, oneOf(FSCONFIG), text, text, int], nothing);
const mountSetattrCall = syscall(
  'mount_setattr',
  442,
  [dirfd, text, flags(MOUNT_SETATTR), mountAttr, long],
  nothing,
);
export const mount = syscall('mount', { x64: 165, arm64: 40 }, [text, text, text, flags(MS), text], nothing);
export const pivotRoot = syscall('pivot_root', { x64: 155, arm64: 41 }, [text, text], nothing);
export const unshare = syscall('unshare', { x64: 272, arm64: 97 }, [flags(CLONE)], nothing);
export const umount2 = syscall('umount2', { x64: 166, arm64: 39 }, [text, flags(UMOUNT)], nothing);
const statmountCall = syscall('statmount', 457, [statmountRequest, memory(), long, int], nothing);
const listmountCall = syscall('listmount', 458, [listmountRequest, memory(), long, int], number);

// --- files ---
const openat2Call = syscall('openat2', 437, [dirfd, text, openHow, long], newFd);
const statxCall = syscall(
  'statx',
  { x64: 332, arm64: 291 },
  [dirfd, text, flags(STATX), flags(STATX_MASK), memory()],
  nothing,
);
/** unlinkat(2): remove a directory. */
export const AT_REMOVEDIR = 0x200;
const openatCall = syscall('openat', { x64: 257, arm64: 56 }, [dirfd, text, flags(O), int], newFd);
export const chdir = syscall('chdir', { x64: 80, arm64: 49 }, [text], nothing);
export const fchdir = syscall('fchdir', { x64: 81, arm64: 50 }, [fd], nothing);
export const mkdirat = syscall('mkdirat', { x64: 258, arm64: 34 }, [dirfd, text, int], nothing);
export const unlinkat = syscall(
  'unlinkat',
  { x64: 263, arm64: 35 },
  [dirfd, text, flags({ AT_REMOVEDIR })],
  nothing,
);
export const symlinkat = syscall('symlinkat', { x64: 266, arm64: 36 }, [text, dirfd, text], nothing);
const readlinkatCall = syscall('readlinkat', { x64: 267, arm64: 78 }, [fd, text, memory(), long], number);
export const renameat2 = syscall(
  'renameat2',
  { x64: 316, arm64: 276 },
  [dirfd, text, dirfd, text, flags({ RENAME_NOREPLACE })],
  nothing,
);
export const linkat = syscall(
  'linkat',
  { x64: 265, arm64: 37 },
  [dirfd, text, dirfd, text, flags({})],
  nothing,
);
export const flock = syscall('flock', { x64: 73, arm64: 32 }, [fd, flags(LOCK)], nothing);
export const mknodat = syscall('mknodat', { x64: 259, arm64: 33 }, [dirfd, text, int, int], nothing);
export const lseek = syscall('lseek', { x64: 8, arm64: 62 }, [fd, long, oneOf({ SEEK_END })], number);
export const read = syscall('read', { x64: 0, arm64: 63 }, [fd, memory(), long], number);
const writeCall = syscall('write', { x64: 1, arm64: 64 }, [fd, text, long], number);
export const ioctl = syscall('ioctl', { x64: 16, arm64: 29 }, [fd, long, long], newFd);
/** ioctl(2) of the loop driver: with a number, with the file to attach, with a structure. */
export const loopIoctl = syscall('ioctl', { x64: 16, arm64: 29 }, [fd, oneOf(LOOP), long], number);
export const loopIoctlFile = syscall('ioctl', { x64: 16, arm64: 29 }, [fd, oneOf(LOOP), fd], nothing);
export const loopIoctlStruct = syscall(
  'ioctl',
  { x64: 16, arm64: 29 },
  [fd, oneOf(LOOP), memory(showLoopStruct)],
  nothing,
);
/** ioctl(2) of a filesystem that is mounted, with a structure of its own (RESIZE). */
export const resizeIoctl = syscall('ioctl', { x64: 16, arm64: 29 }, [fd, oneOf(RESIZE), memory()], number);
const pipe2 = syscall('pipe2', { x64: 293, arm64: 59 }, [memory(), flags(O)], nothing);
const fstatfsCall = syscall('fstatfs', { x64: 138, arm64: 44 }, [fd, memory()], nothing);

// --- processes, for the short-lived child of a new user namespace (cloned-child.ts) ---
export const pidfdOpen = syscall('pidfd_open', 434, [int, int], newFd);
export const pidfdSendSignal = syscall('pidfd_send_signal', 424, [fd, int, memory(), int], nothing);
export const namespaceIoctl = syscall(
  'ioctl',
  { x64: 16, arm64: 29 },
  [fd, oneOf({ NS_GET_NSTYPE })],
  number,
);
export const waitid = syscall(
  'waitid',
  { x64: 247, arm64: 95 },
  [oneOf({ P_PIDFD }), fd, memory(), flags(WAIT), memory()],
  nothing,
);
export const rtSigprocmask = syscall(
  'rt_sigprocmask',
  { x64: 14, arm64: 135 },
  [int, memory(), memory(), long],
  nothing,
);
export const mmap = syscall(
  'mmap',
  { x64: 9, arm64: 222 },
  [address, long, flags(PROT), flags(MAP), int, long],
  pointer,
);
export const munmap = syscall('munmap', { x64: 11, arm64: 215 }, [address, long], nothing);
const prctlCall = syscall('prctl', { x64: 157, arm64: 167 }, [oneOf(PR), long, long, long, long], number);

// --- the user of a thread (filesystem-user.ts) ---
/** Both answer with the id that held before, whether or not they changed it. */
export const setfsuid = syscall('setfsuid', { x64: 122, arm64: 151 }, [long], number);
export const setfsgid = syscall('setfsgid', { x64: 123, arm64: 152 }, [long], number);
const capgetCall = syscall('capget', { x64: 125, arm64: 90 }, [memory(), memory()], nothing);
const capsetCall = syscall('capset', { x64: 126, arm64: 91 }, [memory(), memory()], nothing);

// --- programs run for the engine (mount/fuse/program.ts) ---
const ppollCall = syscall(
  'ppoll',
  { x64: 271, arm64: 73 },
  [memory(), long, memory(), memory(), long],
  number,
);
export const memfdCreate = syscall('memfd_create', { x64: 319, arm64: 279 }, [text, flags(MFD)], newFd);
/** fcntl(2) with F_ADD_SEALS. */
export const addSeals = syscall(
  'fcntl',
  { x64: 72, arm64: 25 },
  [fd, oneOf({ F_ADD_SEALS }), flags(F_SEAL)],
  nothing,
);
/** By which a file can be as large as no number of JavaScript is. */
export const ftruncate = syscall('ftruncate', { x64: 77, arm64: 46 }, [fd, size], nothing);
export const closeRange = syscall('close_range', 436, [long, long, flags({ CLOSE_RANGE_CLOEXEC })], nothing);

/** open_tree(2) of what an fd refers to, with attributes: an ID map takes the place of the one that is there (6.15). */
export function openTreeAttr(at: Fd, flag: number, attr: MountAttr): Fd {
  return openTreeAttrCall(at, '', flag | OPEN_TREE.AT_EMPTY_PATH, encodeMountAttr(attr), 32);
}

export function mountSetattr(at: Fd, flag: number, attr: MountAttr): void {
  mountSetattrCall(at, '', flag | MOUNT_SETATTR.AT_EMPTY_PATH, encodeMountAttr(attr), 32);
}

/** What `mask` (STATMOUNT) asks of a mount, into `into`: `struct statmount`. EOVERFLOW when it does not fit. */
export function statmount(mountId: bigint, mask: number, into: Buffer): void {
  statmountCall(encodeMountIdRequest({ mountId, param: BigInt(mask) }), into, into.length, 0);
}

/** Unique ids of the mounts that stand, directly or not, on this one, in the order of the ids, those after `after`. */
export function listmount(mountId: bigint, after: bigint, atMost: number): bigint[] {
  const ids = Buffer.alloc(atMost * 8);
  const count = listmountCall(encodeMountIdRequest({ mountId, param: after }), ids, atMost, 0);
  return Array.from({ length: count }, (_, i) => ids.readBigUInt64LE(i * 8));
}

const PATH_MAX = 4096;

/** openat(2) with close-on-exec: one component of a path, or for kernels without openat2(2). */
export function openat(at: Parameters<typeof openatCall>[0], path: string, flag: number, mode = 0): Fd {
  return openatCall(at, path, flag | O.O_CLOEXEC, mode);
}

/** write(2), once. */
export const write = (to: Fd, what: string): number => writeCall(to, what, Buffer.byteLength(what));

/** What a symbolic link says that is open itself (O_PATH|O_NOFOLLOW). */
export function readLink(link: Fd): string {
  const buffer = Buffer.alloc(PATH_MAX);
  return buffer.toString('utf8', 0, readlinkatCall(link, '', buffer, buffer.length));
}

export function openat2(at: Parameters<typeof openat2Call>[0], path: string, how: OpenHow): Fd {
  return openat2Call(at, path, encodeOpenHow(how), 24);
}

export function statx(at: Parameters<typeof statxCall>[0], path: string, flag: number, mask: number): Statx {
  statxCall(at, path, flag, mask, statxAnswer.buffer);
  return decodeStatx(statxAnswer.view);
}

const statxAnswer = memoryFor(STATX_SIZE);

/** The id, as mountinfo shows it, of the mount behind an fd. Asks no server. */
export function mountIdOf(at: Fd): bigint {
  return statx(at, '', STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC, STATX_MASK.STATX_MNT_ID).mountId;
}

/** prctl(2) on the calling thread; arguments that an option does not have must be 0. */
export const prctl = (option: number, argument: number): number => prctlCall(option, argument, 0, 0, 0);

/** Capabilities of this thread as the kernel gives them, for capset() alone. */
export function capget(): Buffer {
  const sets = Buffer.alloc(CAPABILITY_BYTES);
  capgetCall(encodeCapabilityHeader(), sets);
  return sets;
}

export function capset(sets: Buffer): void {
  capsetCall(encodeCapabilityHeader(), sets);
}

/** Waits until one of these has something, or the time is over (false); a signal ends it early (false). */
export function poll(entries: readonly PollEntry[], milliseconds: number): boolean {
  try {
    return (
      ppollCall(encodePollfds(entries), entries.length, encodeTimespec(Math.max(0, milliseconds)), null, 8) >
      0
    );
  } catch (error) {
    if (!hasErrno(error, 'EINTR')) throw error;
    return false;
  }
}

/** How the child behind a pidfd has ended, undefined while it lives. Leaves it to be reaped by its parent's runtime. */
export function exitOf(pidfd: Fd): Exit | undefined {
  const siginfo = Buffer.alloc(SIGINFO_SIZE);
  waitid(P_PIDFD, pidfd, siginfo, WAIT.WEXITED | WAIT.WNOHANG | WAIT.WNOWAIT, null);
  return decodeExit(siginfo);
}

export interface Pipe extends Disposable {
  readonly read: Fd;
  readonly write: Fd;
}

/** Both ends close-on-exec, and closed with it, those that were not before. */
export function pipe(): Pipe {
  const ends = Buffer.alloc(8);
  pipe2(ends, O.O_CLOEXEC);
  const [read, write] = [new Fd(ends.readInt32LE(0)), new Fd(ends.readInt32LE(4))];
  return {
    read,
    write,
    [Symbol.dispose]() {
      write[Symbol.dispose]();
      read[Symbol.dispose]();
    },
  };
}

/** Statistics of the filesystem behind an fd, O_PATH too. Asks its server, and hangs with it. */
export function fstatfs(at: Fd): Statfs {
  const buffer = Buffer.alloc(STATFS_SIZE);
  fstatfsCall(at, buffer);
  return decodeStatfs(buffer);
}

/** One value of fsconfig(2), by how it is passed. */
export type FsconfigValue =
  | { readonly by: 'flag'; readonly key: string }
  | { readonly by: 'string'; readonly key: string; readonly value: string }
  | { readonly by: 'fd'; readonly key: string; readonly value: Fd }
  | { readonly by: 'create' }
  | { readonly by: 'reconfigure' };

/**
 * fsconfig(2) on a filesystem context. A failure carries what the kernel says about it in words, which it
 * queues on the context and which tells more than any errno.
 */
export function fsconfig(context: Fd, value: FsconfigValue): void {
  try {
    fsconfigCall(context, ...fsconfigArguments(value));
  } catch (error) {
    throw error instanceof SyscallError ? withKernelMessage(error, context) : error;
  }
}

type FsconfigArguments = [command: number, key: string | null, value: string | null, aux: number];

function fsconfigArguments(value: FsconfigValue): FsconfigArguments {
  switch (value.by) {
    case 'flag':
      return [FSCONFIG.FSCONFIG_SET_FLAG, value.key, null, 0];
    case 'string':
      return [FSCONFIG.FSCONFIG_SET_STRING, value.key, value.value, 0];
    case 'fd':
      return [FSCONFIG.FSCONFIG_SET_FD, value.key, null, value.value.number];
    case 'create':
      return [FSCONFIG.FSCONFIG_CMD_CREATE, null, null, 0];
    case 'reconfigure':
      return [FSCONFIG.FSCONFIG_CMD_RECONFIGURE, null, null, 0];
  }
}

function withKernelMessage(error: SyscallError, context: Fd): SyscallError {
  const messages = kernelMessages(context);
  if (messages.length === 0) return error;
  return new SyscallError({
    syscall: error.syscall,
    args: error.args,
    errno: error.errno,
    kernelMessage: messages.join('; '),
  });
}

/** Reads the queue of a filesystem context: one message a read, `e text` (error), `w` (warning) or `i`. */
function kernelMessages(context: Fd): string[] {
  const messages: string[] = [];
  const buffer = Buffer.alloc(4096);
  for (;;) {
    let length: number;
    try {
      length = read(context, buffer, buffer.length);
    } catch {
      return messages; // ENODATA: the queue is empty.
    }
    if (length === 0) return messages;
    const message = buffer.toString('utf8', 0, length).trim();
    messages.push(message.startsWith('e ') ? message.slice(2) : message);
  }
}
