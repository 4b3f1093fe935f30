// fstab-style options: what each means, and how a string of them is split.
import { expect } from 'chai';
import fc from 'fast-check';
import { MountError } from '../../../src/mount/errors.ts';
import {
  keyAndValue,
  OPTION_TABLE,
  type ParsedOptions,
  type Propagation,
  parseOptions,
  splitOptions,
} from '../../../src/mount/options.ts';
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, PROPAGATION } from '../../../src/sys/constants.ts';

const NOTHING: ParsedOptions = {
  mount: { set: 0, clear: 0 },
  recursive: { set: 0, clear: 0 },
  superblock: [],
  propagation: undefined,
  bind: undefined,
  loop: undefined,
  remount: false,
  idmap: undefined,
  directories: [],
  data: [],
};

const {
  MOUNT_ATTR_RDONLY: RDONLY,
  MOUNT_ATTR_NOSUID: NOSUID,
  MOUNT_ATTR_NODEV: NODEV,
  MOUNT_ATTR_NOEXEC: NOEXEC,
  MOUNT_ATTR_NODIRATIME: NODIRATIME,
  MOUNT_ATTR_NOSYMFOLLOW: NOSYMFOLLOW,
  MOUNT_ATTR_NOATIME: NOATIME,
  MOUNT_ATTR_STRICTATIME: STRICTATIME,
} = MOUNT_ATTR;
const ATIME = MOUNT_ATTR__ATIME;

/** What mount(8) and mount_setattr(2) say of each, said again. */
const ATTRIBUTES: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  ro: [RDONLY, 0],
  rw: [0, RDONLY],
  nosuid: [NOSUID, 0],
  suid: [0, NOSUID],
  nodev: [NODEV, 0],
  dev: [0, NODEV],
  noexec: [NOEXEC, 0],
  exec: [0, NOEXEC],
  nodiratime: [NODIRATIME, 0],
  diratime: [0, NODIRATIME],
  nosymfollow: [NOSYMFOLLOW, 0],
  symfollow: [0, NOSYMFOLLOW],
  noatime: [NOATIME, ATIME],
  atime: [0, ATIME],
  relatime: [0, ATIME],
  norelatime: [STRICTATIME, ATIME],
  strictatime: [STRICTATIME, ATIME],
  nostrictatime: [0, ATIME],
};

const EXPECTED: Readonly<Record<string, Partial<ParsedOptions>>> = {
  ...Object.fromEntries(
    Object.entries(ATTRIBUTES).flatMap(([name, [set, clear]]) => [
      [name, { mount: { set, clear } }],
      [`r${name}`, { recursive: { set, clear } }],
    ]),
  ),
  ...Object.fromEntries(
    ['sync', 'async', 'mand', 'nomand', 'lazytime', 'nolazytime', 'dirsync'].map((flag) => [
      flag,
      { superblock: [flag] },
    ]),
  ),
  ...Object.fromEntries(
    Object.entries({
      private: PROPAGATION.MS_PRIVATE,
      shared: PROPAGATION.MS_SHARED,
      slave: PROPAGATION.MS_SLAVE,
      unbindable: PROPAGATION.MS_UNBINDABLE,
      unpeered: PROPAGATION.MS_PRIVATE,
    }).flatMap(([name, type]) => {
      const untilAttached = name === 'unpeered';
      return [
        [name, { propagation: { type, recursive: false, untilAttached } }],
        [`r${name}`, { propagation: { type, recursive: true, untilAttached } }],
      ];
    }),
  ),
  bind: { bind: 'bind' },
  rbind: { bind: 'rbind' },
  remount: { remount: true },
  defaults: {},
};

/** Without what a row carries beside its meaning. */
function readable(parsed: ParsedOptions): ParsedOptions {
  const { propagation } = parsed;
  const change = ({ set, clear }: ParsedOptions['mount']) => ({ set, clear });
  return {
    ...parsed,
    mount: change(parsed.mount),
    recursive: change(parsed.recursive),
    propagation: propagation && propagationOf(propagation),
  };
}
const propagationOf = ({ type, recursive, untilAttached }: Propagation) => ({
  type,
  recursive,
  untilAttached,
});
const parse = (...options: string[]) => readable(parseOptions(options));

describe('the option', () => {
  for (const { name } of OPTION_TABLE) {
    it(`${name} means what its man page says`, () => {
      expect(EXPECTED).to.have.property(name);
      expect(parse(name)).to.deep.equal({ ...NOTHING, ...EXPECTED[name] });
    });
  }

  it('has one row each, and none is missing', () => {
    expect(OPTION_TABLE.map(({ name }) => name).toSorted()).to.deep.equal(Object.keys(EXPECTED).toSorted());
  });

  it('that is not in the table is data for the filesystem, in order', () => {
    expect(parse('size=1m', 'redirect_dir=on', 'weird', 'ro=1', 'x=a=b').data).to.deep.equal([
      'size=1m',
      'redirect_dir=on',
      'weird',
      'ro=1',
      'x=a=b',
    ]);
  });

  it('without a name is refused', () => {
    expect(() => parseOptions(['']))
      .to.throw(MountError, 'option "" has no name')
      .with.property('reason', 'invalid-mount');
    expect(() => parseOptions(['=x'])).to.throw(MountError, 'option "=x" has no name');
  });
});

describe('a later option', () => {
  const rows: readonly [options: string, expected: Partial<ParsedOptions>][] = [
    ['ro,rw', { mount: { set: 0, clear: RDONLY } }],
    ['rw,ro', { mount: { set: RDONLY, clear: 0 } }],
    ['ro,ro', { mount: { set: RDONLY, clear: 0 } }],
    ['ro,nosuid,rw', { mount: { set: NOSUID, clear: RDONLY } }],
    ['nosuid,ro,suid,nodev', { mount: { set: RDONLY | NODEV, clear: NOSUID } }],
    ['noatime,relatime', { mount: { set: 0, clear: ATIME } }],
    ['relatime,noatime', { mount: { set: NOATIME, clear: ATIME } }],
    ['noatime,strictatime', { mount: { set: STRICTATIME, clear: ATIME } }],
    ['strictatime,noatime,nodiratime', { mount: { set: NOATIME | NODIRATIME, clear: ATIME } }],
    ['noatime,diratime', { mount: { set: NOATIME, clear: ATIME | NODIRATIME } }],
    ['rro,rrw', { recursive: { set: 0, clear: RDONLY } }],
    ['rnoatime,rrelatime', { recursive: { set: 0, clear: ATIME } }],
    ['sync,async', { superblock: ['async'] }],
    ['async,sync', { superblock: ['sync'] }],
    ['lazytime,sync,nolazytime', { superblock: ['sync', 'nolazytime'] }],
    ['sync,sync', { superblock: ['sync'] }],
    [
      'unpeered,rshared',
      { propagation: { type: PROPAGATION.MS_SHARED, recursive: true, untilAttached: false } },
    ],
    ['rbind,bind', { bind: 'bind' }],
    ['ro,defaults', { mount: { set: RDONLY, clear: 0 } }],
  ];
  for (const [options, expected] of rows) {
    it(`wins: ${options}`, () => {
      expect(parse(...options.split(','))).to.deep.equal({ ...NOTHING, ...expected });
    });
  }

  it('wins over an earlier one of the same flag for the whole tree: rw,rro is read-only at the top too', () => {
    const { mount, recursive } = parse('rw', 'rro');
    expect(recursive).to.deep.equal({ set: RDONLY, clear: 0 });
    expect(mount.clear & RDONLY).to.equal(0);
  });

  it('wins over an earlier one of the whole tree at the top: rro,rw', () => {
    expect(parse('rro', 'rw')).to.deep.equal({
      ...NOTHING,
      recursive: { set: RDONLY, clear: 0 },
      mount: { set: 0, clear: RDONLY },
    });
  });

  it('never leaves a bit both set and cleared, but in the access time field, which is cleared whole', () => {
    const names = OPTION_TABLE.map(({ name }) => name);
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...names)), (options) => {
        const { mount, recursive } = parseOptions(options);
        for (const { set, clear } of [mount, recursive]) {
          expect(set & clear & ~ATIME).to.equal(0);
          // Of the field's values one is set at most, and then all of it is cleared.
          const mode = set & ATIME;
          if (mode !== 0) expect(clear & ATIME).to.equal(ATIME);
          expect(mode === 0 || mode === NOATIME || mode === STRICTATIME).to.equal(true);
        }
      }),
    );
  });

  it('makes of the options before it what they are alone, wherever it says nothing of them', () => {
    const names = Object.keys(ATTRIBUTES);
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...names)), (options) => {
        // Carried out one after the other on all bits set and on none.
        for (const start of [0, 0x2000ff & ~ATIME]) {
          const oneByOne = options.reduce((bits, name) => {
            const [set, clear] = ATTRIBUTES[name] ?? [0, 0];
            return (bits & ~clear) | set;
          }, start);
          const { set, clear } = parseOptions(options).mount;
          expect((start & ~clear) | set).to.equal(oneByOne);
        }
      }),
    );
  });
});

describe('uidmap and gidmap', () => {
  it('make an ID map together', () => {
    expect(parse('gidmap=0:5:1', 'uidmap=0:1000:2,2:0:1').idmap?.mapping).to.deep.equal({
      uid: [
        { container: 0, host: 1000, size: 2 },
        { container: 2, host: 0, size: 1 },
      ],
      gid: [{ container: 0, host: 5, size: 1 }],
    });
  });

  const refused: readonly [options: readonly string[], message: string][] = [
    [['uidmap=0:1:1'], 'uidmap without gidmap'],
    [['gidmap=0:1:1'], 'gidmap without uidmap'],
    [['uidmap', 'gidmap=0:1:1'], 'uidmap: "" is not three decimal numbers'],
    [['uidmap=0:1', 'gidmap=0:1:1'], 'uidmap: "0:1" is not three decimal numbers'],
    [['uidmap=0:1:1', 'gidmap=0:1:0'], 'gidmap: "0:1:0" has a size of 0'],
  ];
  for (const [options, message] of refused) {
    it(`are refused: ${options.join(' ')}`, () => {
      expect(() => parseOptions(options))
        .to.throw(MountError, message)
        .with.property('reason', 'invalid-mount');
    });
  }

  it('win over earlier ones', () => {
    expect(parse('uidmap=0:1:1', 'gidmap=0:1:1', 'uidmap=0:9:1').idmap?.mapping?.uid).to.deep.equal([
      { container: 0, host: 9, size: 1 },
    ]);
  });
});

describe('rootuid, rootgid and idmapupper', () => {
  it('say what the root is shown as, alone or with a mapping', () => {
    const nothing = { mapping: undefined, upper: false };
    expect(parse('rootuid=7').idmap).to.deep.equal({ ...nothing, root: { uid: 7, gid: undefined } });
    expect(parse('rootgid=0').idmap).to.deep.equal({ ...nothing, root: { uid: undefined, gid: 0 } });
    expect(parse('rootuid=1', 'rootgid=2', 'rootuid=3').idmap?.root).to.deep.equal({ uid: 3, gid: 2 });
    const { mapping, root } = parse('uidmap=0:5:1', 'rootgid=9', 'gidmap=0:6:1').idmap ?? {};
    expect([mapping?.uid[0]?.host, root?.gid]).to.deep.equal([5, 9]);
  });

  it('map the upper layer too, when there is a mapping', () => {
    expect(parse('idmapupper', 'rootuid=7').idmap?.upper).to.equal(true);
    expect(parse('idmapupper', 'uidmap=0:5:1', 'gidmap=0:5:1').idmap?.upper).to.equal(true);
  });

  it('never reach the filesystem', () => {
    expect(parse('rootuid=7', 'idmapupper', 'size=1m').data).to.deep.equal(['size=1m']);
  });

  const refused: readonly [options: readonly string[], message: string][] = [
    ...['', 'x', '-1', '1.5', '0x1', '4294967295', '99999999999'].map((id): [string[], string] => [
      [`rootuid=${id}`],
      `rootuid=${id}: must be an id`,
    ]),
    [['rootgid'], 'rootgid=: must be an id'],
    [['idmapupper'], 'add uidmap= and gidmap='],
    [['idmapupper=yes', 'rootuid=1'], 'idmapupper=yes: takes no value'],
  ];
  for (const [options, message] of refused) {
    it(`are refused: ${options.join(' ')}`, () => {
      expect(() => parseOptions(options))
        .to.throw(MountError, message)
        .with.property('reason', 'invalid-mount');
    });
  }
});

describe('mkdir', () => {
  it('names directories, each once, in the order given', () => {
    const { directories, data } = parse('mkdir=b', 'size=1m', 'mkdir=a', 'mkdir=b', 'mkdir=..x');
    expect({ directories, data }).to.deep.equal({ directories: ['b', 'a', '..x'], data: ['size=1m'] });
  });

  for (const option of [
    'mkdir',
    'mkdir=',
    'mkdir=.',
    'mkdir=..',
    'mkdir=a/b',
    'mkdir=/',
    `mkdir=${'x'.repeat(256)}`,
  ]) {
    it(`is refused: ${option.slice(0, 20)}`, () => {
      expect(() => parseOptions([option]))
        .to.throw(MountError, 'must be one name of a directory')
        .with.property('reason', 'invalid-mount');
    });
  }
});

describe('keyAndValue', () => {
  it('splits at the first equals sign', () => {
    expect(keyAndValue('a=b=c')).to.deep.equal(['a', 'b=c']);
    expect(keyAndValue('a=')).to.deep.equal(['a', '']);
    expect(keyAndValue('a')).to.deep.equal(['a', undefined]);
  });
});

describe('splitOptions', () => {
  const rows: readonly [text: string, options: readonly string[]][] = [
    ['', []],
    ['ro', ['ro']],
    ['ro,nosuid,size=1m', ['ro', 'nosuid', 'size=1m']],
    [',ro,,rw,', ['ro', 'rw']],
    ['context="a,b",ro', ['context=a,b', 'ro']],
    ['a="x"y"z,w"', ['a=xyz,w']],
    ['a=""', ['a=']],
    ['lowerdir=/a\\,b:/c\\:d,ro', ['lowerdir=/a\\,b:/c\\:d', 'ro']],
    ['a=\\"x,b', ['a=\\"x', 'b']],
    ['a="x\\"y,z"', ['a=x\\"y,z']],
    ['a\\\\,b', ['a\\\\', 'b']],
    ['a\\', ['a\\']],
    ['uidmap=0:1:1,1:5:2,gidmap=0:1:1,7:8:9,ro', ['uidmap=0:1:1,1:5:2', 'gidmap=0:1:1,7:8:9', 'ro']],
    ['0:1:1,uidmap=0:1:1', ['0:1:1', 'uidmap=0:1:1']],
    ['uidmap=0:1:1,ro,1:2:3', ['uidmap=0:1:1', 'ro', '1:2:3']],
    ['size=1,1:2:3', ['size=1', '1:2:3']],
  ];
  for (const [text, options] of rows) {
    it(`splits ${JSON.stringify(text)}`, () => expect(splitOptions(text)).to.deep.equal(options));
  }

  it('refuses a quotation mark that is not closed', () => {
    expect(() => splitOptions('a="b,c')).to.throw(MountError, 'a quotation mark is not closed');
  });

  it('gives back what was joined, where nothing in it has a meaning of its own', () => {
    const option = fc.stringMatching(/^[a-z][a-z0-9_=/.-]{0,12}$/);
    fc.assert(
      fc.property(fc.array(option), (options) => {
        expect(splitOptions(options.join(','))).to.deep.equal(options);
      }),
    );
  });

  it('keeps what is quoted in one piece, commas and all', () => {
    const value = fc.string({ unit: fc.constantFrom('a', ',', ':', '=', ' ') });
    fc.assert(
      fc.property(value, value, (a, b) => {
        expect(splitOptions(`x="${a}",y="${b}",ro`)).to.deep.equal([`x=${a}`, `y=${b}`, 'ro']);
      }),
    );
  });
});
