// Several connections over one socket, as NRI has them (pkg/net/multiplex of containerd/nri).
//
//   bytes 0-3   number of the connection, big-endian
//   bytes 4-7   how many bytes of it follow
//
// A connection is a stream of bytes: where its frames begin and end means nothing. None is opened or closed over the
// wire; both sides know which there are, and what comes for any other is dropped.
import { frameReader } from './frames.ts';

/** The runtime calls the plugin. */
export const PLUGIN_CONNECTION = 1;
/** The plugin calls the runtime. */
export const RUNTIME_CONNECTION = 2;

const HEADER_BYTES = 8;
/** The header and the most of a ttrpc message (ttrpc.ts): no side puts more into a frame. */
const MOST_BYTES = 10 + (4 << 20);
/**
 * What we put into a frame. The other side's reader takes a frame at a time into a buffer that may be no larger than
 * this, and fails where it does not fit (conn.Read of mux.go below a bufio.Reader).
 */
const PIECE_BYTES = 4096;

export interface Mux {
  /** What came over the socket. @throws FrameError when nothing that follows can be read */
  receive(piece: Uint8Array): void;
  /**
   * @param onBytes gets what comes for this connection
   * @returns sends on it
   */
  open(id: number, onBytes: (bytes: Buffer) => void): (bytes: Uint8Array) => void;
}

/** @param write to the socket */
export function mux(write: (bytes: Buffer) => void): Mux {
  const connections = new Map<number, (bytes: Buffer) => void>();
  const read = frameReader({
    headerBytes: HEADER_BYTES,
    lengthOf: (header) => header.readUInt32BE(4),
    mostBytes: MOST_BYTES,
    name: 'mux frame',
  });
  return {
    receive(piece) {
      for (const { header, body } of read(piece)) connections.get(header.readUInt32BE(0))?.(body);
    },
    open(id, onBytes) {
      connections.set(id, onBytes);
      return (bytes) => write(framed(id, bytes));
    },
  };
}

/** As frames, one after the other. */
export function framed(id: number, bytes: Uint8Array): Buffer {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(id, 0);
    header.writeUInt32BE(piece.length, 4);
    frames.push(header, piece);
  }
  return Buffer.concat(frames);
}
