// The keys of a volume context (`volumeAttributes`): one row each says which kinds of volume take it, how its value is
// read and what it means. docs/volume-context.md and the JSON schema of the examples are made from it. A new key is a
// new row, and a line in context.ts that uses it.
import {
  oneOf,
  type Parse,
  parseBoolean,
  parseLayers,
  parseMapping,
  parseName,
  parseOptionList,
  parseOwner,
  parsePath,
  parseQuantity,
  parseSource,
} from './parse.ts';
import { parseType } from './type.ts';
import type { VolumeKind } from './volume.ts';

type SingleKind = Exclude<VolumeKind, 'mounts'>;

interface KeyRow<T> {
  readonly kinds: readonly SingleKind[];
  readonly required: readonly SingleKind[];
  /** One sentence for the reference. */
  readonly meaning: string;
  readonly example: string;
  /** What the text looks like, as a regular expression: for the schema of the examples. */
  readonly pattern: string;
  /** @throws VolumeError */
  readonly parse: Parse<T>;
}

const row = <T>(is: KeyRow<T>): KeyRow<T> => is;

const ALL = ['bind', 'tmpfs', 'overlay', 'image', 'filesystem', 'fuse'] as const;
const PATH = '^/';
const MAPPING = '^\\d+:\\d+:\\d+(,\\d+:\\d+:\\d+)*$';
const QUANTITY = '^\\d+(\\.\\d+)?([eE]\\d+|Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$';

export const KEYS = {
  type: row({
    kinds: ALL,
    required: [],
    meaning:
      'What the volume is: `bind` (the default), `overlay`, `tmpfs`, `image`, `fuse.HELPER`, `fuse3.HELPER`, or a filesystem of the kernel that policy allows (`ext4`, `xfs`, `nfs`, ...).',
    example: 'overlay',
    pattern: '^(fuse3?\\.[A-Za-z0-9_][A-Za-z0-9._+-]*|[a-z][a-z0-9_]*)$',
    parse: parseType,
  }),
  source: row({
    kinds: ['bind', 'image', 'filesystem', 'fuse'],
    required: ['bind', 'image', 'filesystem', 'fuse'],
    meaning:
      'What the volume shows: a directory of the node (`bind`; one file of it by `subPath`), an image file or block device (`image`), a device or server (filesystems), whatever the helper takes (`fuse.HELPER`).',
    example: '/srv/data',
    pattern: '.',
    parse: parseSource,
  }),
  lowerdir: row({
    kinds: ['overlay'],
    required: ['overlay'],
    meaning: 'Read-only layers, top first, separated by `:`; `\\:` stands for a colon in a path.',
    example: '/srv/model/tuned:/srv/model/base',
    pattern: PATH,
    parse: parseLayers,
  }),
  writable: row({
    kinds: ['overlay'],
    required: [],
    meaning:
      '`no` (the default without `upperdir`); `ephemeral`: each pod gets a writable layer of its own that goes with it; `persistent` (the default with `upperdir`): what is written stays in `upperdir`.',
    example: 'ephemeral',
    pattern: '^(no|ephemeral|persistent)$',
    parse: oneOf('no', 'ephemeral', 'persistent'),
  }),
  upperdir: row({
    kinds: ['overlay'],
    required: [],
    meaning: 'Directory that receives what is written. Belongs to one volume only.',
    example: '/srv/scratch/team-a/upper',
    pattern: PATH,
    parse: parsePath,
  }),
  workdir: row({
    kinds: ['overlay'],
    required: [],
    meaning: 'Empty directory on the mount of `upperdir`, for the kernel; required with it.',
    example: '/srv/scratch/team-a/work',
    pattern: PATH,
    parse: parsePath,
  }),
  sizeLimit: row({
    kinds: ['tmpfs', 'overlay'],
    required: [],
    meaning:
      'Most bytes that a tmpfs, or an ephemeral writable layer, can hold, as a Kubernetes quantity. A layer with a limit is an ext4 image of that size.',
    example: '64Mi',
    pattern: QUANTITY,
    parse: parseQuantity,
  }),
  options: row({
    kinds: ALL,
    required: [],
    meaning:
      'Mount options, separated by commas as in fstab(5); which ones are allowed, policy says by type.',
    example: 'noatime,mode=0750',
    pattern: '.',
    parse: parseOptionList,
  }),
  idmap: row({
    kinds: ALL,
    required: [],
    meaning:
      "`none` (the default), or `pod`: the ids of the pod's own user namespace (`hostUsers: false`), see docs/user-namespaces.md.",
    example: 'pod',
    pattern: '^(none|pod)$',
    parse: oneOf('none', 'pod'),
  }),
  uidmap: row({
    kinds: ALL,
    required: [],
    meaning: 'User ids as `onDisk:shown:count[,...]`; needs `gidmap` too.',
    example: '0:100000:65536',
    pattern: MAPPING,
    parse: parseMapping,
  }),
  gidmap: row({
    kinds: ALL,
    required: [],
    meaning: 'Group ids as `onDisk:shown:count[,...]`; needs `uidmap` too.',
    example: '0:100000:65536',
    pattern: MAPPING,
    parse: parseMapping,
  }),
  owner: row({
    kinds: ALL,
    required: [],
    meaning:
      "`uid[:gid]`: files of the owner of the source's root are shown as this one's, and the reverse; all others as they are. In constant time.",
    example: '1000:1000',
    pattern: '^\\d+(:\\d+)?$',
    parse: parseOwner,
  }),
  nestedDir: row({
    kinds: ['overlay', 'fuse'],
    required: [],
    meaning:
      'With `idmap: pod`: name of the directory below the mountPath where the volume appears, on nodes that cannot show it directly (default `data`).',
    example: 'data',
    pattern: '^[A-Za-z0-9_][A-Za-z0-9._-]*$',
    parse: parseName,
  }),
  fsType: row({
    kinds: ['image'],
    required: [],
    meaning: 'Filesystem in the image; `auto` (the default) finds it out.',
    example: 'ext4',
    pattern: '^[a-z][a-z0-9]*$',
    parse: oneOf(
      'auto',
      'ext4',
      'xfs',
      'btrfs',
      'squashfs',
      'erofs',
      'ext2',
      'ext3',
      'vfat',
      'exfat',
      'iso9660',
      'udf',
    ),
  }),
  mkfs: row({
    kinds: ['image'],
    required: [],
    meaning:
      '`true`: make the image when it is missing, sparse, with a filesystem of `fsType` (ext4 by default, xfs, btrfs) and the size `size`.',
    example: 'true',
    pattern: '^(true|false)$',
    parse: parseBoolean,
  }),
  size: row({
    kinds: ['image'],
    required: [],
    meaning: 'Size of an image that is to be made, as a Kubernetes quantity; required with `mkfs: "true"`.',
    example: '10Gi',
    pattern: QUANTITY,
    parse: parseQuantity,
  }),
};

export type Key = keyof typeof KEYS;
export type KeyValue<K extends Key> = ReturnType<(typeof KEYS)[K]['parse']>;

/** The key that excludes the others: parts.ts of this room reads its value. */
export const MOUNTS_KEY = {
  name: 'mounts',
  meaning:
    "A JSON array of mounts, for what the keys cannot say: each an object with the keys above (but `writable: ephemeral`, `sizeLimit`, `idmap`, `owner`, `nestedDir`, `mkfs` and `size`), and `target`, a directory below the volume's root, which must be there (below a root of type `tmpfs` it is made). The first one is the root. Excludes all other keys.",
  example: '[{"source":"/srv/a"},{"source":"/srv/b","target":"b"}]',
} as const;
