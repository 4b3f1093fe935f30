// What a policy has to know of the types of volumes before it can speak of their sources.
//
//   source is      types
//   a path         bind, image, filesystems on disks, any type that is not listed here
//   a server       NETWORK: no path of this node, whatever it looks like (`//server/share`)
//   nothing        tmpfs
//   up to it       FUSE: a path when it begins with `/`
//
// INTERFACES can never be a volume: through them one reads and changes the node itself.

/** Interfaces of the kernel, and ways to memory without a bound. */
export const INTERFACES: ReadonlySet<string> = new Set([
  ...['proc', 'sysfs', 'devtmpfs', 'devpts', 'cgroup', 'cgroup2', 'cpuset', 'resctrl', 'nsfs', 'pidfs'],
  ...['debugfs', 'tracefs', 'securityfs', 'selinuxfs', 'smackfs', 'apparmorfs', 'bpf', 'bpffs', 'configfs'],
  ...['efivarfs', 'pstore', 'binfmt_misc', 'fusectl', 'functionfs', 'gadgetfs', 'autofs', 'mqueue'],
  ...['hugetlbfs', 'ramfs', 'rootfs', 'nfsd', 'rpc_pipefs', 'xenfs', 'ibmasmfs', 'binder', 'anon_inodefs'],
  ...['sockfs', 'pipefs', 'bdev', 'dax', 'secretmem', 'guestmemfd', 'fuse', 'fuse3', 'fuseblk'],
]);

const NETWORK: ReadonlySet<string> = new Set([
  ...['nfs', 'nfs4', 'cifs', 'smb3', 'smbfs', 'ceph', '9p', 'afs', 'coda', 'orangefs', 'lustre', 'virtiofs'],
]);

export const isNetwork = (type: string): boolean => NETWORK.has(type);

/** Filesystems that nobody can write. */
const READ_ONLY: ReadonlySet<string> = new Set(['squashfs', 'erofs', 'iso9660', 'cramfs', 'romfs']);

export const isReadOnlyFilesystem = (filesystem: string): boolean => READ_ONLY.has(filesystem);

/** Whose superblock may say that an error stops the whole machine; the option outranks it (ext4(5), `errors`). */
const MAY_PANIC: ReadonlySet<string> = new Set(['ext2', 'ext3', 'ext4']);

export const mayPanic = (filesystem: string): boolean => MAY_PANIC.has(filesystem);

const KNOWN: ReadonlySet<string> = new Set([
  ...['bind', 'overlay', 'tmpfs', 'image', ...NETWORK, ...READ_ONLY, 'ext2', 'ext3', 'ext4', 'xfs', 'btrfs'],
  ...[
    'bcachefs',
    'exfat',
    'f2fs',
    'gfs2',
    'hfs',
    'hfsplus',
    'jfs',
    'nilfs2',
    'ntfs3',
    'ocfs2',
    'udf',
    'vfat',
  ],
]);

/** Whether `*` in a rule can mean it: a type that nobody here has thought of must be named. Helpers always are. */
export const isKnown = (type: string): boolean => KNOWN.has(type) || helperOf(type) !== undefined;

/** The helper that a type of a rule names, or its pattern; undefined for other types. */
export function helperOf(type: string): string | undefined {
  return /^fuse3?\.(.*)$/s.exec(type)?.[1];
}
