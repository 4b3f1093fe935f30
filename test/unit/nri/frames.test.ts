import { expect } from 'chai';
import fc from 'fast-check';
import { FrameError, frameReader } from '../../../src/nri/frames.ts';

/** A byte of header says how long the rest is. */
const FRAMING = {
  headerBytes: 1,
  lengthOf: (header: Buffer) => header.readUInt8(0),
  mostBytes: 200,
  name: 'frame',
};

const frame = (body: Uint8Array): Buffer => Buffer.concat([Buffer.from([body.length]), body]);
const bodies = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 });

/** What a reader gives of pieces that end at these places. */
function readInPieces(stream: Buffer, ends: readonly number[]): Buffer[] {
  const read = frameReader(FRAMING);
  const cuts = [0, ...ends.map((end) => end % (stream.length + 1)).sort((a, b) => a - b), stream.length];
  return cuts
    .slice(1)
    .flatMap((end, i) => read(stream.subarray(cuts[i], end)).map(({ body }) => Buffer.from(body)));
}

describe('frames out of a stream', () => {
  it('are the same wherever its pieces end', () => {
    fc.assert(
      fc.property(bodies, fc.array(fc.nat()), (list, ends) => {
        const read = readInPieces(Buffer.concat(list.map(frame)), ends);
        expect(read).to.deep.equal(list.map((body) => Buffer.from(body)));
      }),
    );
  });

  it('come as soon as their last byte does, one by one', () => {
    const read = frameReader(FRAMING);
    const counts = [...frame(Buffer.from('abc')), ...frame(Buffer.alloc(0))].map(
      (byte) => read(Buffer.from([byte])).length,
    );
    expect(counts).to.deep.equal([0, 0, 0, 1, 1]);
  });

  it('of a length that nobody means end the reading for good', () => {
    const read = frameReader(FRAMING);
    expect(read(frame(Buffer.alloc(200)))).to.have.length(1);
    for (const piece of [Buffer.from([201]), frame(Buffer.from('a'))]) {
      expect(() => read(piece)).to.throw(FrameError, 'a frame of 201 bytes, where 200 are the most');
    }
  });
});
