// A mapping in the words of FUSE helpers.
import { expect } from 'chai';
import fc from 'fast-check';
import { mappingOptionsFor } from '../../../src/mount/fuse/mapping-options.ts';
import type { IdMapping } from '../../../src/userns/mapping.ts';
import { shownId } from '../../../src/userns/mapping.ts';
import { identityMapping, swapMapping } from '../../../src/userns/mapping-algebra.ts';
import { read } from '../userns/mappings.ts';

const POD = { uid: read('0:100000:65536'), gid: read('0:200000:65536') };
const SWAP = { uid: swapMapping(1000, 5000), gid: swapMapping(0, 7) };
const optionsFor = (helper: string, mapping: { uid: IdMapping; gid: IdMapping }) =>
  mappingOptionsFor(helper, mapping)?.options;

describe('a mapping, told to', () => {
  it('fuse-overlayfs, is all its extents', () => {
    expect(mappingOptionsFor('fuse-overlayfs', POD)).to.deep.equal({
      options: ['uidmapping=0:100000:65536', 'gidmapping=0:200000:65536'],
      shows: 'owners',
    });
    const two = { uid: read('1:110000:65536,0:1000:1'), gid: read('0:0:1,1:1:4') };
    expect(optionsFor('fuse-overlayfs', two)).to.deep.equal([
      'uidmapping=0:1000:1:1:110000:65536',
      'gidmapping=0:0:5',
    ]);
  });

  it('bindfs, is what is added to each id', () => {
    expect(mappingOptionsFor('bindfs', POD)).to.deep.equal({
      options: ['uid-offset=100000', 'gid-offset=200000'],
      shows: 'owners',
    });
    const one = { uid: read('1000:1000:1'), gid: read('5:7:1,6:8:2') };
    expect(optionsFor('bindfs', one)).to.deep.equal(['uid-offset=0', 'gid-offset=2']);
  });

  it('bindfs, is pairs of ids where all others stay', () => {
    expect(optionsFor('bindfs', SWAP)).to.deep.equal(['map=1000/5000:5000/1000:@0/@7:@7/@0']);
    expect(optionsFor('bindfs', { ...SWAP, gid: identityMapping })).to.deep.equal([
      'map=1000/5000:5000/1000',
    ]);
  });

  it('bindfs, cannot be said in other cases', () => {
    for (const text of ['1000:0:11', '0:1000:1,1:0:1', '0:1:1,5:9:1']) {
      const mapping = read(text);
      expect(optionsFor('bindfs', { uid: mapping, gid: mapping })).to.equal(undefined);
      expect(optionsFor('bindfs', { ...POD, gid: mapping })).to.equal(undefined);
    }
    // It refuses an offset beside pairs.
    expect(optionsFor('bindfs', { ...POD, gid: SWAP.gid })).to.equal(undefined);
  });

  it('bindfs as an offset, never shows an id among the mapped ones that is not', () => {
    const id = fc.oneof(fc.nat(100), fc.nat({ max: 2 ** 32 - 2 }));
    const upwards = fc.record({
      container: fc.nat(50),
      up: fc.nat(100),
      size: fc.integer({ min: 1, max: 50 }),
    });
    fc.assert(
      fc.property(upwards, id, ({ container, up, size }, onDisk) => {
        const mapping = [{ container, host: container + up, size }];
        expect(optionsFor('bindfs', { uid: mapping, gid: mapping })).to.include(`uid-offset=${up}`);
        const shown = (onDisk + up) % 2 ** 32;
        const isAmongThem = shown >= container + up && shown < container + up + size;
        expect(isAmongThem ? shown : undefined).to.equal(shownId(mapping, onDisk));
      }),
    );
  });

  for (const helper of ['squashfuse', 'sshfs']) {
    it(`${helper}, is one owner for all`, () => {
      const shown = { options: ['uid=100000', 'gid=200000', 'default_permissions'], shows: 'root' };
      expect(mappingOptionsFor(helper, POD)).to.deep.equal(shown);
    });
  }

  for (const helper of ['rclone', 'squashfuse_ll', '', 'toString', '__proto__']) {
    it(`${helper || 'nobody'}, is nothing`, () => {
      expect(mappingOptionsFor(helper, POD)).to.equal(undefined);
    });
  }
});
