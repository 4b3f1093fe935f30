// From handlers (a promise per unary method, typed by the generated definition) to what grpc-js serves.
// The one place where errors become codes, where a call is logged, and where calls are measured.

import type {
  MethodDefinition,
  ServerUnaryCall,
  ServiceDefinition,
  sendUnaryData,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { LogFields, Logger } from '../observe/logger.ts';
import { type CallContext, openContext } from './context.ts';
import { redactRequest, secretTexts } from './redact.ts';
import { type Scrub, scrubbedLogger, scrubber } from './scrub.ts';
import { Code, type CodeName, toStatus as defaultToStatus, StatusError } from './status.ts';

/** The names of a service's methods that stream neither way. */
export type UnaryName<Definition> = {
  [Name in keyof Definition]: Definition[Name] extends { requestStream: false; responseStream: false }
    ? Name
    : never;
}[keyof Definition];

export type RequestOf<Method> = Method extends { requestDeserialize: (bytes: Buffer) => infer Request }
  ? Request
  : never;

export type ResponseOf<Method> = Method extends { responseDeserialize: (bytes: Buffer) => infer Response }
  ? Response
  : never;

/** A method that is left out answers UNIMPLEMENTED; streaming methods cannot be given. */
export type Handlers<Definition> = {
  readonly [Name in UnaryName<Definition>]?: (
    request: RequestOf<Definition[Name]>,
    context: CallContext,
  ) => Promise<ResponseOf<Definition[Name]>>;
};

export interface Observation {
  readonly method: string;
  readonly code: CodeName;
  readonly seconds: number;
}

export interface ServiceOptions {
  readonly log: Logger;
  /** Applied to whatever a handler throws. */
  readonly toStatus?: (error: unknown) => StatusError;
  /** Called once per finished call. */
  readonly observe?: (observation: Observation) => void;
}

/** In place of a request whose bytes could not be decoded. */
class UnreadableRequest {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

/**
 * The same methods, but that bytes which are no request reach the implementation, which answers INVALID_ARGUMENT and has a
 * line in the log for it. grpc-js would answer INTERNAL, and say nothing.
 */
export function withUnreadable<Definition extends ServiceDefinition>(definition: Definition): Definition {
  const methods = Object.entries<Method>(definition).map(([name, method]) => {
    const requestDeserialize = (bytes: Buffer): unknown => {
      try {
        return method.requestDeserialize(bytes);
      } catch (error) {
        return new UnreadableRequest(error);
      }
    };
    return [name, { ...method, requestDeserialize }];
  });
  return Object.fromEntries(methods) as Definition;
}

/**
 * The functions given back return a promise that settles when the handler has: a server that stops waits
 * for these, since a handler goes on after its caller left.
 */
export function toImplementation<Definition extends ServiceDefinition>(
  definition: Definition,
  handlers: Handlers<Definition>,
  options: ServiceOptions,
): UntypedServiceImplementation {
  // The mapped type is precise towards the caller; by name, at run time, all handlers look the same.
  const byName = handlers as { readonly [name: string]: Handler | undefined };
  const implementation: UntypedServiceImplementation = {};
  for (const [name, method] of Object.entries<Method>(definition)) {
    // grpc-js itself answers UNIMPLEMENTED where it finds nothing: that is for the streaming ones.
    if (method.requestStream || method.responseStream) continue;
    implementation[name] = (call: Call, callback: Callback) =>
      answer(method, byName[name]?.bind(handlers), options, call, callback);
  }
  return implementation;
}

type Method = MethodDefinition<unknown, unknown>;
type Handler = (request: unknown, context: CallContext) => Promise<unknown>;
type Call = ServerUnaryCall<unknown, unknown>;
type Callback = sendUnaryData<unknown>;

async function answer(
  method: Method,
  handler: Handler | undefined,
  options: ServiceOptions,
  call: Call,
  callback: Callback,
): Promise<void> {
  const started = performance.now();
  const { request, handle } = readable(method, handler, call.request);
  const scrub = scrubber(secretTexts(method.path, request));
  using open = openContext({
    method: method.path,
    deadline: Number(call.getDeadline()),
    log: (fields) => scrubbedLogger(options.log.child(fields), scrub),
  });
  const { context } = open;
  call.on('cancelled', open.cancel);
  if (call.cancelled) open.cancel();

  context.log.debug('rpc request', () => ({ request: redactRequest(method.path, request) }));
  const outcome = await attempt(method, handle, options, request, context);
  call.off('cancelled', open.cancel);

  const seconds = (performance.now() - started) / 1000;
  const status = outcome.failed === undefined ? undefined : scrubbed(outcome.failed.status, scrub);
  const code = status?.code ?? 'OK';
  // First the answer: nobody waits for what is told of it.
  if (status === undefined) callback(null, outcome.response);
  else callback({ code: Code[status.code], details: forWire(status.message) });

  report(context, request, { code, status, seconds, thrown: outcome.failed?.thrown });
  try {
    options.observe?.({ method: method.path, code, seconds });
  } catch (error) {
    context.log.error('observing a call failed', { error });
  }
}

/** Of one that cannot be read, nothing is known. */
function readable(
  method: Method,
  handler: Handler | undefined,
  request: unknown,
): { readonly request: unknown; readonly handle: Handler | undefined } {
  if (!(request instanceof UnreadableRequest)) return { request, handle: handler };
  const { error } = request;
  const message = `the request cannot be read: ${error instanceof Error ? error.message : error}`;
  const handle = () => Promise.reject(new StatusError({ code: 'INVALID_ARGUMENT', message, cause: error }));
  return { request: method.requestDeserialize(Buffer.alloc(0)), handle };
}

type Outcome =
  | { readonly failed?: undefined; readonly response: unknown }
  | {
      readonly failed: { readonly status: StatusError; readonly thrown: unknown };
      readonly response?: undefined;
    };

async function attempt(
  method: Method,
  handler: Handler | undefined,
  { toStatus = defaultToStatus }: ServiceOptions,
  request: unknown,
  context: CallContext,
): Promise<Outcome> {
  try {
    if (handler === undefined) {
      throw new StatusError({ code: 'UNIMPLEMENTED', message: `${method.path} is not implemented` });
    }
    const response = await handler(request, context);
    // grpc-js would answer a response that cannot be encoded behind our back, after it was logged as OK.
    method.responseSerialize(response);
    return { response };
  } catch (thrown) {
    try {
      return { failed: { status: toStatus(thrown), thrown } };
    } catch (broken) {
      return { failed: { status: defaultToStatus(broken), thrown: broken } };
    }
  }
}

interface Report {
  readonly code: CodeName;
  readonly status: StatusError | undefined;
  readonly seconds: number;
  readonly thrown: unknown;
}

/** The one line per call. */
function report(context: CallContext, request: unknown, { code, status, seconds, thrown }: Report): void {
  const fields: LogFields = { ...subject(request), durationMs: Math.round(seconds * 1e6) / 1e3, code };
  if (context.signal.aborted) {
    // The handler's outcome is above; the caller has seen this one.
    fields.callerSaw =
      context.signal.reason instanceof StatusError ? context.signal.reason.code : 'CANCELLED';
  }
  if (status === undefined) {
    context.log.info('rpc', fields);
    return;
  }
  fields.error = status.message;
  // Nobody foresaw it: where it came from is worth the space.
  const unforeseen = code === 'INTERNAL' || code === 'UNKNOWN' || isDefect(thrown);
  if (unforeseen && thrown instanceof Error && !(thrown instanceof StatusError)) fields.stack = thrown.stack;
  context.log[unforeseen ? 'error' : 'warn']('rpc', fields);
}

/** What the language itself throws; the table of a service may have given it any code. */
const isDefect = (thrown: unknown): boolean =>
  [TypeError, RangeError, ReferenceError, SyntaxError].some((one) => thrown instanceof one);

/** What the call was about. Requests have at most one path of each name; stats and expand call it volumePath. */
function subject(request: unknown): LogFields {
  const fields: LogFields = {};
  if (typeof request !== 'object' || request === null) return fields;
  const all = request as Record<string, unknown>;
  for (const name of ['volumeId', 'targetPath', 'stagingTargetPath', 'volumePath']) {
    const value = all[name];
    if (typeof value === 'string' && value !== '') fields[name] = value;
  }
  return fields;
}

function scrubbed(status: StatusError, scrub: Scrub): StatusError {
  const message = scrub(status.message);
  if (message === status.message) return status;
  return new StatusError({ code: status.code, message, cause: status.cause });
}

/**
 * The message travels percent-encoded in an HTTP/2 header: a lone surrogate cannot be encoded (grpc-js
 * throws) and a header block has a limit of 64 KiB, of which one character may take nine bytes.
 */
function forWire(message: string): string {
  const text = message.length > longestMessage ? `${message.slice(0, longestMessage)}…` : message;
  return text.toWellFormed();
}

const longestMessage = 4096;
