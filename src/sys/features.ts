// What the engine wants of a kernel: one row a feature, with how it is found out, since which kernel it exists,
// what needs it and what happens without. Feeds `doctor` and docs/kernel-features.md. Found out by trying, never
// from the version: distributions backport, and seccomp takes away.
import { cloneChild } from './cloned-child.ts';
import {
  AT_FDCWD,
  LOOP,
  MOUNT_ATTR,
  O,
  OPEN_TREE,
  PIDFD_GET_USER_NAMESPACE,
  RESOLVE,
  STATMOUNT,
  STATX_MASK,
} from './constants.ts';
import { type ErrnoName, hasErrno } from './errors.ts';
import type { Fd } from './fd.ts';
import { encodeLoopConfig } from './loop-structs.ts';
import {
  fsconfig,
  fsmount,
  fsopen,
  ioctl,
  listmount,
  loopIoctl,
  loopIoctlStruct,
  mountSetattr,
  moveMount,
  openat,
  openat2,
  openTree,
  openTreeAttr,
  pidfdOpen,
  statmount,
  statx,
  unshare,
} from './syscalls.ts';

export interface FeatureRow {
  /** Linux version in which it appeared. */
  readonly since: string;
  readonly neededFor: string;
  /** What is done without it, and what that loses. */
  readonly without: string;
  /** Without it there is no ID mapping, which is what volumes are for. */
  readonly essential: boolean;
  /** How `probe` finds out, for people. */
  readonly how: string;
  /** Throws when the kernel lacks it, or when it cannot be asked (EPERM). */
  readonly probe: () => void;
}

export const FEATURES = {
  'open-tree': {
    since: '5.2',
    neededFor: 'bind mounts that are complete before they are visible; every ID mapping',
    without: 'mount(2): a bind is seen for a moment without its flags; no ID mapping',
    essential: true,
    how: 'open_tree("/", OPEN_TREE_CLONE), thrown away',
    probe: () => {
      using _tree = cloneOfRoot();
    },
  },
  'move-mount': {
    since: '5.2',
    neededFor: 'attaching what was prepared out of sight',
    without: 'mount(2), as without open-tree',
    essential: true,
    how: 'move_mount() of an empty path, which must be refused as such',
    probe: () => expectRefusal(() => moveMount(AT_FDCWD, '', AT_FDCWD, '', 0), 'ENOENT', 'EINVAL'),
  },
  fsopen: {
    since: '5.2',
    neededFor: 'new filesystems, with the kernel’s own words when it refuses',
    without: 'mount(2): an errno and no words',
    essential: false,
    how: 'fsopen("tmpfs"), thrown away',
    probe: () => {
      using _context = fsopen('tmpfs', 1);
    },
  },
  'mount-setattr': {
    since: '5.12',
    neededFor: 'ro, nosuid, nodev, noexec, atime and propagation; ID mapping',
    without: 'mount(2), whose flags cannot be set for a whole tree; no ID mapping',
    essential: true,
    how: 'mount_setattr() of a throwaway clone of /',
    probe: () => {
      using tree = cloneOfRoot();
      const set = MOUNT_ATTR.MOUNT_ATTR_RDONLY;
      mountSetattr(tree, 0, { set, clear: 0, propagation: 0, usernsFd: 0 });
    },
  },
  'open-tree-attr': {
    since: '6.15',
    neededFor: 'an ID map on a source that has one already',
    without: 'such a source is refused',
    essential: false,
    how: 'open_tree_attr() of a throwaway clone of /',
    probe: () => {
      using tree = cloneOfRoot();
      const set = MOUNT_ATTR.MOUNT_ATTR_RDONLY;
      const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC;
      using _copy = openTreeAttr(tree, flags, { set, clear: 0, propagation: 0, usernsFd: 0 });
    },
  },
  openat2: {
    since: '5.6',
    neededFor: 'targets and sources that cannot be led astray by symbolic links',
    without: 'paths are walked component by component, as safely but more slowly',
    essential: false,
    how: 'openat2("/", RESOLVE_BENEATH)',
    probe: () => {
      using root = openat2(AT_FDCWD, '/', { flags: O.O_PATH | O.O_CLOEXEC, mode: 0, resolve: 0 });
      const how = { flags: O.O_PATH | O.O_CLOEXEC, mode: 0, resolve: RESOLVE.RESOLVE_BENEATH };
      using _below = openat2(root, '.', how);
    },
  },
  'overlay-layers-by-fd': {
    since: '6.15',
    neededFor: 'overlays of any number of layers with paths of any length',
    without: 'layers are put under short names in a private mount namespace; a little slower',
    essential: false,
    how: 'fsconfig(FSCONFIG_SET_FD, "lowerdir+") of a detached clone of /',
    probe: () => {
      using tree = cloneOfRoot();
      using context = fsopen('overlay', 1);
      fsconfig(context, { by: 'fd', key: 'lowerdir+', value: tree });
    },
  },
  'private-namespace': {
    since: '5.2',
    neededFor:
      'overlays with ID-mapped or many layers where they cannot be given by fd, unseen on the host; mapped upper layers (idmapupper)',
    without:
      'ID-mapped layers are mounted for a moment in a temporary directory of the host; no mapped upper layers',
    essential: false,
    how: 'unshare(0), and open_tree() and move_mount() as above',
    probe: () => {
      unshare(0);
      using _tree = cloneOfRoot();
      expectRefusal(() => moveMount(AT_FDCWD, '', AT_FDCWD, '', 0), 'ENOENT', 'EINVAL');
    },
  },
  'loop-configure': {
    since: '5.8',
    neededFor: 'images on loop devices that no crash leaves behind',
    without: 'they are set up step by step; a crash in between leaves a device attached',
    essential: false,
    how: 'ioctl(LOOP_CONFIGURE) of a free loop device with no file, which must be refused as such',
    probe: () => {
      using control = openat(AT_FDCWD, '/dev/loop-control', O.O_RDWR | O.O_CLOEXEC, 0);
      const path = `/dev/loop${loopIoctl(control, LOOP.LOOP_CTL_GET_FREE, 0)}`;
      using device = openat(AT_FDCWD, path, O.O_CLOEXEC, 0);
      const nothing = { offset: 0, sizeLimit: 0, flags: 0, fileName: '' };
      const call = () => loopIoctlStruct(device, LOOP.LOOP_CONFIGURE, encodeLoopConfig(-1, 0, nothing));
      expectRefusal(call, 'EBADF');
    },
  },
  'erofs-from-file': {
    since: '6.12',
    neededFor: 'erofs images without a loop device',
    without:
      'they get a loop device, as they do on tmpfs and overlay everywhere; by mount(2) with the option loop only',
    essential: false,
    how: 'an erofs mount of an empty file on a ramfs, which is no erofs but must be read to say so',
    probe: () => {
      // Not any file will do: neither overlay nor tmpfs have what erofs reads through (read_folio).
      using ramfs = fsopen('ramfs', 1);
      fsconfig(ramfs, { by: 'create' });
      using mount = fsmount(ramfs, 1, 0);
      using file = openat(mount, 'empty', O.O_CREAT | O.O_RDWR | O.O_CLOEXEC, 0o600);
      using context = fsopen('erofs', 1);
      fsconfig(context, { by: 'string', key: 'source', value: `/proc/self/fd/${file.number}` });
      // EINVAL: no erofs magic number; ENOTBLK, where only block devices will do.
      expectRefusal(() => fsconfig(context, { by: 'create' }), 'EINVAL');
    },
  },
  pidfd: {
    since: '5.3',
    neededFor: 'user namespaces of ID-mapped mounts, safe against reuse of process ids',
    without: 'no ID mapping',
    essential: true,
    how: 'pidfd_open() of this process',
    probe: () => {
      using _self = pidfdOpen(process.pid, 0);
    },
  },
  'clone-pidfd': {
    since: '5.2',
    neededFor: 'user namespaces without starting a program',
    without: 'unshare(1) is started for each: some milliseconds, and a program that must be there',
    essential: false,
    how: 'clone(CLONE_VM|CLONE_PIDFD) of a child that does nothing, through the C library',
    probe: () => {
      using _child = cloneChild(0);
    },
  },
  'pidfd-user-namespace': {
    since: '6.11',
    neededFor: 'taking a namespace from the pidfd itself',
    without: 'it is opened below /proc, and the process proved alive afterwards',
    essential: false,
    how: 'ioctl(pidfd, PIDFD_GET_USER_NAMESPACE) of this process',
    probe: () => {
      using self = pidfdOpen(process.pid, 0);
      using _namespace = ioctl(self, PIDFD_GET_USER_NAMESPACE, 0);
    },
  },
  statmount: {
    since: '6.13',
    neededFor: 'which mount is at a path, at a cost that does not grow with the number of mounts',
    without: '/proc/self/mountinfo is read, all of it, and id maps are not shown',
    essential: false,
    how: 'statmount() of /, which must tell the options and the source (the call alone is of 6.8)',
    probe: () => {
      const answer = Buffer.alloc(64 * 1024);
      const wanted = STATMOUNT.STATMOUNT_MNT_OPTS | STATMOUNT.STATMOUNT_SB_SOURCE;
      statmount(idOfRoot(), wanted, answer);
      if ((answer.readBigUInt64LE(8) & BigInt(STATMOUNT.STATMOUNT_SB_SOURCE)) === 0n) {
        throw new Error('statmount() does not tell the source of a mount');
      }
    },
  },
  listmount: {
    since: '6.8',
    neededFor: 'which mounts stand on a mount',
    without: '/proc/self/mountinfo is read, all of it',
    essential: false,
    how: 'listmount() of /',
    probe: () => void listmount(idOfRoot(), 0n, 1),
  },
} as const satisfies Readonly<Record<string, FeatureRow>>;

export type FeatureName = keyof typeof FEATURES;

/** @throws Error saying which there are */
export function featureNamed(name: string): FeatureName {
  const names = Object.keys(FEATURES) as FeatureName[];
  const known = names.find((feature) => feature === name);
  if (known === undefined) throw new Error(`the features are ${names.join(', ')}`);
  return known;
}

export type Availability =
  | { readonly here: 'yes' }
  | { readonly here: 'no' | 'unknown'; readonly because: string }
  /** The node was in trouble when it was tried: to be asked again. */
  | { readonly here: 'not-now'; readonly because: string };

/** What a kernel does not say of a call that it lacks. */
const TROUBLE: readonly ErrnoName[] = ['ENOMEM', 'EMFILE', 'ENFILE', 'EAGAIN', 'ENOSPC', 'EINTR', 'EIO'];

/** `unknown` where this process may not ask: run it as root. */
export function probeFeature(name: FeatureName): Availability {
  try {
    FEATURES[name].probe();
    return { here: 'yes' };
  } catch (error) {
    const because = error instanceof Error ? error.message : String(error);
    if (hasErrno(error, ...TROUBLE)) return { here: 'not-now', because };
    return { here: hasErrno(error, 'EPERM', 'EACCES') ? 'unknown' : 'no', because };
  }
}

function cloneOfRoot(): Fd {
  const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC;
  try {
    return openTree(AT_FDCWD, '/', flags);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL')) throw error;
    // In a user namespace the mounts below may be locked to it (mount_namespaces(7)).
    return openTree(AT_FDCWD, '/', flags | OPEN_TREE.AT_RECURSIVE);
  }
}

/** 0 where the kernel has no unique ids, which is an id that no mount has. */
function idOfRoot(): bigint {
  return statx(AT_FDCWD, '/', 0, STATX_MASK.STATX_MNT_ID_UNIQUE).mountId;
}

/** The call exists when it complains about its arguments. */
function expectRefusal(call: () => void, ...codes: ErrnoName[]): void {
  try {
    call();
  } catch (error) {
    if (!hasErrno(error, ...codes)) throw error;
  }
}
