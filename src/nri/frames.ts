// Frames with a header of fixed size that says how long the rest is, out of a stream whose pieces begin and end
// anywhere. Pure, but for what it remembers between two pieces.

export interface Framing {
  readonly headerBytes: number;
  /** How many bytes follow this header. */
  readonly lengthOf: (header: Buffer) => number;
  /** More than that no honest sender means: the stream is out of step. */
  readonly mostBytes: number;
  /** For messages: `mux frame`. */
  readonly name: string;
}

export interface Frame {
  readonly header: Buffer;
  readonly body: Buffer;
}

/** The stream cannot be read any further. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

/**
 * Gives the frames that each piece completes, in order. What it gives are parts of the pieces where it can: they must
 * not be changed afterwards.
 * @throws FrameError, and then each time
 */
export function frameReader({
  headerBytes,
  lengthOf,
  mostBytes,
  name,
}: Framing): (piece: Uint8Array) => Frame[] {
  // Kept apart until a frame is whole, or a long one would be copied with each of its pieces.
  let pieces: Buffer[] = [];
  let available = 0;
  let needed = headerBytes;
  let broken: FrameError | undefined;

  const joined = (): Buffer => {
    const [only] = pieces;
    const all = only !== undefined && pieces.length === 1 ? only : Buffer.concat(pieces, available);
    pieces = [all];
    return all;
  };

  return (piece) => {
    if (broken !== undefined) throw broken;
    pieces.push(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
    available += piece.byteLength;
    const frames: Frame[] = [];
    while (available >= needed) {
      const all = joined();
      const header = all.subarray(0, headerBytes);
      const length = lengthOf(header);
      if (length > mostBytes) {
        broken = new FrameError(`a ${name} of ${length} bytes, where ${mostBytes} are the most`);
        throw broken;
      }
      needed = headerBytes + length;
      if (available < needed) break;
      frames.push({ header, body: all.subarray(headerBytes, needed) });
      available -= needed;
      pieces = available === 0 ? [] : [all.subarray(needed)];
      needed = headerBytes;
    }
    return frames;
  };
}
