// With which errno a call may fail, of those that a node in trouble gives (man pages, section ERRORS). A call that is not in
// the table may fail with any: who adds one to src/sys need not know of this file.
export const ERRNOS = ['EBUSY', 'ENOSPC', 'ENOMEM', 'EPERM', 'EINVAL', 'EIO', 'EMFILE', 'EINTR'] as const;
export type Errno = (typeof ERRNOS)[number];

const NEVER: readonly Errno[] = [];
/** What is asked of an inode, or of a mount. */
const ASKING: readonly Errno[] = ['ENOMEM', 'EPERM', 'EINVAL', 'EIO'];
const READING: readonly Errno[] = ['ENOMEM', 'EINVAL', 'EIO', 'EINTR'];
const NAMES: readonly Errno[] = ['EBUSY', 'ENOSPC', 'ENOMEM', 'EPERM', 'EINVAL', 'EIO'];
const CHANGING: readonly Errno[] = ['ENOSPC', 'ENOMEM', 'EPERM', 'EINVAL', 'EIO', 'EINTR'];

const TABLE: Readonly<Record<string, readonly Errno[]>> = {
  // They fail for mistakes of the caller alone.
  rt_sigprocmask: NEVER,
  munmap: NEVER,
  setfsuid: NEVER,
  setfsgid: NEVER,
  capget: NEVER,
  chdir: ['ENOMEM', 'EPERM', 'EIO'],
  fchdir: ['ENOMEM', 'EPERM', 'EIO'],
  // The descriptor is gone whatever close(2) says.
  closeSync: NEVER,
  // It answers no, and does not fail.
  existsSync: NEVER,
  capset: ['EPERM'],
  prctl: ['EPERM', 'EINVAL'],
  waitid: ['EINTR'],
  ppoll: ['ENOMEM', 'EINTR'],
  pidfd_send_signal: ['EPERM'],
  pidfd_open: ['ENOMEM', 'EMFILE', 'EINVAL'],
  clone: ['ENOSPC', 'ENOMEM', 'EPERM', 'EINVAL', 'EMFILE'],
  unshare: ['ENOSPC', 'ENOMEM', 'EPERM', 'EINVAL'],
  mmap: ['ENOMEM', 'EPERM'],
  memfd_create: ['ENOMEM', 'EMFILE', 'EINVAL', 'EPERM'],
  fcntl: ['EBUSY', 'EPERM', 'EINVAL'],
  close_range: ['ENOMEM', 'EMFILE', 'EINVAL'],
  pipe2: ['ENOMEM', 'EMFILE'],
  flock: ['ENOMEM', 'EINVAL', 'EINTR'],
  lseek: ['EINVAL', 'EIO'],
  statx: ASKING,
  fstatfs: ASKING,
  statmount: ASKING,
  listmount: ASKING,
  readlinkat: ASKING,
  statSync: ASKING,
  lstatSync: ASKING,
  fstatSync: ASKING,
  stat: ASKING,
  lstat: ASKING,
  readlinkSync: ASKING,
  readlink: ASKING,
  realpathSync: ASKING,
  realpath: ASKING,
  accessSync: ASKING,
  access: ASKING,
  read: READING,
  readSync: READING,
  readFileSync: [...READING, 'EMFILE', 'EPERM'],
  readdirSync: [...READING, 'EMFILE', 'EPERM'],
  writeSync: CHANGING,
  writeFile: CHANGING,
  write: CHANGING,
  sync: ['ENOSPC', 'EIO'],
  ftruncateSync: CHANGING,
  fchownSync: CHANGING,
  fchmodSync: CHANGING,
  mkdirat: NAMES,
  mknodat: NAMES,
  unlinkat: NAMES,
  symlinkat: NAMES,
  renameat2: NAMES,
  linkat: NAMES,
  mkdir: NAMES,
  rename: NAMES,
  rm: NAMES,
  spawn: ['ENOMEM', 'EPERM', 'EMFILE', 'EINVAL'],
};

export const errnosOf = (call: string): readonly Errno[] => TABLE[call] ?? ERRNOS;
