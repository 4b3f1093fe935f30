import { expect } from 'chai';
import fc from 'fast-check';
import { FrameError } from '../../../src/nri/frames.ts';
import { framed, mux } from '../../../src/nri/mux.ts';
import { bytes, FROM_RUNTIME } from './captured.ts';

/** What each connection of a mux gets out of a stream. */
function received(pieces: readonly Uint8Array[], ids: readonly number[] = [1, 2]): Buffer[] {
  const got = ids.map(() => [] as Buffer[]);
  const connections = mux(() => undefined);
  for (const [i, id] of ids.entries()) connections.open(id, (piece) => got[i]?.push(piece));
  for (const piece of pieces) connections.receive(piece);
  return got.map((list) => Buffer.concat(list));
}

describe('the mux of NRI', () => {
  it('takes what containerd sends apart, byte by byte', () => {
    const stream = bytes(FROM_RUNTIME.configure);
    const [plugin, runtime] = received([...stream].map((byte) => Buffer.from([byte])));
    expect(runtime?.toString('hex')).to.equal('00000000000000010200');
    expect(plugin?.subarray(0, 10).toString('hex')).to.equal('00000050000000010100');
    expect(plugin).to.have.length(90);
  });

  it('gives each connection its own bytes, in order, and drops those of others', () => {
    const sent = fc.array(fc.tuple(fc.constantFrom(1, 2, 7), fc.uint8Array({ maxLength: 10_000 })));
    fc.assert(
      fc.property(sent, (list) => {
        const got = received(list.map(([id, piece]) => framed(id, piece)));
        const wanted = [1, 2].map((id) =>
          Buffer.concat(list.filter(([to]) => to === id).map(([, piece]) => piece)),
        );
        expect(got).to.deep.equal(wanted);
      }),
    );
  });

  it('puts no more into a frame than the other side has room for', () => {
    const all = framed(1, Buffer.alloc(10_000));
    const lengths = [0, 4104, 8208].map((at) => all.readUInt32BE(at + 4));
    expect(lengths).to.deep.equal([4096, 4096, 1808]);
    expect(all).to.have.length(10_024);
    expect(framed(1, Buffer.alloc(0))).to.have.length(0);
  });

  it('ends at a frame longer than any message', () => {
    const header = Buffer.from('0000000100400010', 'hex');
    header.writeUInt32BE(10 + (4 << 20) + 1, 4);
    expect(() => received([header])).to.throw(FrameError, /mux frame of 4194315 bytes/);
  });
});
