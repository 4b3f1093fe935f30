// ttrpc, containerd's gRPC without HTTP/2 (PROTOCOL.md of containerd/ttrpc): both roles over a stream of bytes, for calls
// of one request and one response. Streams, which nobody uses here, are answered as a server that has none does.
//
//   bytes 0-3   length of what follows the header, big-endian, 4 MiB at most
//   bytes 4-7   number of the call: odd, each larger than the last
//   byte 8      1 request, 2 response, 3 data of a stream
//   byte 9      flags, of streams
//
//   what comes                          is answered
//   a request of a known method         by its handler: the payload, or a StatusError; UNKNOWN for any other error
//   of an unknown service or method     UNIMPLEMENTED
//   that cannot be read; a bad number   INVALID_ARGUMENT
//   a message of an unknown type        not at all: it is of a later version
//   a message that is too long          by the end of the connection (FrameError)
import { Request, Response } from '../rpc/generated/ttrpc.ts';
import { Code, type CodeName, codeName, StatusError } from '../rpc/status.ts';
import { frameReader } from './frames.ts';

const HEADER_BYTES = 10;
const MOST_BYTES = 4 << 20;

const TYPE = { request: 1, response: 2, data: 3 } as const;

export interface Message {
  readonly stream: number;
  readonly type: number;
  readonly body: Buffer;
}

/** @throws FrameError */
export function messageReader(): (piece: Uint8Array) => Message[] {
  const read = frameReader({
    headerBytes: HEADER_BYTES,
    lengthOf: (header) => header.readUInt32BE(0),
    mostBytes: MOST_BYTES,
    name: 'ttrpc message',
  });
  return (piece) =>
    read(piece).map(({ header, body }) => ({
      stream: header.readUInt32BE(4),
      type: header.readUInt8(8),
      body,
    }));
}

export function encodeMessage({ stream, type, body }: Omit<Message, 'body'> & { body: Uint8Array }): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(body.length, 0);
  header.writeUInt32BE(stream, 4);
  header.writeUInt8(type, 8);
  return Buffer.concat([header, body]);
}

/** How long the caller waits for the answer, where it says so. */
export interface Call {
  readonly timeoutMs: number | undefined;
}

export type Method = (payload: Uint8Array, call: Call) => Promise<Uint8Array>;

/** Methods by name, by the full name of their service. */
export type Services = ReadonlyMap<string, ReadonlyMap<string, Method>>;

export interface Endpoint {
  /** What came. @throws FrameError */
  receive(bytes: Uint8Array): void;
}

/** @param send on the same connection; must not throw */
export function ttrpcServer(services: Services, send: (bytes: Uint8Array) => void): Endpoint {
  const read = messageReader();
  let last = 0;
  const answer = (stream: number, response: Partial<Response>) => {
    const body = Response.encode(Response.create(response)).finish();
    send(encodeMessage({ stream, type: TYPE.response, body }));
  };
  const refuse = (stream: number, error: unknown) =>
    answer(stream, { status: { code: Code[codeOf(error)], message: messageOf(error) } });

  /** @throws StatusError */
  function requestOf({ stream, type, body }: Message): Request | undefined {
    if (stream % 2 !== 1) throw invalid('StreamID must be odd for client initiated streams');
    if (type === TYPE.data) throw invalid('StreamID is no longer active');
    if (type !== TYPE.request) return undefined;
    if (stream <= last) throw invalid('StreamID cannot be re-used and must increment');
    last = stream;
    return decode(body);
  }

  return {
    receive(bytes) {
      for (const message of read(bytes)) {
        const { stream } = message;
        try {
          const request = requestOf(message);
          if (request === undefined) continue;
          carryOut(services, request).then(
            (payload) => answer(stream, { payload: Buffer.from(payload) }),
            (error: unknown) => refuse(stream, error),
          );
        } catch (error) {
          refuse(stream, error);
        }
      }
    },
  };
}

async function carryOut(services: Services, request: Request): Promise<Uint8Array> {
  const { service, method: name, payload, timeoutNano } = request;
  const methods = services.get(service);
  if (methods === undefined) throw unimplemented(`service ${service}`);
  const method = methods.get(name);
  if (method === undefined) throw unimplemented(`method ${name}`);
  return method(payload, { timeoutMs: timeoutNano > 0n ? Number(timeoutNano) / 1e6 : undefined });
}

function decode(body: Uint8Array): Request {
  try {
    return Request.decode(body);
  } catch (error) {
    throw invalid(`unmarshal request error: ${messageOf(error)}`);
  }
}

const invalid = (message: string) => new StatusError({ code: 'INVALID_ARGUMENT', message });
const unimplemented = (message: string) => new StatusError({ code: 'UNIMPLEMENTED', message });

const codeOf = (error: unknown): CodeName => (error instanceof StatusError ? error.code : 'UNKNOWN');
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export interface TtrpcClient extends Endpoint {
  /** @throws StatusError with what the other side says, or UNAVAILABLE when it does not answer in time */
  call(service: string, method: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  /** Nothing more will come: calls that wait fail with this. */
  end(why: string): void;
}

/** @param send on the same connection; must not throw */
export function ttrpcClient(send: (bytes: Uint8Array) => void): TtrpcClient {
  const read = messageReader();
  const waiting = new Map<number, (response: Response | StatusError) => void>();
  let next = 1;
  let ended: StatusError | undefined;
  return {
    receive(bytes) {
      for (const { stream, type, body } of read(bytes)) {
        if (type === TYPE.response) waiting.get(stream)?.(responseOf(body));
      }
    },
    async call(service, method, payload, timeoutMs) {
      if (ended !== undefined) throw ended;
      const stream = next;
      next += 2;
      const { promise, resolve } = Promise.withResolvers<Response | StatusError>();
      waiting.set(stream, resolve);
      const timer = setTimeout(() => resolve(unavailable(`no answer within ${timeoutMs} ms`)), timeoutMs);
      try {
        const timeoutNano = BigInt(Math.ceil(timeoutMs)) * 1_000_000n;
        const request = Request.create({ service, method, payload: Buffer.from(payload), timeoutNano });
        send(encodeMessage({ stream, type: TYPE.request, body: Request.encode(request).finish() }));
        const response = await promise;
        if (response instanceof StatusError) throw response;
        return payloadOf(response);
      } finally {
        clearTimeout(timer);
        waiting.delete(stream);
      }
    },
    end(why) {
      ended = unavailable(why);
      for (const resolve of waiting.values()) resolve(ended);
    },
  };
}

const unavailable = (message: string) => new StatusError({ code: 'UNAVAILABLE', message });

function responseOf(body: Uint8Array): Response | StatusError {
  try {
    return Response.decode(body);
  } catch (error) {
    return new StatusError({
      code: 'INTERNAL',
      message: `an answer that cannot be read: ${messageOf(error)}`,
    });
  }
}

function payloadOf({ status, payload }: Response): Uint8Array {
  if (status === undefined || status.code === Code.OK) return payload;
  const code = codeName(status.code);
  throw new StatusError({ code: code === 'OK' ? 'UNKNOWN' : code, message: status.message });
}
