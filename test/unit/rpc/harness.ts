// What the tests of the rpc room share: a temporary directory, a logger whose lines can be looked at, and
// a service over a real socket.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { createLogger, type LogFormat, type Logger } from '../../../src/observe/logger.ts';
import { type Client, connect } from '../../../src/rpc/client.ts';
import { NodeService } from '../../../src/rpc/generated/csi.ts';
import { type ServeOptions, serveUnix, type UnixServer } from '../../../src/rpc/server.ts';
import { type Handlers, type ServiceOptions, toImplementation } from '../../../src/rpc/service.ts';

export interface CapturedLog {
  readonly log: Logger;
  /** All that was written. */
  text(): string;
  /** The lines of the JSON format. */
  lines(): Record<string, unknown>[];
  /** The one line per call. */
  calls(): Record<string, unknown>[];
}

export function captureLog(format: LogFormat = 'json'): CapturedLog {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk;
      done();
    },
  });
  const lines = (): Record<string, unknown>[] =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  return {
    log: createLogger({ level: 'debug', format, stream }),
    text: () => text,
    lines,
    calls: () => lines().filter(({ message }) => message === 'rpc'),
  };
}

export interface Scratch extends AsyncDisposable {
  readonly directory: string;
  readonly socket: string;
}

export async function scratch(): Promise<Scratch> {
  const directory = await mkdtemp(join(tmpdir(), 'rpc-'));
  return {
    directory,
    socket: join(directory, 'csi.sock'),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

export interface NodeFixture {
  readonly socket: string;
  readonly server: UnixServer;
  readonly client: Client<NodeService>;
  readonly captured: CapturedLog;
}

export type NodeHandlers = Handlers<NodeService>;

/** A Node service with these handlers and a client of it; what it opened goes onto `stack`. */
export async function serveNode(
  stack: AsyncDisposableStack,
  handlers: NodeHandlers,
  options: Partial<ServiceOptions & Pick<ServeOptions, 'graceMs'>> = {},
): Promise<NodeFixture> {
  const { socket } = stack.use(await scratch());
  const { graceMs = 1000, ...service } = options;
  const captured = captureLog();
  const implementation = toImplementation(NodeService, handlers, { log: captured.log, ...service });
  const server = stack.use(
    await serveUnix({
      path: socket,
      services: [{ definition: NodeService, implementation }],
      log: captured.log,
      graceMs,
    }),
  );
  return { socket, server, client: stack.use(connect(NodeService, socket)), captured };
}

/** The rejection of a promise, which must reject. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('expected a rejection');
}
