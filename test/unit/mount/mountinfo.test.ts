// Lines of mountinfo as data.
import { expect } from 'chai';
import { parseMountinfo, readMountinfo } from '../../../src/mount/mountinfo.ts';

const parse = (line: string) => {
  const [mount] = parseMountinfo(`${line}\n`);
  if (mount === undefined) throw new Error('no mount');
  return mount;
};

describe('parseMountinfo', () => {
  it('reads the example of the man page', () => {
    expect(
      parse('36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue'),
    ).to.deep.equal({
      id: 36,
      parentId: 35,
      device: '98:0',
      root: '/mnt1',
      target: '/mnt2',
      options: ['rw', 'noatime'],
      propagation: ['master:1'],
      type: 'ext3',
      source: '/dev/root',
      superblockOptions: ['rw', 'errors=continue'],
    });
  });

  const optional: readonly [fields: string, propagation: readonly string[]][] = [
    ['', []],
    ['shared:7 ', ['shared:7']],
    ['shared:7 master:3 ', ['shared:7', 'master:3']],
    ['master:3 propagate_from:2 ', ['master:3', 'propagate_from:2']],
    ['unbindable ', ['unbindable']],
  ];
  for (const [fields, propagation] of optional) {
    it(`reads ${propagation.length} optional fields: ${fields || 'none'}`, () => {
      const mount = parse(`1 2 0:5 / /a rw ${fields}- tmpfs none rw`);
      expect(mount.propagation).to.deep.equal(propagation);
      expect([mount.type, mount.source]).to.deep.equal(['tmpfs', 'none']);
    });
  }

  it('undoes the octal escapes of root, target, type and source', () => {
    const mount = parse('1 2 0:5 /r\\040o /t\\011a\\012b\\134c\\040d rw - fuse.x\\040y so\\040urce\\043 rw');
    expect(mount).to.include({ root: '/r o', target: '/t\ta\nb\\c d', type: 'fuse.x y', source: 'so urce#' });
  });

  it('undoes each escape once', () => {
    expect(parse('1 2 0:5 / /a\\134040b rw - tmpfs none rw').target).to.equal('/a\\040b');
  });

  it('takes a target called -, and bytes beyond ASCII as they are', () => {
    expect(parse('1 2 0:5 / - rw - tmpfs - rw')).to.include({ target: '-', source: '-' });
    expect(parse('1 2 0:5 / /ä/日 rw - tmpfs none rw').target).to.equal('/ä/日');
  });

  it('takes an empty source', () => {
    expect(parse('1 2 0:5 / /a rw - tmpfs  rw,size=4k')).to.deep.include({
      source: '',
      superblockOptions: ['rw', 'size=4k'],
    });
  });

  it('keeps the order of the lines', () => {
    const text = '1 0 0:1 / / rw - tmpfs a rw\n2 1 0:2 / /x rw - tmpfs b rw\n3 2 0:3 / /x rw - tmpfs c rw\n';
    expect(parseMountinfo(text).map(({ source }) => source)).to.deep.equal(['a', 'b', 'c']);
    expect(parseMountinfo('')).to.deep.equal([]);
  });

  for (const line of [
    'nonsense',
    '1 2 0:5 / /a rw tmpfs none rw',
    '1 2 0:5 / /a rw -',
    '1 2 0:5 / /a rw - tmpfs',
    'null1 2 0:5 / /a rw - tmpfs none rw',
    '1  0:5 / /a rw - tmpfs none rw',
  ]) {
    it(`refuses ${JSON.stringify(line)}, naming it`, () => {
      expect(() => parseMountinfo(line)).to.throw(`not a line of mountinfo: ${JSON.stringify(line)}`);
    });
  }
});

describe('readMountinfo', () => {
  it("reads this machine's", () => {
    const mounts = readMountinfo();
    expect(mounts.find(({ target }) => target === '/proc')).to.include({ type: 'proc', root: '/' });
    expect(new Set(mounts.map(({ id }) => id)).size).to.equal(mounts.length);
  });
});
