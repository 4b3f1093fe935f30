// Which mount options a volume may carry whoever its author is, by name and value pattern, per type. A rule can add to
// them (`options`, `helpers`), but not what forbidden-options.ts has.
import type { AllowedOptions, Pattern } from './policy.ts';

const pattern = (text: string): Pattern => ({ text, regex: new RegExp(`^(?:${text})$`) });

const plain = (...names: string[]): [string, undefined][] => names.map((name) => [name, undefined]);
const valued = (values: Readonly<Record<string, string>>): [string, Pattern][] =>
  Object.entries(values).map(([name, value]) => [name, pattern(value)]);

/** What every volume may say. */
export const ALWAYS: AllowedOptions = new Map([
  ...plain('defaults', 'ro', 'rw', 'nosuid', 'nodev', 'noexec', 'nosymfollow'),
  ...plain('atime', 'noatime', 'diratime', 'nodiratime', 'relatime', 'strictatime'),
]);

const ID = '\\d{1,10}';
const MASK = '[0-7]{3,4}';
const DOS = [...valued({ uid: ID, gid: ID, umask: MASK, fmask: MASK, dmask: MASK }), ...plain('utf8')];
const EXT = [
  ...valued({ errors: 'continue|remount-ro', data: 'ordered|journal|writeback', commit: '\\d{1,4}' }),
  ...valued({ barrier: '[01]' }),
  ...plain('discard', 'nodiscard', 'noload', 'norecovery', 'acl', 'noacl', 'user_xattr', 'nouser_xattr'),
];
const NFS = [
  ...valued({ vers: '[34](\\.[0-2])?', nfsvers: '[34](\\.[0-2])?', minorversion: '[0-2]' }),
  ...valued({ proto: 'tcp6?', port: '\\d{1,5}', sec: 'sys|krb5[ip]?', nconnect: '\\d{1,2}' }),
  ...valued({ timeo: '\\d{1,5}', retrans: '\\d{1,3}', rsize: '\\d{1,7}', wsize: '\\d{1,7}' }),
  ...valued({ actimeo: '\\d{1,6}', acregmin: '\\d{1,6}', acregmax: '\\d{1,6}' }),
  ...valued({ acdirmin: '\\d{1,6}', acdirmax: '\\d{1,6}', lookupcache: 'all|none|pos(itive)?' }),
  ...valued({ local_lock: 'all|flock|posix|none' }),
  ...plain('hard', 'soft', 'softerr', 'ac', 'noac', 'cto', 'nocto', 'lock', 'nolock', 'acl', 'noacl'),
  ...plain('resvport', 'noresvport', 'rdirplus', 'nordirplus'),
];

/** By type as its author names it, by the filesystem of an image, and `fuse` for all helpers. */
const BASE: ReadonlyMap<string, AllowedOptions> = new Map(
  Object.entries({
    // Not rbind: flags would hold for the top of the tree alone.
    bind: plain('bind'),
    tmpfs: [
      ...valued({ size: '\\d{1,15}[kKmMgG%]?', nr_inodes: '[1-9]\\d{0,14}[kKmMgG]?' }),
      ...valued({ mode: '[01]?[0-7]{3}', uid: ID, gid: ID, huge: 'never|always|within_size|advise' }),
      ...plain('noswap'),
    ],
    overlay: [...valued({ xino: 'on|off|auto', uuid: 'on|off|auto|null' }), ...plain('sync', 'async')],
    ext2: EXT,
    ext3: EXT,
    ext4: EXT,
    xfs: plain('nouuid', 'norecovery', 'discard', 'nodiscard', 'inode64', 'inode32', 'largeio', 'nolargeio'),
    btrfs: [
      ...valued({ compress: '(zlib|zstd)(:\\d{1,2})?|lzo|no|none', discard: 'sync|async' }),
      ...plain('nodiscard', 'autodefrag', 'noautodefrag'),
    ],
    f2fs: plain('discard', 'nodiscard'),
    vfat: DOS,
    exfat: DOS,
    ntfs3: DOS,
    erofs: [
      ...valued({ cache_strategy: 'disabled|readahead|readaround' }),
      ...plain('user_xattr', 'nouser_xattr', 'acl', 'noacl'),
    ],
    nfs: NFS,
    nfs4: NFS,
    fuse: [
      ...plain('allow_other', 'default_permissions'),
      ...valued({ max_read: '\\d{1,8}', uid: ID, gid: ID, umask: MASK }),
    ],
  } satisfies Record<string, [string, Pattern | undefined][]>).map(([type, options]) => [
    type,
    new Map<string, Pattern | undefined>(options),
  ]),
);

/** @param types a type as its author names it, and the filesystem of an image */
export function baseOptions(types: readonly string[]): readonly AllowedOptions[] {
  return [ALWAYS, ...types.flatMap((type) => BASE.get(type) ?? [])];
}

/** Options of overlay that are allowed by the trust in its layers alone. */
export const OVERLAY_TRUSTING: AllowedOptions = new Map([
  ...valued({ metacopy: 'on|off', redirect_dir: 'on|off|follow|nofollow', index: 'on|off' }),
  ...plain('volatile', 'userxattr'),
]);
