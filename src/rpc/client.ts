// A small promise client over a unix socket, for tests, `demo` and `doctor`. Not for talking to anything
// remote: there is no TLS and no retry of ours.

import {
  credentials,
  Client as GrpcClient,
  type MethodDefinition,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import type { RequestOf, ResponseOf, UnaryName } from './service.ts';
import { codeName, StatusError } from './status.ts';

export interface CallOptions {
  /** Sent to the server as the deadline, too. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** One method per unary RPC; each rejects with a StatusError. */
export type Client<Definition> = {
  readonly [Name in UnaryName<Definition>]: (
    request: RequestOf<Definition[Name]>,
    options?: CallOptions,
  ) => Promise<ResponseOf<Definition[Name]>>;
} & Disposable & { close(): void };

/** Connects at the first call; a socket that nobody serves makes that call fail as UNAVAILABLE. */
export function connect<Definition extends ServiceDefinition>(
  definition: Definition,
  socketPath: string,
): Client<Definition> {
  // A pool of its own: shared, a socket that was down a moment ago would stay so for the back-off's time.
  const client = new GrpcClient(`unix:${socketPath}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_channelz': 0,
  });
  const close = () => client.close();
  const methods = Object.entries<Method>(definition)
    .filter(([, method]) => !method.requestStream && !method.responseStream)
    .map(([name, method]) => [
      name,
      (request: unknown, options: CallOptions = {}) => call(client, method, request, options),
    ]);
  return { ...Object.fromEntries(methods), close, [Symbol.dispose]: close };
}

type Method = MethodDefinition<unknown, unknown>;

async function call(
  client: GrpcClient,
  method: Method,
  request: unknown,
  { timeoutMs, signal }: CallOptions,
): Promise<unknown> {
  if (signal?.aborted) {
    throw new StatusError({ code: 'CANCELLED', message: 'cancelled before the call', cause: signal.reason });
  }
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const ongoing = client.makeUnaryRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
    timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs },
    (error, response) => {
      if (error === null) resolve(response);
      else reject(new StatusError({ code: failure(error.code), message: error.details, cause: error }));
    },
  );
  const cancel = () => ongoing.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await promise;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

/** An error that says OK is the library's contradiction, not a success. */
function failure(code: number): StatusError['code'] {
  const name = codeName(code);
  return name === 'OK' ? 'UNKNOWN' : name;
}
