// The loop driver's structures, and lines of the kernel log.
import { expect } from 'chai';
import { LO_FLAGS } from '../../../src/sys/constants.ts';
import { messageOf } from '../../../src/sys/kernel-log.ts';
import {
  decodeLoopInfo,
  deviceNumber,
  encodeLoopConfig,
  encodeLoopInfo,
  showLoopStruct,
} from '../../../src/sys/loop-structs.ts';

const settings = { offset: 2 ** 40, sizeLimit: 512, flags: 5, fileName: 'x'.repeat(100) };

describe("the loop driver's structures", () => {
  it('have the sizes of linux/loop.h', () => {
    expect(encodeLoopInfo(settings).length).to.equal(232);
    expect(encodeLoopConfig(7, 4096, settings).length).to.equal(304);
  });

  it('come back as they went', () => {
    const { offset, sizeLimit, flags } = decodeLoopInfo(encodeLoopInfo(settings));
    expect({ offset, sizeLimit, flags }).to.deep.equal({ offset: 2 ** 40, sizeLimit: 512, flags: 5 });
  });

  it('have the flags of a configuration where the kernel looks for them', () => {
    const config = encodeLoopConfig(7, 4096, { ...settings, flags: LO_FLAGS.LO_FLAGS_DIRECT_IO });
    expect([config.readUInt32LE(0), config.readUInt32LE(4), config.readUInt32LE(60)]).to.deep.equal([
      7, 4096, 16,
    ]);
  });

  it('cut a long name so that it ends with a NUL', () => {
    const info = encodeLoopInfo(settings);
    expect(info.toString('latin1', 56, 120)).to.equal(`${'x'.repeat(63)}\0`);
  });

  it('are shown by what matters', () => {
    expect(showLoopStruct(encodeLoopInfo(settings))).to.equal(
      '{lo_offset=1099511627776, lo_sizelimit=512, lo_flags=LO_FLAGS_READ_ONLY|LO_FLAGS_AUTOCLEAR}',
    );
    expect(showLoopStruct(encodeLoopConfig(-1, 512, { ...settings, flags: 0 }))).to.equal(
      '{fd=-1, block_size=512, lo_offset=1099511627776, lo_sizelimit=512, lo_flags=0}',
    );
  });

  const numbers: readonly [major: number, minor: number, packed: number][] = [
    [7, 3, 0x703],
    [7, 255, 0x7ff],
    [7, 256, 0x100700],
    [259, 0xfffff, 0xfff103ff],
    [4095, 0, 0xfff00],
  ];
  for (const [major, minor, packed] of numbers) {
    it(`pack ${major}:${minor} as 0x${packed.toString(16)}`, () =>
      expect(deviceNumber(major, minor)).to.equal(packed));
  }
});

describe('a record of /dev/kmsg', () => {
  it('is what it says, without its prefix and its tags', () =>
    expect(messageOf('3,339,5140900,-;EXT4-fs (loop0): no; really\n SUBSYSTEM=block\n')).to.equal(
      'EXT4-fs (loop0): no; really',
    ));
});
