// What is decided about loop devices without asking the kernel.
import { expect } from 'chai';
import { parseExport } from '../../../src/mount/filesystem-type.ts';
import { type Attachment, decide, type Existing, overlap } from '../../../src/mount/loop/reuse.ts';
import { takeLoop } from '../../../src/mount/loop-options.ts';

const wanted: Attachment = { readOnly: false, autoclear: true, blockSize: 0, offset: 0, sizeLimit: 0 };
const device: Existing = { ...wanted, blockSize: 512, path: '/dev/loop3' };

describe('an image that has a loop device', () => {
  const rows: readonly [title: string, has: Partial<Existing>, wants: Partial<Attachment>, is: RegExp][] = [
    ['the same', {}, {}, /^reuse$/],
    ['the same part', { offset: 512, sizeLimit: 512 }, { offset: 512, sizeLimit: 512 }, /^reuse$/],
    ['the same, and read-only', { readOnly: true }, { readOnly: true }, /^reuse$/],
    ['the same block size', { blockSize: 4096 }, { blockSize: 4096 }, /^reuse$/],
    ['a part before it', { offset: 512 }, { sizeLimit: 512 }, /^attach$/],
    ['a part behind it', { sizeLimit: 512 }, { offset: 512 }, /^attach$/],
    [
      'all of it, and has a part',
      { offset: 512 },
      {},
      /another part .*\(offset 512, to the end, wanted offset 0/,
    ],
    ['more of it', { sizeLimit: 512 }, { sizeLimit: 1024 }, /wanted offset 0, 1024 bytes/],
    ['to read, and has to write', {}, { readOnly: true }, /already, writable, and is wanted read-only/],
    ['to write, and has to read', { readOnly: true }, {}, /already, read-only, and is wanted writable/],
    ['a device that goes, and has one that stays', { autoclear: false }, {}, /losetup -d \/dev\/loop3/],
    ['a device that stays, and has one that goes', {}, { autoclear: false }, /unmount it first/],
    ['other blocks', {}, { blockSize: 4096 }, /blocks of 512 bytes, not 4096/],
  ];
  for (const [title, has, wants, is] of rows) {
    it(`and wants ${title}`, () => {
      const decision = decide([{ ...device, ...has }], { ...wanted, ...wants });
      expect(decision.do === 'refuse' ? decision.why : decision.do).to.match(is);
    });
  }

  it('gets one when it has none', () => expect(decide([], wanted)).to.deep.equal({ do: 'attach' }));

  it('finds its part among others', () => {
    const others = [0, 1024, 2048].map((offset) => ({ ...device, offset, sizeLimit: 1024 }));
    expect(decide(others, { ...wanted, offset: 1024, sizeLimit: 1024 })).to.deep.equal({
      do: 'reuse',
      device: others[1],
    });
  });
});

describe('parts of a file', () => {
  it('that touch do not overlap', () =>
    expect(overlap({ offset: 0, sizeLimit: 512 }, { offset: 512, sizeLimit: 0 })).to.equal(false));
  it('overlap where one is in the other', () =>
    expect(overlap({ offset: 0, sizeLimit: 0 }, { offset: 512, sizeLimit: 512 })).to.equal(true));
});

describe('loop options', () => {
  const rows: readonly [given: string, loop: unknown, rest: string][] = [
    ['data=ordered', undefined, 'data=ordered'],
    ['offset=512', undefined, 'offset=512'],
    ['direct-io', undefined, 'direct-io'],
    ['loop', { directIo: false, offset: 0, sizeLimit: 0 }, ''],
    ['a,loop,b', { directIo: false, offset: 0, sizeLimit: 0 }, 'a,b'],
    ['direct-io,offset=1,loop,sizelimit=2', { directIo: true, offset: 1, sizeLimit: 2 }, ''],
    ['loop,offset=4K,sizelimit=3MiB', { directIo: false, offset: 4096, sizeLimit: 3145728 }, ''],
    ['loop,offset=1,offset=2G', { directIo: false, offset: 2 ** 31, sizeLimit: 0 }, ''],
  ];
  for (const [given, loop, rest] of rows) {
    it(given, () =>
      expect(takeLoop(given.split(','))).to.deep.equal({ loop, rest: rest ? rest.split(',') : [] }),
    );
  }

  const refused: readonly [given: string, why: RegExp][] = [
    ['loop,offset=', /offset=: not a number/],
    ['loop,offset=x', /offset=x: not a number/],
    ['loop,offset=-1', /offset=-1/],
    ['loop,sizelimit=1.5M', /sizelimit=1.5M/],
    ['loop,sizelimit=9999999999T', /sizelimit/],
    ['loop=/dev/loop3', /found by itself; say loop/],
  ];
  for (const [given, why] of refused) {
    it(`${given} is refused`, () => expect(() => takeLoop(given.split(','))).to.throw(why));
  }
});

describe("blkid's output", () => {
  it('is read with its backslashes undone', () => {
    const text = 'DEVNAME=/proc/self/fd/3\nLABEL=my\\ disk\nTYPE=ext4\nUSAGE=filesystem\n';
    expect(parseExport(text)).to.deep.equal(
      new Map([
        ['DEVNAME', '/proc/self/fd/3'],
        ['LABEL', 'my disk'],
        ['TYPE', 'ext4'],
        ['USAGE', 'filesystem'],
      ]),
    );
  });
});
