// Which options a volume may carry: the whole list per type, and that nothing else gets through, whatever a rule adds.
import { expect } from 'chai';
import fc from 'fast-check';
import { OPTION_TABLE, parseOptions } from '../../../src/mount/options.ts';
import { authorize } from '../../../src/policy/authorize.ts';
import { DEFAULT_POLICY } from '../../../src/policy/default.ts';
import { FORBIDDEN_NAMES, forbidden } from '../../../src/policy/forbidden-options.ts';
import { type Policy, PolicyError } from '../../../src/policy/policy.ts';
import { readPolicy } from '../../../src/policy/read.ts';
import type { PartVolume } from '../../../src/volume/volume.ts';
import { cases } from '../../support/cases.ts';
import { bind, filesystem, fuse, image, NO_FACTS, overlay, STAGED, tmpfs } from './volumes.ts';

const COMMON = [
  ...['defaults', 'ro', 'rw', 'nosuid', 'nodev', 'noexec', 'exec', 'nosymfollow'],
  ...['atime', 'noatime', 'diratime', 'nodiratime', 'relatime', 'strictatime'],
];

type With = (options: readonly string[]) => PartVolume;
interface Row {
  readonly volume: With;
  readonly allowed: readonly string[];
  readonly refused: readonly string[];
}

const ROWS: Readonly<Record<string, Row>> = {
  bind: {
    volume: (options) => bind('/srv', { ...STAGED, options }),
    allowed: [...COMMON, 'bind'],
    refused: ['rbind', 'size=1m', 'sync', 'lazytime', 'xino=on', 'mode=0755', 'context=a:b:c:s0'],
  },
  tmpfs: {
    volume: (options) => tmpfs({ ...STAGED, options }),
    allowed: [
      ...COMMON,
      ...['size=0', 'size=64', 'size=64k', 'size=64M', 'size=1g', 'size=50%', 'nr_inodes=1k', 'mode=755'],
      ...['mode=0755', 'mode=1777', 'uid=0', 'gid=4294967294', 'huge=never', 'huge=within_size', 'noswap'],
    ],
    refused: [
      ...['size', 'size=', 'size=1T', 'size=-1', 'size=1m,suid', 'size=1m\n', 'size=1e3', 'size=0x10'],
      ...['nr_inodes=0', 'mode=4755', 'mode=2755', 'mode=888', 'mode=75', 'uid=-1', 'uid=root', 'huge=yes'],
      ...['noswap=1', 'mpol=bind:0', 'bind', 'rbind', 'sync'],
    ],
  },
  overlay: {
    volume: (options) => overlay(['/srv/b', '/srv/a'], { ...STAGED, options }),
    allowed: [...COMMON, 'sync', 'async', 'xino=on', 'xino=auto', 'uuid=null'],
    refused: [
      ...['xino=maybe', 'xino', 'lowerdir=/etc', 'upperdir=/u', 'workdir=/w', 'bind', 'size=1m', 'index=on'],
      ...['metacopy=on', 'metacopy=off', 'redirect_dir=on', 'volatile', 'userxattr', 'nfs_export=on'],
    ],
  },
  'ext4 image': {
    volume: (options) => image('/srv/i', { ...STAGED, filesystem: 'ext4', options }),
    allowed: [...COMMON, 'errors=remount-ro', 'data=ordered', 'commit=30', 'noload', 'discard'],
    refused: [
      ...[
        'errors=panic',
        'journal_path=/dev/sdb',
        'journal_dev=8:1',
        'usrjquota=x',
        'loop',
        'loop=/dev/loop1',
      ],
      ...['offset=4096', 'sizelimit=1', 'direct-io', 'jqfmt=vfsv1', 'test_dummy_encryption', 'inode64'],
    ],
  },
  'an image whose filesystem is not named': {
    volume: (options) => image('/srv/i', { ...STAGED, filesystem: 'auto', options }),
    allowed: COMMON,
    refused: [
      'errors=remount-ro',
      'nouuid',
      'subvol=x',
      'device=/dev/sdb',
      'logdev=/dev/sdb',
      'rtdev=/dev/sdb',
    ],
  },
  nfs: {
    volume: (options) => filesystem('nfs', 'files:/x', { ...STAGED, options }),
    allowed: [...COMMON, 'vers=4.2', 'nolock', 'sec=krb5p', 'addr=10.0.0.1'],
    refused: ['vers=5', 'addr=other', 'mountaddr=10.0.0.1', 'sec=none', 'fsc', 'context=x'],
  },
  'fuse.bindfs': {
    volume: (options) => fuse('bindfs', '/srv', { ...STAGED, options }),
    allowed: [...COMMON, 'allow_other', 'default_permissions', 'umask=0022', 'uid=7'],
    refused: [
      ...['fd=3', 'user_id=0', 'rootmode=40755', 'modules=subdir', 'subdir=/etc', 'fsname=x', 'subtype=x'],
      ...['setuid=root', 'drop_privileges', 'auto_unmount', 'allow_root', 'mirror=root', 'ssh_command=sh'],
      ...['umask=9', 'allow_other=1', 'debug', '-f', '-o', '--help'],
    ],
  },
};

/** What the kernel, the engine or a program would act on, and no volume may ask for. */
const NEVER = [
  ...[
    'suid',
    'dev',
    'symfollow',
    'shared',
    'rshared',
    'private',
    'slave',
    'unbindable',
    'unpeered',
    'remount',
    'move',
  ],
  ...['uidmap=0:0:1', 'gidmap=0:0:1', 'rootuid=0', 'rootgid=0', 'idmapupper', 'mkdir=x', 'loop', 'context=x'],
  ...['fscontext=x', 'source=/etc', 'fd=3', 'lowerdir+=/etc', 'X-mount.mkdir', 'x-mount.subdir=/etc'],
  ...[
    '',
    '=',
    'ro=1',
    'ro=',
    ' ro',
    'ro ',
    'RO',
    'ro,suid',
    'ro\0',
    'ro\n',
    'constructor',
    '__proto__',
    'toString',
  ],
];

function problemOf(volume: PartVolume, policy: Policy = DEFAULT_POLICY): string | undefined {
  try {
    authorize(policy, volume, NO_FACTS);
    return undefined;
  } catch (error) {
    if (error instanceof PolicyError) return error.message;
    throw error;
  }
}

/** As much as any rule can allow: every name that can be listed, with and without any value. */
const NAMES = [
  ...[
    'stripe',
    'dax',
    'usrquota',
    'barrier',
    'mpol',
    'reconnect',
    'url',
    'cache',
    'iocharset',
    'sync',
    'dirsync',
  ],
  ...['x', 'constructor', 'toString', 'lazytime'],
];
const GENEROUS = readPolicy(
  JSON.stringify({
    version: 1,
    rules: [true, '[^]*'].map((value) => {
      const options = Object.fromEntries(NAMES.map((name) => [name, value]));
      const types = ['bind', 'tmpfs', 'overlay', 'image', 'ext4', 'nfs'];
      return {
        class: 'persistent',
        types: ['*'],
        fsTypes: ['*'],
        roots: [{ path: '/srv', access: 'read-write' }],
        sources: { nfs: ['.*'] },
        options: Object.fromEntries(types.map((type) => [type, options])),
        helpers: { bindfs: { options } },
      };
    }),
  }),
);

describe('the options that a volume may carry', () => {
  for (const [what, { volume, allowed, refused }] of Object.entries(ROWS)) {
    for (const option of allowed) {
      it(`${what}: ${option}`, () => expect(problemOf(volume([option]))).to.equal(undefined));
    }

    it(`${what}: not ${[...refused, ...NEVER].length} others`, () => {
      for (const option of [...refused, ...NEVER]) {
        expect(problemOf(volume([option])), JSON.stringify(option)).to.match(/^option "/);
      }
    });

    it(`${what}: not one among others, wherever it stands`, () => {
      expect(problemOf(volume(['noatime', 'lowerdir=/etc', 'ro']))).to.match(/^option "lowerdir=\/etc"/);
      expect(problemOf(volume(['noatime', 'ro', 'shared']))).to.match(/^option "shared"/);
    });

    it(`${what}: of the options that the engine knows, only those of the list`, () => {
      const known = OPTION_TABLE.map(({ name }) => name);
      const passed = known.filter((name) => problemOf(volume([name])) === undefined);
      expect(passed.toSorted()).to.deep.equal(known.filter((name) => allowed.includes(name)).toSorted());
    });
  }

  it('a refusal names the option, the type, the rule and what is allowed', () => {
    expect(problemOf(bind('/srv', { ...STAGED, options: ['stripe=16'] }))).to.equal(
      `option "stripe=16" is not allowed for type bind; administrators (rules[0]) allows ${[...COMMON.filter((name) => name !== 'exec'), 'bind'].join(', ')}`,
    );
    expect(problemOf(tmpfs({ ...STAGED, options: ['size=x'] }))).to.match(
      /must have a value that matches \\d/,
    );
    expect(problemOf(tmpfs({ ...STAGED, options: ['ro=1'] }))).to.match(/takes no value$/);
    expect(problemOf(tmpfs({ ...STAGED, options: ['size'] }))).to.match(/needs a value that matches/);
  });

  describe('whatever a rule adds', () => {
    const anyVolume = fc.constantFrom(...Object.values(ROWS).map(({ volume }) => volume));
    const name = fc.oneof(
      fc.constantFrom(...NAMES, ...FORBIDDEN_NAMES, ...OPTION_TABLE.map((row) => row.name), ...COMMON),
      fc.constantFrom(...FORBIDDEN_NAMES).map((text) => text.toUpperCase()),
      fc.string(),
    );
    const value = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom(
        '/etc',
        '../etc',
        'etc/x',
        'panic',
        'a,suid',
        'a\\054suid',
        '"a,b"',
        'x\ny',
        'x'.repeat(300),
      ),
      fc.constantFrom('https://host/x', 'http:///etc', 'https://host/../x', 'file:///etc', '1', 'on'),
    );
    const option = fc.oneof(
      name,
      fc.tuple(name, value).map((pair) => pair.join('=')),
    );
    const harmless = (text: string) => COMMON.includes(text) || /^(bind|xino|uid|gid|umask|size)/.test(text);

    it('nothing passes that is forbidden, no path, no second option and nothing that stops the node', () => {
      fc.assert(
        fc.property(anyVolume, option, (volume, text) => {
          if (problemOf(volume([text]), GENEROUS) !== undefined) return;
          const [key = '', ...rest] = text.split('=');
          const given = rest.join('=');
          if (!harmless(text)) expect(forbidden(key), text).to.equal(undefined);
          expect(given.replace(/^https?:\/\/\w[/\w.]*$/, ''), text).to.match(/^[^/\\,"'\p{Cc}]*$/u);
          expect(given.toLowerCase(), text).to.not.equal('panic');
          const { propagation, idmap, loop, remount, bind: bound } = parseOptions([text]);
          expect({ propagation, idmap, loop, remount }, text).to.deep.equal({
            ...{ propagation: undefined, idmap: undefined, loop: undefined, remount: false },
          });
          if (text !== 'bind') expect(bound).to.equal(undefined);
        }),
        { numRuns: cases(3_000) },
      );
    });

    it('what it adds passes', () => {
      for (const text of [
        'stripe',
        'stripe=16',
        'url=https://host/bucket',
        'dirsync',
        'constructor',
        'toString=1',
      ]) {
        expect(problemOf(tmpfs({ ...STAGED, options: [text] }), GENEROUS), text).to.equal(undefined);
      }
    });
  });
});
