// The plans of FUSE helpers: their command lines, and everything that could become a flag.
import { expect } from 'chai';
import { MountError } from '../../../../src/mount/errors.ts';
import { escapeOption, helperArguments, mountFuseArguments } from '../../../../src/mount/fuse/command.ts';
import { connectionName } from '../../../../src/mount/fuse/connection.ts';
import { isFuse } from '../../../../src/mount/fuse/mounts.ts';
import { kernelWith } from '../../../../src/mount/kernel.ts';
import type { Mount } from '../../../../src/mount/mount.ts';
import { describeStep, plan } from '../../../../src/mount/plan.ts';
import { FEATURES, type FeatureName } from '../../../../src/sys/features.ts';

const NEWEST = kernelWith(Object.keys(FEATURES) as FeatureName[]);
const CLASSIC = kernelWith([]);

const bindfs = (...options: string[]): Mount => ({ type: 'fuse.bindfs', source: '/data', options });
const shown = (mount: Mount, kernel = NEWEST) => plan(mount, kernel).map(describeStep);
const starts = (command: string) => `${command}; wait until target is FUSE and answers`;

interface Row {
  readonly title: string;
  readonly mount: Mount;
  readonly kernel?: typeof NEWEST;
  readonly steps: readonly string[];
}

const NOTE = 'note what is mounted at target';
const OPEN = 'mount = the mount at target';
const VERIFY = 'verify that target shows mount';

const rows: readonly Row[] = [
  { title: 'no options', mount: bindfs(), steps: [NOTE, starts('bindfs /data target'), OPEN, VERIFY] },
  {
    title: 'a helper without a source',
    mount: { type: 'fuse3.fuse-overlayfs', source: '', options: ['lowerdir=/a:/b'] },
    steps: [NOTE, starts('fuse-overlayfs target -o lowerdir=/a:/b'), OPEN, VERIFY],
  },
  {
    title: 'attributes that libfuse knows go to the helper, and all are ensured',
    mount: bindfs('ro', 'nosuid', 'nodev', 'noexec', 'noatime', 'nosymfollow', 'nodiratime'),
    steps: [
      NOTE,
      starts('bindfs /data target -o ro -o nosuid -o nodev -o noexec -o noatime'),
      OPEN,
      'ensure that mount has MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC|' +
        'MOUNT_ATTR_NOATIME|MOUNT_ATTR_NODIRATIME|MOUNT_ATTR_NOSYMFOLLOW, and not MOUNT_ATTR_STRICTATIME|0x40',
      VERIFY,
    ],
  },
  {
    title: 'what is allowed is said to the helper too, against its defaults',
    mount: bindfs('suid', 'dev', 'rw', 'exec'),
    steps: [
      NOTE,
      starts('bindfs /data target -o rw -o suid -o dev -o exec'),
      OPEN,
      'ensure that mount has 0, and not MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC',
      VERIFY,
    ],
  },
  {
    title: 'attributes of the tree are those of its one mount, the later one winning',
    mount: bindfs('rro', 'rnosuid', 'suid'),
    steps: [
      NOTE,
      starts('bindfs /data target -o ro -o suid'),
      OPEN,
      'ensure that mount has MOUNT_ATTR_RDONLY, and not MOUNT_ATTR_NOSUID',
      VERIFY,
    ],
  },
  {
    title: 'options of its own keep their order, and their commas',
    mount: bindfs('map=1/2', 'fsname=a,b c', 'sync', 'x=a\\,b'),
    steps: [
      NOTE,
      starts('bindfs /data target -o sync -o map=1/2 -o "fsname=a\\\\,b c" -o "x=a\\\\,b"'),
      OPEN,
      VERIFY,
    ],
  },
  {
    title: 'propagation',
    mount: bindfs('rshared'),
    steps: [
      NOTE,
      starts('bindfs /data target'),
      OPEN,
      'mount_setattr(mount, AT_RECURSIVE, MS_SHARED)',
      VERIFY,
    ],
  },
  {
    title: 'ID-mapped: a mapped copy takes the place of what the helper mounted',
    mount: bindfs('ro', 'uidmap=0:1:2', 'gidmap=0:1:2'),
    steps: [
      NOTE,
      starts('bindfs /data target -o ro'),
      'mount = open_tree(target, OPEN_TREE_CLONE)',
      'userns = user namespace {uid 0:1:2, gid 0:1:2}',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY, userns userns)',
      'umount(target), of which mount is a copy',
      'move_mount(mount, target)',
      VERIFY,
    ],
  },
  {
    title: 'by mount(2)',
    mount: bindfs('ro', 'private'),
    kernel: CLASSIC,
    steps: [
      NOTE,
      starts('bindfs /data target -o ro'),
      OPEN,
      'mount(target, MS_REMOUNT|MS_BIND, set MS_RDONLY, clear 0)',
      'mount(target, MS_PRIVATE)',
      VERIFY,
    ],
  },
];

const refusals: readonly [title: string, mount: Mount, reason: string, says: string][] = [
  ['a type without a helper', { ...bindfs(), type: 'fuse' }, 'invalid-mount', 'name the helper'],
  ['an empty name', { ...bindfs(), type: 'fuse.' }, 'invalid-mount', 'name the helper'],
  ['fuseblk', { ...bindfs(), type: 'fuseblk.ntfs' }, 'invalid-mount', 'name the helper'],
  ['a path as a name', { ...bindfs(), type: 'fuse.../../bin/sh' }, 'invalid-mount', 'name the helper'],
  ['a shell word as a name', { ...bindfs(), type: 'fuse.a;b' }, 'invalid-mount', 'name the helper'],
  ['a name like a flag', { ...bindfs(), type: 'fuse.-x' }, 'invalid-mount', 'name the helper'],
  ['a source like a flag', { ...bindfs(), source: '-f' }, 'invalid-mount', 'take it for a flag'],
  ['a NUL in the source', { ...bindfs(), source: '/a\0b' }, 'invalid-mount', 'take it for a flag'],
  ['an option like a flag', bindfs('-f'), 'invalid-mount', 'take it for a flag'],
  ['an option like a flag, in octal', bindfs('\\055f'), 'invalid-mount', 'take it for a flag'],
  [
    'an ID map where the calls are missing',
    bindfs('uidmap=0:1:2', 'gidmap=0:1:2'),
    'kernel-unsupported',
    'need',
  ],
];

describe('plans of FUSE helpers', () => {
  for (const { title, mount, kernel, steps } of rows) {
    it(title, () => expect(shown(mount, kernel)).to.deep.equal(steps));
  }

  for (const [title, mount, reason, says] of refusals) {
    it(`refuses ${title}`, () => {
      expect(() => plan(mount, reason === 'kernel-unsupported' ? CLASSIC : NEWEST))
        .to.throw(MountError, says)
        .with.property('reason', reason);
    });
  }
});

describe('command lines of FUSE helpers', () => {
  const helper = { name: 'bindfs', flavour: 'fuse', source: '/data', options: ['ro', 'x=1'] } as const;

  it('give source, target, and each option as an argument of its own', () => {
    expect(helperArguments(helper, '/mnt')).to.deep.equal(['/data', '/mnt', '-o', 'ro', '-o', 'x=1']);
  });

  it('through mount.fuse name the helper, and do not allow what was not asked for', () => {
    expect(mountFuseArguments(helper, '/mnt').join(' ')).to.equal(
      '/data /mnt -t bindfs -o nosuid -o nodev -o ro -o x=1',
    );
    expect(mountFuseArguments({ ...helper, options: ['suid', 'nodev'] }, '/mnt').join(' ')).to.equal(
      '/data /mnt -t bindfs -o suid -o nodev',
    );
  });

  it('through mount.fuse have no commas, where it would split', () => {
    const options = ['fsname=a\\,setuid=root'];
    expect(() => mountFuseArguments({ ...helper, options }, '/mnt')).to.throw(MountError, 'comma');
  });

  const escapes: readonly [given: string, passed: string][] = [
    ['x=1', 'x=1'],
    ['x=a,b', 'x=a\\,b'],
    ['x=a\\,b', 'x=a\\,b'],
    ['x=a\\\\,b', 'x=a\\\\\\,b'],
    ['x=a\\', 'x=a\\\\'],
    ['x=a b:c', 'x=a b:c'],
  ];
  for (const [given, passed] of escapes) {
    it(`pass ${given} as ${passed}`, () => expect(escapeOption(given)).to.equal(passed));
  }
});

describe('FUSE in mountinfo', () => {
  const types: readonly [type: string, is: boolean][] = [
    ['fuse', true],
    ['fuse.bindfs', true],
    ['fuseblk', true],
    ['fuseblk.ntfs', true],
    ['fusectl', false],
    ['ext4', false],
  ];
  for (const [type, is] of types) {
    it(`${type} is ${is ? '' : 'not '}FUSE`, () => expect(isFuse({ type })).to.equal(is));
  }

  it('names a connection as the kernel does', () => {
    expect(connectionName('0:39')).to.equal('39');
    expect(connectionName('7:3')).to.equal(String(7 * 1048576 + 3));
  });
});
