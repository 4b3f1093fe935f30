// The runtime's end of an NRI socket, which plays what a test has it play: bytes, whatever they mean.
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export interface FakeRuntime extends AsyncDisposable {
  readonly socket: string;
  /** The next plugin that connects. */
  accept(): Promise<Peer>;
}

export interface Peer {
  write(bytes: Uint8Array): void;
  /** Exactly this many bytes that the plugin has sent, in hexadecimal. */
  read(count: number): Promise<string>;
  /** Resolves when the plugin has closed its end. */
  readonly closed: Promise<unknown>;
  end(): void;
}

export async function fakeRuntime(socket: string): Promise<FakeRuntime> {
  const waiting: Socket[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((one) => {
    sockets.add(one);
    one.on('error', () => undefined);
    waiting.push(one);
    server.emit('plugin');
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    async accept() {
      while (waiting.length === 0) await once(server, 'plugin');
      const [one] = waiting.splice(0, 1);
      if (one === undefined) throw new Error('nobody has connected');
      return peerOf(one);
    },
    async [Symbol.asyncDispose]() {
      for (const one of sockets) one.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function peerOf(socket: Socket): Peer {
  let got = Buffer.alloc(0);
  socket.on('data', (piece) => {
    got = Buffer.concat([got, piece]);
    socket.emit('more');
  });
  const closed = once(socket, 'close');
  return {
    write: (bytes) => void socket.write(bytes),
    async read(count) {
      while (got.length < count) {
        if (socket.destroyed) throw new Error(`the plugin has closed after ${got.length} of ${count} bytes`);
        await Promise.race([once(socket, 'more'), closed]);
      }
      const piece = got.subarray(0, count);
      got = got.subarray(count);
      return piece.toString('hex');
    },
    closed,
    end: () => void socket.destroy(),
  };
}
