// Which options a volume may carry: the whole list per type, and that nothing else gets through.
import { expect } from 'chai';
import fc from 'fast-check';
import { OPTION_TABLE, parseOptions } from '../../../src/mount/options.ts';
import { optionProblem } from '../../../src/policy/options.ts';

const TYPES = ['bind', 'tmpfs', 'overlay'] as const;
type Type = (typeof TYPES)[number];

const COMMON = [
  ...['defaults', 'ro', 'rw', 'nosuid', 'nodev', 'noexec', 'exec', 'nosymfollow'],
  ...['atime', 'noatime', 'diratime', 'nodiratime', 'relatime', 'strictatime'],
];

/** Options by type, of which every one is allowed. */
const ALLOWED: Readonly<Record<Type, readonly string[]>> = {
  bind: [...COMMON, 'bind'],
  tmpfs: [
    ...COMMON,
    ...['size=0', 'size=64', 'size=64k', 'size=64M', 'size=1g', 'size=50%', 'nr_inodes=1k'],
    ...[
      'mode=755',
      'mode=0755',
      'mode=1777',
      'uid=0',
      'gid=4294967294',
      'huge=never',
      'huge=within_size',
      'noswap',
    ],
  ],
  overlay: [...COMMON, 'sync', 'async', 'xino=on', 'xino=auto', 'uuid=null'],
};

const REFUSED: Readonly<Record<Type, readonly string[]>> = {
  bind: ['rbind', 'size=1m', 'sync', 'lazytime', 'xino=on', 'mode=0755'],
  tmpfs: [
    ...['size', 'size=', 'size=1T', 'size=-1', 'size=1m,suid', 'size=1m\n', 'size=1e3', 'size=0x10'],
    ...[
      'mode=4755',
      'mode=2755',
      'mode=888',
      'mode=75',
      'uid=-1',
      'uid=root',
      'huge=yes',
      'noswap=1',
      'mpol=bind:0',
    ],
    ...['bind', 'rbind', 'sync'],
  ],
  overlay: [
    'xino=maybe',
    'xino',
    'lowerdir=/etc',
    'upperdir=/u',
    'workdir=/w',
    'bind',
    'size=1m',
    'index=on',
  ],
};

/** What the kernel or the engine would act on, and no volume may ask for. */
const NEVER = [
  ...['suid', 'dev', 'symfollow', 'shared', 'rshared', 'private', 'slave', 'unbindable', 'remount', 'loop'],
  ...['uidmap=0:0:1', 'gidmap=0:0:1', 'context=x', 'fscontext=x', 'source=/etc', 'fd=3', 'lowerdir+=/etc'],
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

describe('the options that a volume may carry', () => {
  for (const type of TYPES) {
    for (const option of ALLOWED[type]) {
      it(`${type}: ${option}`, () => expect(optionProblem(type, option)).to.equal(undefined));
    }

    it(`${type}: not ${[...REFUSED[type], ...NEVER].length} others`, () => {
      for (const option of [...REFUSED[type], ...NEVER]) {
        expect(optionProblem(type, option), JSON.stringify(option)).to.be.a('string').that.contains('option');
      }
    });

    it(`${type}: of the options that the engine knows, only those of the list`, () => {
      const passed = OPTION_TABLE.map(({ name }) => name).filter(
        (name) => optionProblem(type, name) === undefined,
      );
      expect(passed.toSorted()).to.deep.equal(
        OPTION_TABLE.map(({ name }) => name)
          .filter((name) => ALLOWED[type].includes(name))
          .toSorted(),
      );
    });
  }

  it('what passes changes no propagation and maps no ids, whatever it is', () => {
    const known = Object.values(ALLOWED).flat();
    const option = fc.oneof(
      fc.constantFrom(...known, ...NEVER, ...OPTION_TABLE.map(({ name }) => name)),
      fc
        .tuple(fc.constantFrom('size', 'mode', 'uid', 'xino', 'uidmap', 'lowerdir'), fc.string())
        .map((pair) => pair.join('=')),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.constantFrom(...TYPES), fc.array(option), (type, options) => {
        const passed = options.filter((candidate) => optionProblem(type, candidate) === undefined);
        const { propagation, idmap, data } = parseOptions(passed);
        expect({ propagation, idmap }).to.deep.equal({ propagation: undefined, idmap: undefined });
        for (const one of data) expect(one).to.match(/^[a-z_]+(=[\w%]+)?$/);
      }),
    );
  });

  it('a refusal names the option, the type and what is allowed', () => {
    expect(optionProblem('bind', 'suid')).to.equal(
      `option "suid" is not allowed for type bind; allowed are ${ALLOWED.bind.join(', ')}`,
    );
    expect(optionProblem('tmpfs', 'size=x')).to.match(/^option "size=x": the value must match /);
    expect(optionProblem('tmpfs', 'ro=1')).to.equal('option ro takes no value');
  });
});
