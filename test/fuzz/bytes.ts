// Bytes on a gRPC socket that are no calls: noise, recorded HTTP/2 with damaged, lost, doubled and exchanged frames, and
// HTTP/2 that is right with gRPC that is not. Whoever sends it is answered or cut off; all others are served as before.
// One suite for the sockets that this project listens at.
import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { createConnection, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import fc from 'fast-check';
import { Code } from '../../src/rpc/status.ts';
import { cases } from '../support/cases.ts';
import { temporaryDirectory } from '../support/fixtures.ts';
import { damagedBytes } from './damage.ts';

/** A server that listens, and how it is seen to be what it was. */
export interface Fuzzed {
  readonly socket: string;
  /** Gives what expects, later, that nothing of what came meanwhile is left. */
  snapshot(): () => Promise<void>;
}

export interface Conversation {
  /** A few calls that change nothing, whose bytes are damaged then. */
  readonly speak: (socket: string) => Promise<void>;
  /** Of methods that change nothing, and of none. */
  readonly paths: readonly string[];
  /** Messages to those, in protobuf. */
  readonly bodies: readonly Buffer[];
}
/** How long is waited for an answer to what may be none of its business. */
const ANSWER_MS = 5;
const AT_ONCE = 8;
/** A call that was sent in a way that is no gRPC. */
const TIMEOUT_MS = 30_000;

const PREFACE_BYTES = 24;
const HEADER_BYTES = 9;

/** @param fuzzed which is there when the tests run */
export function harmNobody(fuzzed: () => Fuzzed, { speak, paths, bodies }: Conversation): void {
  let recorded: Buffer;
  let expectUnharmed: () => Promise<void>;

  before(async () => {
    recorded = await record(fuzzed().socket, speak);
  });
  beforeEach(() => {
    expectUnharmed = fuzzed().snapshot();
  });

  it('of a connection, noise among them, harm nobody else', async function () {
    this.timeout(0);
    const streams = fc.array(damagedBytes([recorded]), { minLength: 1, maxLength: AT_ONCE });
    await fc.assert(
      fc.asyncProperty(streams, async (list) => {
        await Promise.all(list.map((bytes) => send(fuzzed().socket, [bytes])));
      }),
      { numRuns: cases(60) },
    );
    await expectUnharmed();
  });

  it('of single frames, lost, doubled and exchanged ones, harm nobody else', async function () {
    this.timeout(0);
    const preface = recorded.subarray(0, PREFACE_BYTES);
    const frames = framesOf(recorded.subarray(PREFACE_BYTES));
    const streams = fc.array(fc.array(fc.oneof(...frames.map(damagedFrame)), { maxLength: 12 }), {
      minLength: 1,
      maxLength: AT_ONCE,
    });
    await fc.assert(
      fc.asyncProperty(streams, fc.boolean(), async (list, inPieces) => {
        await Promise.all(
          list.map((some) => {
            const pieces = [preface, ...frames.slice(0, 2), ...some];
            return send(fuzzed().socket, inPieces ? pieces : [Buffer.concat(pieces)]);
          }),
        );
      }),
      { numRuns: cases(60) },
    );
    await expectUnharmed();
  });

  it('in frames that are right are refused as gRPC has it', async function () {
    this.timeout(0);
    const call = fc.record({
      path: fc.constantFrom(...paths, '/', '//'),
      method: fc.constantFrom('POST', 'POST', 'POST', 'GET', 'PUT'),
      headers: fc.dictionary(
        fc.constantFrom(
          'content-type',
          'grpc-timeout',
          'grpc-encoding',
          'grpc-accept-encoding',
          'x-bin',
          'user-agent',
        ),
        fc.constantFrom(
          'application/grpc',
          'application/json',
          'gzip',
          'deflate',
          'snappy',
          '1S',
          '-1S',
          '99999999H',
          '0m',
          'x',
          '%%%',
        ),
        { maxKeys: 3 },
      ),
      body: damagedBytes(bodies.map(grpcMessage)),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: AT_ONCE }), async (calls) => {
        const session = connectHttp2('http://localhost', {
          createConnection: () => createConnection(fuzzed().socket),
        });
        session.on('error', () => undefined);
        try {
          for (const outcome of await Promise.all(calls.map((one) => outcomeOf(session, one)))) {
            expect(outcome).to.satisfy(isAnswer);
          }
        } finally {
          session.destroy();
        }
      }),
      { numRuns: cases(60) },
    );
    await expectUnharmed();
  });
}

/** What a client writes for these calls. */
async function record(socket: string, speak: Conversation['speak']): Promise<Buffer> {
  using place = temporaryDirectory();
  const path = place.at('proxy.sock');
  const written: Buffer[] = [];
  const sockets: Socket[] = [];
  const proxy = createServer((client) => {
    const server = createConnection(socket);
    client.on('data', (piece) => written.push(piece));
    client.pipe(server).pipe(client);
    sockets.push(client, server);
  });
  await new Promise<void>((resolve) => proxy.listen(path, resolve));
  try {
    await speak(path);
  } finally {
    for (const one of sockets) one.destroy();
    await new Promise((resolve) => proxy.close(resolve));
  }
  return Buffer.concat(written);
}

function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const end = at + HEADER_BYTES + bytes.readUIntBE(at, 3);
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return frames;
}

/** The frame, or another in its place; its length says what follows, or does not. */
function damagedFrame(frame: Buffer): fc.Arbitrary<Buffer> {
  const [header, payload] = [frame.subarray(0, HEADER_BYTES), frame.subarray(HEADER_BYTES)];
  const damaged = fc
    .record({
      length: fc.option(fc.oneof(fc.nat(64), fc.constantFrom(16_384, 16_385, 0xff_ff_ff)), {
        nil: undefined,
        freq: 5,
      }),
      type: fc.option(fc.nat(12), { nil: undefined, freq: 3 }),
      flags: fc.option(fc.nat(255), { nil: undefined, freq: 3 }),
      stream: fc.option(fc.constantFrom(0, 1, 2, 3, 5, 7, 2 ** 31 - 1, 2 ** 32 - 1), {
        nil: undefined,
        freq: 3,
      }),
      payload: fc.oneof({ weight: 3, arbitrary: fc.constant(payload) }, damagedBytes([payload])),
    })
    .map((changes) => {
      const changed = Buffer.from(header);
      changed.writeUIntBE(changes.length ?? changes.payload.length, 0, 3);
      if (changes.type !== undefined) changed.writeUInt8(changes.type, 3);
      if (changes.flags !== undefined) changed.writeUInt8(changes.flags, 4);
      if (changes.stream !== undefined) changed.writeUInt32BE(changes.stream, 5);
      return Buffer.concat([changed, changes.payload]);
    });
  return fc.oneof({ weight: 2, arbitrary: fc.constant(frame) }, { weight: 3, arbitrary: damaged });
}

/** Writes them, looks whether there is an answer to them, and goes. */
async function send(path: string, pieces: readonly Buffer[]): Promise<void> {
  const socket = createConnection(path);
  const closed = closeOf(socket);
  // The server may hang up at any moment.
  socket.on('error', () => undefined);
  socket.resume();
  const greeted = new Promise<void>((resolve) => void socket.once('data', () => resolve()));
  for (const piece of pieces) socket.write(piece);
  // Who does not wait to be let in fills the queue of the socket, and then nobody is (EAGAIN).
  await Promise.race([closed, greeted]);
  await Promise.race([closed, delay(ANSWER_MS)]);
  socket.destroy();
  await closed;
}

/** Not by `once` of node:events, which fails with an error that comes before. */
const closeOf = (stream: Duplex): Promise<void> =>
  new Promise((resolve) => void stream.once('close', () => resolve()));

function grpcMessage(body: Buffer): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(body.length, 1);
  return Buffer.concat([header, body]);
}

interface Outcome {
  readonly http: number | undefined;
  readonly code: number | undefined;
  readonly details: string;
}

interface OddCall {
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** @throws Error when there is none in time */
async function outcomeOf(
  session: ClientHttp2Session,
  { path, method, headers, body }: OddCall,
): Promise<Outcome> {
  const fields = {
    ':path': path,
    ':method': method,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  };
  const stream = session.request(fields, { endStream: false });
  let answer: IncomingHttpHeaders = {};
  const take = (more: IncomingHttpHeaders) => {
    answer = { ...answer, ...more };
  };
  stream
    .on('response', take)
    .on('trailers', take)
    .on('error', () => undefined)
    .resume();
  const closed = closeOf(stream);
  stream.end(body);
  const timeout = new AbortController();
  const late = delay(TIMEOUT_MS, true, { signal: timeout.signal });
  if ((await Promise.race([closed, late])) === true)
    throw new Error(`no answer to ${JSON.stringify(fields)}`);
  timeout.abort();
  await late.catch(() => undefined);
  const code = answer['grpc-status'];
  const { ':status': status, 'grpc-message': details = '' } = answer as Record<string, string | undefined>;
  return {
    http: status === undefined ? undefined : Number(status),
    code: code === undefined ? undefined : Number(code),
    details: decodeURIComponent(details),
  };
}

/** What gRPC itself says of a call that it cannot take for one (statuscodes.md of grpc/grpc). */
const OF_THE_PROTOCOL = /^(Invalid grpc-timeout value|Failed to decompress message)/;

function isAnswer({ code, details }: Outcome): boolean {
  if (code === Code.UNKNOWN) return false;
  return code !== Code.INTERNAL || OF_THE_PROTOCOL.test(details);
}
