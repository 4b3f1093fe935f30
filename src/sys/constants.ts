// Flag sets of the system calls in syscalls.ts, by their kernel names. Each set holds every flag that one
// argument can take, so that the same table serves the caller (`OPEN_TREE.OPEN_TREE_CLONE`) and the
// rendering of a failed call. Values are from include/uapi/linux/{mount,fcntl,openat2,stat,sched}.h; those
// that differ between architectures (O_DIRECTORY, O_NOFOLLOW) are taken from Node.
import { constants } from 'node:fs';

export const AT_FDCWD = -100;

const AT = { AT_EMPTY_PATH: 0x1000, AT_SYMLINK_NOFOLLOW: 0x100, AT_NO_AUTOMOUNT: 0x800 } as const;

export const O = {
  O_WRONLY: constants.O_WRONLY,
  O_RDWR: constants.O_RDWR,
  O_CREAT: constants.O_CREAT,
  O_EXCL: constants.O_EXCL,
  O_DIRECTORY: constants.O_DIRECTORY,
  O_NOFOLLOW: constants.O_NOFOLLOW,
  O_NONBLOCK: constants.O_NONBLOCK,
  O_CLOEXEC: 0o2000000,
  /** A file without a name in a directory. */
  O_TMPFILE: 0o20000000 | constants.O_DIRECTORY,
  O_PATH: 0o10000000,
} as const;

/** openat2(2), `struct open_how`.resolve. */
export const RESOLVE = {
  RESOLVE_NO_XDEV: 0x01,
  RESOLVE_NO_MAGICLINKS: 0x02,
  RESOLVE_NO_SYMLINKS: 0x04,
  RESOLVE_BENEATH: 0x08,
  RESOLVE_IN_ROOT: 0x10,
} as const;

/** open_tree(2). AT_RECURSIVE is only meaningful here and in mount_setattr(2). */
export const OPEN_TREE = {
  ...AT,
  OPEN_TREE_CLONE: 0x1,
  OPEN_TREE_CLOEXEC: 0o2000000,
  AT_RECURSIVE: 0x8000,
} as const;

/** renameat2(2): fail rather than take the place of another file. */
export const RENAME_NOREPLACE = 1;

export const MOVE_MOUNT = { MOVE_MOUNT_F_EMPTY_PATH: 0x04, MOVE_MOUNT_T_EMPTY_PATH: 0x40 } as const;
export const MOUNT_SETATTR = { AT_EMPTY_PATH: AT.AT_EMPTY_PATH, AT_RECURSIVE: 0x8000 } as const;

/** mount_setattr(2) and fsmount(2): attributes of a mount, not of its filesystem. */
export const MOUNT_ATTR = {
  MOUNT_ATTR_RDONLY: 0x01,
  MOUNT_ATTR_NOSUID: 0x02,
  MOUNT_ATTR_NODEV: 0x04,
  MOUNT_ATTR_NOEXEC: 0x08,
  MOUNT_ATTR_NOATIME: 0x10,
  MOUNT_ATTR_STRICTATIME: 0x20,
  MOUNT_ATTR_NODIRATIME: 0x80,
  MOUNT_ATTR_IDMAP: 0x100000,
  MOUNT_ATTR_NOSYMFOLLOW: 0x200000,
} as const;

/**
 * The field in which the access time mode lives: it is a number, not a set of bits, so a change of it must
 * clear the whole field (mount_setattr(2), EINVAL otherwise). RELATIME is 0.
 */
export const MOUNT_ATTR__ATIME = 0x70;

/** `struct mount_attr`.propagation of mount_setattr(2), and the flags of mount(2). */
export const PROPAGATION = {
  MS_UNBINDABLE: 1 << 17,
  MS_PRIVATE: 1 << 18,
  MS_SLAVE: 1 << 19,
  MS_SHARED: 1 << 20,
} as const;

/** Flags of mount(2), for kernels or sandboxes without the calls above. */
export const MS = {
  MS_RDONLY: 1,
  MS_NOSUID: 2,
  MS_NODEV: 4,
  MS_NOEXEC: 8,
  MS_SYNCHRONOUS: 16,
  MS_REMOUNT: 32,
  MS_MANDLOCK: 64,
  MS_DIRSYNC: 128,
  MS_NOSYMFOLLOW: 256,
  MS_NOATIME: 1024,
  MS_NODIRATIME: 2048,
  MS_BIND: 4096,
  MS_REC: 16384,
  ...PROPAGATION,
  MS_RELATIME: 1 << 21,
  MS_STRICTATIME: 1 << 24,
  MS_LAZYTIME: 1 << 25,
} as const;

/** `f_flags` of statfs(2) that differ from the MS flag of the same name. */
export const ST = { ST_RELATIME: 4096, ST_NOSYMFOLLOW: 8192 } as const;

export const FSCONFIG = {
  FSCONFIG_SET_FLAG: 0,
  FSCONFIG_SET_STRING: 1,
  FSCONFIG_SET_FD: 5,
  FSCONFIG_CMD_CREATE: 6,
  FSCONFIG_CMD_RECONFIGURE: 7,
} as const;

/** fspick(2): a context of a superblock that is mounted already. */
export const FSPICK = { FSPICK_CLOEXEC: 0x1, FSPICK_EMPTY_PATH: 0x8 } as const;

export const UMOUNT = { MNT_FORCE: 1, MNT_DETACH: 2, UMOUNT_NOFOLLOW: 8 } as const;

/** statx(2): the sync flags say that cached attributes will do, so that a dead server is not asked. */
export const STATX = { ...AT, AT_STATX_DONT_SYNC: 0x4000 } as const;
export const STATX_MASK = {
  STATX_TYPE: 0x1,
  STATX_BASIC_STATS: 0x7ff,
  STATX_MNT_ID: 0x1000,
  STATX_MNT_ID_UNIQUE: 0x4000,
} as const;
export const STATX_ATTR_MOUNT_ROOT = 0x2000n;

/**
 * statmount(2): what is asked for, and what was answered. SB_SOURCE came with Linux 6.13, MNT_OPTS with 6.11, the
 * id maps with 6.15, the rest with the call itself (6.8).
 */
export const STATMOUNT = {
  STATMOUNT_SB_BASIC: 0x1,
  STATMOUNT_MNT_BASIC: 0x2,
  STATMOUNT_PROPAGATE_FROM: 0x4,
  STATMOUNT_MNT_ROOT: 0x8,
  STATMOUNT_MNT_POINT: 0x10,
  STATMOUNT_FS_TYPE: 0x20,
  STATMOUNT_MNT_OPTS: 0x80,
  STATMOUNT_FS_SUBTYPE: 0x100,
  STATMOUNT_SB_SOURCE: 0x200,
  STATMOUNT_OPT_SEC_ARRAY: 0x800,
  STATMOUNT_MNT_UIDMAP: 0x2000,
  STATMOUNT_MNT_GIDMAP: 0x4000,
} as const;

/** `f_flags` of statfs(2). */
export const ST_RDONLY = 1;

export const CLONE = {
  CLONE_VM: 0x100,
  CLONE_FS: 0x200,
  CLONE_PIDFD: 0x1000,
  CLONE_NEWNS: 0x20000,
  CLONE_NEWUSER: 0x10000000,
} as const;

export const P_PIDFD = 3;
export const WAIT = { WNOHANG: 0x1, WEXITED: 0x4, WNOWAIT: 0x1000000, __WALL: 0x40000000 } as const;

export const SIGKILL = 9;
export const SIGTERM = 15;
export const SIG_SETMASK = 2;

/** ioctl of a pidfd: a new fd of the process's user namespace (Linux 6.11, include/uapi/linux/pidfd.h). */
export const PIDFD_GET_USER_NAMESPACE = 0xff09;

/** ioctl of a namespace fd: its kind, as the CLONE flag that makes one (ioctl_ns(2)). */
export const NS_GET_NSTYPE = 0xb703;

export const PROT = { PROT_READ: 1, PROT_WRITE: 2 } as const;
export const MAP = { MAP_PRIVATE: 0x2, MAP_ANONYMOUS: 0x20, MAP_STACK: 0x20000 } as const;

/** prctl(2). */
export const PR = {
  PR_SET_PDEATHSIG: 1,
  PR_GET_DUMPABLE: 3,
  PR_SET_DUMPABLE: 4,
  PR_SET_CHILD_SUBREAPER: 36,
  PR_SET_NO_NEW_PRIVS: 38,
} as const;

/** flock(2). */
export const LOCK = { LOCK_EX: 2, LOCK_NB: 4 } as const;

/** ppoll(2). Of /proc/self/mountinfo, POLLPRI says that the mount table has changed since the last look (proc(5)). */
export const POLL = { POLLIN: 0x1, POLLPRI: 0x2, POLLERR: 0x8 } as const;

/** memfd_create(2), and the seals of fcntl(2). */
export const MFD = { MFD_CLOEXEC: 0x1, MFD_ALLOW_SEALING: 0x2 } as const;
export const F_ADD_SEALS = 1033;
export const F_SEAL = { F_SEAL_SEAL: 0x1, F_SEAL_SHRINK: 0x2, F_SEAL_GROW: 0x4 } as const;

/** close_range(2): set close-on-exec instead of closing (Linux 5.11). */
export const CLOSE_RANGE_CLOEXEC = 4;

/** ioctls of /dev/loop-control and of a loop device (include/uapi/linux/loop.h). */
export const LOOP = {
  LOOP_SET_FD: 0x4c00,
  LOOP_CLR_FD: 0x4c01,
  LOOP_SET_STATUS64: 0x4c04,
  LOOP_GET_STATUS64: 0x4c05,
  LOOP_SET_CAPACITY: 0x4c07,
  LOOP_SET_DIRECT_IO: 0x4c08,
  LOOP_SET_BLOCK_SIZE: 0x4c09,
  LOOP_CONFIGURE: 0x4c0a,
  LOOP_CTL_GET_FREE: 0x4c82,
} as const;

/** `lo_flags` of struct loop_info64. */
export const LO_FLAGS = { LO_FLAGS_READ_ONLY: 1, LO_FLAGS_AUTOCLEAR: 4, LO_FLAGS_DIRECT_IO: 16 } as const;

/** ioctls that make a mounted filesystem larger (fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h, linux/btrfs.h). */
export const RESIZE = {
  EXT4_IOC_RESIZE_FS: 0x40086610,
  XFS_IOC_FSGEOMETRY_V1: 0x80705864,
  XFS_IOC_FSGROWFSDATA: 0x4010586e,
  BTRFS_IOC_RESIZE: 0x50009403,
} as const;

/** A bit of the capability sets in /proc/self/status (capabilities(7)). */
export const CAP_SYS_RESOURCE = 24;

/** File types, as `stat` has them in the mode and mknod(2) takes them (inode(7)). */
export const S_IF = {
  S_IFMT: 0o170000,
  S_IFCHR: 0o020000,
  S_IFDIR: 0o040000,
  S_IFBLK: 0o060000,
  S_IFREG: 0o100000,
  S_IFLNK: 0o120000,
} as const;

export const SEEK_END = 2;
