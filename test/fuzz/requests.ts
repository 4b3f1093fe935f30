// Requests with damage in them, and a client that sends such: of a valid one a text is changed, or its bytes are.
import type { ServiceDefinition } from '@grpc/grpc-js';
import fc from 'fast-check';
import { connect } from '../../src/rpc/client.ts';
import { type CodeName, StatusError } from '../../src/rpc/status.ts';
import { damagedBytes, damagedText } from './damage.ts';

/** No call takes as long. */
export const TIMEOUT_MS = 60_000;
/** Bad input is none of these. UNAVAILABLE is what the driver answers to what it did not foresee. */
export const NEVER: readonly CodeName[] = [
  'UNKNOWN',
  'INTERNAL',
  'DATA_LOSS',
  'UNIMPLEMENTED',
  'UNAVAILABLE',
];

export interface Sent {
  readonly method: string;
  readonly bytes: Uint8Array;
}

export interface Answer {
  readonly code: CodeName;
  readonly message: string;
  /** Its bytes, where it is OK. */
  readonly answer: Buffer;
}

export interface RawClient extends Disposable {
  send(sent: Sent, timeoutMs?: number): Promise<Answer>;
}

/** Sends bytes for what a request should be, and gives those of the answer. */
export function rawClient(methods: ServiceDefinition, socket: string): RawClient {
  const definition = Object.fromEntries(
    Object.entries(methods).map(([name, method]) => {
      return [
        name,
        {
          ...method,
          requestSerialize: (bytes: Uint8Array) => Buffer.from(bytes),
          responseDeserialize: (bytes: Buffer) => bytes,
        },
      ];
    }),
  ) as unknown as ServiceDefinition;
  const client = connect(definition, socket) as unknown as Disposable &
    Readonly<Record<string, (bytes: Uint8Array, options: { timeoutMs: number }) => Promise<unknown>>>;
  return {
    async send({ method, bytes }, timeoutMs = TIMEOUT_MS) {
      try {
        const answer = (await client[method]?.(bytes, { timeoutMs })) as Buffer;
        return { code: 'OK', message: '', answer };
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        return { code: error.code, message: error.message, answer: Buffer.alloc(0) };
      }
    },
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}

interface Kind<T> {
  encode(message: T): { finish(): Uint8Array };
}

export interface Valid {
  readonly method: string;
  readonly message: object;
  readonly encode: (message: object) => Uint8Array;
}

export const sentOf = ({ method, message, encode }: Valid): Sent => ({ method, bytes: encode(message) });

/** Valid requests of one method. */
export const requestsTo = <T extends object>(
  method: string,
  kind: Kind<T>,
  messages: readonly T[],
): Valid[] =>
  messages.map((message) => ({ method, message, encode: (changed) => kind.encode(changed as T).finish() }));

/** One of its texts is damaged, or its bytes are. */
export function damagedRequest(valid: Valid): fc.Arbitrary<Sent> {
  const { method, message, encode } = valid;
  const texts = textsOf(message);
  const inBytes = damagedBytes([encode(message)]).map((bytes) => ({ method, bytes }));
  if (texts.length === 0) return inBytes;
  const inText = fc.nat(texts.length - 1).chain((nth) =>
    damagedText([texts[nth] ?? '']).map((text) => {
      let at = 0;
      return { method, bytes: encode(withTexts(message, (old) => (at++ === nth ? text : old)) as object) };
    }),
  );
  return fc.oneof({ weight: 2, arbitrary: inText }, inBytes);
}

function textsOf(message: object): string[] {
  const texts: string[] = [];
  withTexts(message, (text) => {
    texts.push(text);
    return text;
  });
  return texts;
}

/** The keys of maps are texts too, those of messages are not: they are told by their names. */
const KEYED: readonly string[] = ['volumeContext', 'secrets', 'publishContext'];

function withTexts(value: unknown, change: (text: string) => string, isMap = false): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => withTexts(item, change));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => {
    if (key === '$case') return [key, inner];
    return [isMap ? change(key) : key, withTexts(inner, change, KEYED.includes(key))];
  });
  return Object.fromEntries(entries);
}
