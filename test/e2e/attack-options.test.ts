// Attacks by what a volume says beside its sources: options, in every place where one can stand, values with more in them
// than their keys are for, mappings, helpers and types.
import { existsSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import { type KEYS, MOUNTS_KEY } from '../../src/volume/keys.ts';
import { needRoot } from '../support/need.ts';
import { type AttackedNode, attackedNode, expectHeld } from './attack.ts';
import { theMountAt } from './kernel.ts';
import { PROPAGATION_WORDS } from './propagation-words.ts';
import { type Context, capability } from './volume.ts';

/** One of each type that can be had. */
const VOLUMES: Readonly<Record<string, (node: AttackedNode) => Context>> = {
  bind: (node) => ({ source: node.of('team-a', 'dir') }),
  tmpfs: () => ({ type: 'tmpfs' }),
  overlay: (node) => ({
    type: 'overlay',
    lowerdir: `${node.of('team-a', 'dir')}:${node.of('team-a', 'other')}`,
  }),
  'writable overlay': (node) => ({
    ...{ type: 'overlay', lowerdir: node.of('team-a', 'dir') },
    ...{ upperdir: node.of('team-a', 'upper'), workdir: node.of('team-a', 'work') },
  }),
  image: (node) => ({ type: 'image', source: node.of('team-a', 'image'), fsType: 'ext4' }),
  'image of any filesystem': (node) => ({ type: 'image', source: node.of('team-a', 'image') }),
  'filesystem on a disk': (node) => ({ type: 'xfs', source: node.of('team-a', 'image') }),
  'FUSE filesystem': (node) => ({ type: 'fuse.bindfs', source: node.of('team-a', 'dir') }),
  'FUSE filesystem of a server': () => ({ type: 'fuse.sshfs', source: 'files.example.com:/x' }),
};

const SMUGGLED: Readonly<Record<string, readonly string[]>> = {
  paths: [
    ...['lowerdir=/etc', 'lowerdir+=/etc', 'datadir+=/etc', 'upperdir=/etc', 'workdir=/etc', 'source=/etc'],
    ...['device=/dev/sda', 'journal_path=/dev/sda', 'journal_dev=0x801', 'logdev=/dev/sda', 'rtdev=/dev/sda'],
    ...['subvol=../..', 'usrjquota=../x', 'subdir=/etc', 'modules=subdir', 'fsname=/dev/sda', 'subtype=ext4'],
    ...[
      'config=/etc/shadow',
      'cache_dir=/etc',
      'log_file=/etc/cron.d/x',
      'passwd_file=/etc/shadow',
      'mirror=/etc',
    ],
  ],
  descriptors: ['fd=3', 'rfdno=0', 'wfdno=1', 'user_id=0', 'group_id=0', 'rootmode=40777', 'blkdev'],
  programs: [
    ...[
      'ssh_command=/bin/sh',
      'sftp_server=/bin/sh',
      'ProxyCommand=id',
      'proxycommand=id',
      'LocalCommand=id',
    ],
    ...['PermitLocalCommand=yes', 'KnownHostsCommand=/bin/sh', 'IdentityFile=/etc/ssh/key', 'setuid=root'],
    ...['drop_privileges', 'auto_unmount', 'password_stdin', 'passive', 'F=/etc/x', 'Include=/etc/x'],
  ],
  privileges: ['suid', 'dev', 'rsuid', 'rdev', 'symfollow', 'nosuid=0', 'allow_root', 'mode=4755', 'uid=-1'],
  propagation: PROPAGATION_WORDS,
  'what the engine knows': [
    ...[
      'bind',
      'rbind',
      'remount',
      'loop',
      'loop=/dev/loop0',
      'offset=512',
      'sizelimit=1',
      'direct-io',
      'rro',
    ],
    ...['uidmap=0:0:1', 'gidmap=0:0:1', 'rootuid=0', 'rootgid=0', 'idmapupper', 'mkdir=x', 'X-mount.mkdir'],
  ],
  'what overlayfs knows': [
    ...['userxattr', 'metacopy=on', 'redirect_dir=on', 'redirect_dir=follow', 'index=on', 'volatile'],
    ...['nfs_export=on', 'verity=require', 'override_creds', 'default_permissions=x'],
  ],
  'what harms the node': [
    'errors=panic',
    'fatal_errors=panic',
    'nr_inodes=0',
    'size=9m',
    'size=0',
    'size=90%',
  ],
  labels: ['context=x', 'fscontext=x', 'rootcontext=x', 'defcontext=x', 'smackfsroot=x', 'seclabel'],
  'other spellings': [
    ...['RO', 'ro=', ' ro', 'ro ', 'ro\0', 'ro\n', 'ro\u001b', '=', '=ro', '-o', '--', '-f', '\\', "'ro'"],
    ...[
      'low"erdir=/e"tc',
      '"noatime,suid"',
      'noatime\\,suid',
      'noatime\\054suid',
      'constructor',
      '__proto__',
    ],
    ...[
      'size=1m\\,suid',
      'size="1m,suid"',
      'size=1m;suid',
      'x'.repeat(5_000),
      'size='.concat('9'.repeat(300)),
    ],
  ],
};

/** `bind` is what a bind is; a tmpfs alone has sizes; helpers may show an owner. */
const HARMLESS: readonly (readonly [volume: string, option: string])[] = [['bind', 'bind']];
const isHarmless = (volume: string, option: string) =>
  HARMLESS.some(([title, one]) => title === volume && one === option);

describe('an attack by options', () => {
  let node: AttackedNode;
  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await attackedNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  for (const [title, contextOf] of Object.entries(VOLUMES)) {
    it(`of a ${title} is refused: in options, in mount flags and in mounts`, async () => {
      const context = contextOf(node);
      for (const [what, options] of Object.entries(SMUGGLED)) {
        for (const option of options.filter((one) => !isHarmless(title, one))) {
          const ways: readonly (() => Promise<void>)[] = [
            () => expectHeld(node, { ...context, options: option }),
            () => expectHeld(node, { ...context, options: `noatime,${option},noexec` }),
            () => expectHeld(node, context, { volumeCapability: capability('SINGLE_NODE_WRITER', [option]) }),
            () => expectHeld(node, inMounts({ ...context, options: [option] })),
            () => expectHeld(node, inMounts({ ...context, options: `noatime,${option}` })),
          ];
          for (const [i, attack] of ways.entries()) {
            await attack().catch((error) => {
              throw new Error(`${what}, way ${i}: ${JSON.stringify(option.slice(0, 50))}`, { cause: error });
            });
          }
        }
      }
    });
  }

  const inMounts = (...mounts: readonly object[]): Context => ({ mounts: JSON.stringify(mounts) });

  it('leaves what is had without suid and devices', async () => {
    await using volume = node.volume({ source: node.of('team-a', 'dir'), options: 'noatime,nosymfollow' });
    expect(await volume.publish()).to.include({ code: 'OK' });
    expect(theMountAt(volume.target).options).to.include.members([
      'nosuid',
      'nodev',
      'noatime',
      'nosymfollow',
    ]);
  });

  it('of mounts that are none is refused', async () => {
    const source = node.of('team-a', 'dir');
    const texts = [
      ...['', '[]', '{}', 'null', '1', '"x"', '[null]', '[[]]', '[1]', '[{}]', '[{"source":1}]', '[', '\0'],
      ...[JSON.stringify([{ source, sourc: '/etc' }]), JSON.stringify([{ source, type: 'proc' }])],
      ...[JSON.stringify([{ source, __proto__: 1 }]).replace('}', ',"__proto__":{"source":"/etc"}}')],
      ...[
        JSON.stringify([{ source, options: ['ro,suid'] }]),
        JSON.stringify([{ source, options: ['ro', 1] }]),
      ],
      ...[JSON.stringify([{ source, options: ['"suid"'] }]), JSON.stringify([{ source, idmap: 'pod' }])],
      ...[JSON.stringify([{ source, target: 'x' }]), JSON.stringify([{ source }, { source }])],
      ...[JSON.stringify(Array.from({ length: 65 }, (_, i) => ({ source, target: i === 0 ? '' : `${i}` })))],
      ...[JSON.stringify([{ source }, { type: 'mounts', target: 'x' }]), '['.repeat(10_000)],
      ...[JSON.stringify([{ source }, { type: 'tmpfs', target: 'x', options: 'size=9m' }])],
    ];
    for (const mounts of texts) {
      await expectHeld(node, { mounts }).catch((error) => {
        throw new Error(mounts.slice(0, 100), { cause: error });
      });
    }
    await expectHeld(node, { mounts: JSON.stringify([{ source }]), source: '/etc' });
  });
});

describe('an attack by the value of a key', () => {
  let node: AttackedNode;
  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await attackedNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  /** A volume in which the key means something, and a value that it could have. */
  const MEANINGFUL: { readonly [K in keyof typeof KEYS]: (node: AttackedNode) => Context } = {
    type: () => ({ type: 'tmpfs' }),
    source: (at) => ({ source: at.of('team-a', 'dir') }),
    options: () => ({ type: 'tmpfs', options: 'mode=0755' }),
    lowerdir: (at) => ({ type: 'overlay', lowerdir: at.of('team-a', 'dir') }),
    writable: (at) => ({ type: 'overlay', lowerdir: at.of('team-a', 'dir'), writable: 'no' }),
    upperdir: (at) => VOLUMES['writable overlay']?.(at) ?? {},
    workdir: (at) => VOLUMES['writable overlay']?.(at) ?? {},
    sizeLimit: () => ({ type: 'tmpfs', sizeLimit: '4Mi' }),
    idmap: () => ({ type: 'tmpfs', idmap: 'none' }),
    uidmap: () => ({ type: 'tmpfs', uidmap: '0:100000:1', gidmap: '0:100000:1' }),
    gidmap: () => ({ type: 'tmpfs', uidmap: '0:100000:1', gidmap: '0:100000:1' }),
    owner: () => ({ type: 'tmpfs', owner: '1000:1000' }),
    nestedDir: (at) => ({
      type: 'overlay',
      lowerdir: at.of('team-a', 'dir'),
      idmap: 'pod',
      nestedDir: 'data',
    }),
    fsType: (at) => ({ type: 'image', source: at.of('team-a', 'image'), fsType: 'ext4' }),
    mkfs: (at) => ({ type: 'image', source: at.of('team-a', 'image'), mkfs: 'true', size: '4Mi' }),
    size: (at) => ({ type: 'image', source: at.of('team-a', 'image'), mkfs: 'true', size: '4Mi' }),
  };

  /** More than the value that a key is for. */
  const MORE = [
    ...[
      ',suid',
      ',lowerdir=/etc',
      ',upperdir=/etc',
      ',dev',
      ':/etc',
      '::/etc',
      '\0',
      '\0,suid',
      '\n',
      '\nsuid',
    ],
    ...['\t', '\r\n', '\u001b[2J', '\u007f', '"', "'", '\\', '\\,suid', '$(id)', '`id`', ';id', '/../../etc'],
    ...['x'.repeat(5_000), ',x'.repeat(2_000), '=/etc', ' -o suid', '\u2028'],
  ];

  for (const [key, contextOf] of Object.entries(MEANINGFUL)) {
    it(`${key} is refused with more in it than that`, async () => {
      const context = contextOf(node);
      for (const more of MORE) {
        for (const value of [`${context[key]}${more}`, `${more}${context[key]}`, more]) {
          // An escape, of what needs none.
          if (key === 'lowerdir' && value.startsWith('\\/')) continue;
          await expectHeld(node, { ...context, [key]: value }).catch((error) => {
            throw new Error(JSON.stringify(value.slice(0, 100)), { cause: error });
          });
        }
      }
      expect(existsSync(node.of('team-a', 'image'))).to.equal(false);
      expect(readdirSync(node.of('team-a', 'upper'))).to.deep.equal([]);
    });
  }

  it('that does not exist is refused, however it looks', async () => {
    const keys = [
      '',
      ' ',
      'Source',
      'source ',
      'source\0',
      'source\n',
      'constructor',
      'toString',
      'csi',
      'fs',
    ];
    for (const key of [...keys, 'x'.repeat(5_000), 'lowerdir+', `${MOUNTS_KEY.name}[0]`, 'options[0]']) {
      await expectHeld(node, { type: 'tmpfs', [key]: '/etc' });
    }
  });

  const EXTENTS = Array.from({ length: 330 }, (_, i) => `${2 * i}:${100_000 + i}:1`).join(',');
  const maps: Readonly<Record<string, readonly string[]>> = {
    'of 4 KiB': [EXTENTS, EXTENTS.concat(',', EXTENTS), `0:100000:1${',1:100001:1'.repeat(400)}`],
    'of ids that are not theirs': [
      '0:0:1',
      '0:0:65536',
      '0:0:4294967295',
      '0:99999:2',
      '0:165535:2',
      '65536:100000:1',
    ],
    'that are none': [
      '',
      '0',
      '0:1',
      '0:1:2:3',
      'a:b:c',
      '0:100000:0',
      '0:-1:1',
      '-1:100000:1',
      '0:100000:1,',
      ',',
      '0x0:100000:1',
    ],
    'of ids that there are not': [
      '0:4294967295:1',
      '4294967295:100000:1',
      '0:100000:4294967296',
      '9'.repeat(400),
    ],
    'that map twice': ['0:100000:2,1:100005:1', '0:100000:2,5:100001:1', '0:100000:1,0:100001:1'],
  };
  for (const [what, texts] of Object.entries(maps)) {
    it(`that maps ids, ${what}, is refused`, async () => {
      for (const text of texts) {
        const [uidmap, gidmap] = [text, '0:100000:1'];
        const one = { type: 'tmpfs', uidmap, gidmap };
        for (const context of [one, { type: 'tmpfs', uidmap: gidmap, gidmap: uidmap }]) {
          await expectHeld(node, context).catch((error) => {
            throw new Error(text.slice(0, 50), { cause: error });
          });
        }
        await expectHeld(node, { mounts: JSON.stringify([one]) });
      }
    });
  }

  it('owner with ids that are not theirs is refused', async () => {
    for (const owner of [
      '0',
      '0:0',
      '999',
      '2000',
      '1000:0',
      '100000',
      '4294967295',
      '1000:1000:1000',
      '-1',
      '',
    ]) {
      const isTheirs = owner === '100000';
      await expectHeld(node, { type: 'tmpfs', owner: isTheirs ? '65536' : owner });
    }
  });

  it('type that runs another program, or shows the node, is refused', async () => {
    const helpers = [
      'sh',
      '/bin/sh',
      '../sh',
      '../../bin/sh',
      'bash',
      'python3',
      'mount',
      'fusermount3',
      '',
      '.',
      '..',
    ];
    const more = [
      'bindfs/../sh',
      'bindfs\0',
      'bindfs\n',
      'bindfs ',
      '-f',
      '--help',
      'bindfs,sh',
      'x'.repeat(300),
    ];
    const types = [...helpers, ...more].flatMap((helper) => [`fuse.${helper}`, `fuse3.${helper}`]);
    const kernel = [
      ...[
        'proc',
        'sysfs',
        'devtmpfs',
        'devpts',
        'cgroup',
        'cgroup2',
        'debugfs',
        'tracefs',
        'securityfs',
        'bpf',
      ],
      ...['configfs', 'efivarfs', 'pstore', 'binfmt_misc', 'mqueue', 'hugetlbfs', 'ramfs', 'autofs', 'nfsd'],
      ...[
        'fuse',
        'fuseblk',
        'fusectl',
        'nsfs',
        'rootfs',
        'none',
        'rbind',
        'auto',
        'mounts',
        'selinuxfs',
        'nothing',
      ],
    ];
    const source = node.of('team-a', 'dir');
    for (const type of [...types, ...kernel, 'PROC', 'proc ', 'proc\0', 'tmpfs,proc', '../proc', '/bin/sh']) {
      for (const context of [{ type, source }, { mounts: JSON.stringify([{ type, source }]) }]) {
        await expectHeld(node, context).catch((error) => {
          throw new Error(JSON.stringify(type.slice(0, 50)), { cause: error });
        });
      }
    }
  });

  it('source that is no path is refused, but for the servers of the policy', async () => {
    const sources = [
      ...['other.example.com:/x', 'files.example.com', 'files-example.com:/x', '-oProxyCommand=id', '--help'],
      ...[
        'files.example.com:/x\n',
        'files.example.com:/x\0',
        'root@files.example.com:/x',
        ' files.example.com:/x',
      ],
    ];
    for (const source of sources) await expectHeld(node, { type: 'fuse.sshfs', source });
    for (const source of ['dir', 'volumes/team-b', 'etc', 'etc/shadow']) {
      await expectHeld(node, { type: 'fuse.bindfs', source });
      await expectHeld(node, { type: 'ext4', source });
      await expectHeld(node, { type: 'image', source });
    }
    for (const type of ['nfs', 'cifs', 'ceph', 'virtiofs']) {
      for (const source of ['localhost:/', '//localhost/x', '/etc', 'tag'])
        await expectHeld(node, { type, source });
    }
  });

  it('csi.storage.k8s.io/... gives nobody more', async () => {
    const keys = ['csi.storage.k8s.io/source', 'csi.storage.k8s.io/type', 'storage.kubernetes.io/lowerdir'];
    for (const key of keys) await expectHeld(node, { source: '/etc', [key]: '/etc' });
  });
});

describe('an attack by number', () => {
  it('a map of a megabyte is refused, and the driver lives', async function () {
    needRoot(this, 'the plugin mounts');
    await using node = await attackedNode();
    const long = 'x'.repeat(2 ** 20);
    for (const context of [
      { type: 'tmpfs', options: long },
      { source: `/${long}` },
      { type: 'tmpfs', [long]: 'x' },
    ]) {
      await expectHeld(node, context);
    }
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`key-${i}`, 'x']));
    await expectHeld(node, { type: 'tmpfs', ...many });
    await using volume = node.volume({ type: 'tmpfs' });
    expect(await volume.publish()).to.include({ code: 'OK' });
  });
});
