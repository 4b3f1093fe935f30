// A gRPC server on a unix socket that only its owner can reach, from bind to an orderly end.
//
// We bind the socket ourselves and hand the connections to grpc-js, because it would bind some ticks
// later: the umask is a property of the whole process, and must not be changed while other code runs.

import { lstat, mkdir, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server as SocketServer } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Logger } from '../observe/logger.ts';
import { socketPathProblem } from './endpoint.ts';
import { withUnreadable } from './service.ts';

export interface Service {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

export interface ServeOptions {
  readonly path: string;
  readonly services: readonly Service[];
  readonly log: Logger;
  /** How long running calls may take when the server is disposed of, before they are cut. */
  readonly graceMs?: number;
  /** How long a connection may have no call before it is ended (default: 5 minutes). */
  readonly idleMs?: number;
}

/**
 * Long for a client that keeps one, and connects again by itself. A grpc-js client that is closed after it failed to
 * connect tries once more all the same, and would hold what it then gets for as long as both processes live.
 */
const IDLE_MS = 5 * 60_000;

export interface UnixServer extends AsyncDisposable {
  readonly path: string;
}

/**
 * Resolves when the socket accepts. The directory is made 0700 when missing, the socket is 0600, a stale
 * one is replaced. Two processes that start at the same moment can both find a stale socket: whoever can
 * be started twice holds a lock of its own around this.
 *
 * Disposing stops accepting and removes the socket at once, waits for running calls, cuts what is left
 * after the grace period and gives the handlers, whose signals are aborted then, one more second.
 */
export async function serveUnix({
  path,
  services,
  log,
  graceMs = 10_000,
  idleMs = IDLE_MS,
}: ServeOptions): Promise<UnixServer> {
  const problem = socketPathProblem(path);
  if (problem !== undefined) throw new Error(`cannot listen on ${path}: ${problem}`);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw new Error(`cannot listen on ${path}: ${messageOf(cause)}`, { cause });
  });
  await removeStale(path);

  const running = new Set<Promise<unknown>>();
  const server = new Server({ 'grpc.enable_channelz': 0, 'grpc.max_connection_idle_ms': idleMs });
  for (const { definition, implementation } of services) {
    server.addService(withUnreadable(definition), tracked(implementation, running, log));
  }
  const connections = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createServer((socket) => connections.injectConnection(socket));
  await listen(listener, path);
  listener.on('error', (error) => log.error('listening socket failed', { path, error }));
  log.info('listening', { path });

  let stopped: Promise<void> | undefined;
  const stop = async () => {
    // Also unlinks the socket. We do not do so ourselves later: by then a successor may listen there.
    listener.close();
    const finished = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    const idle = finished.then(() => Promise.allSettled(running));
    if (!(await within(idle, graceMs))) {
      log.warn('cutting calls that outlast the grace period', { path, graceMs, calls: running.size });
      // Not forceShutdown(): in grpc-js 1.14 it only knows the sessions that are registered for channelz.
      connections.drain(0);
      if (!(await within(idle, settleMs))) {
        log.error('handlers go on after their calls were cut', { path, calls: running.size });
      }
    }
    log.info('stopped listening', { path });
  };
  return {
    path,
    [Symbol.asyncDispose]: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

/** How long handlers whose calls were cut may take to undo what they did. */
const settleMs = 1000;

async function listen(listener: SocketServer, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  listener.once('error', reject);
  listener.once('listening', resolve);
  // For a path, listen() binds before it returns, so nothing else is made under this umask; bind(2) gives
  // the socket 0777 less the umask.
  const umask = process.umask(0o177);
  try {
    listener.listen({ path });
  } finally {
    process.umask(umask);
  }
  try {
    await promise;
  } catch (cause) {
    throw new Error(`cannot listen on ${path}: ${messageOf(cause)}`, { cause });
  }
  listener.off('error', reject);
}

/** A killed predecessor may hold it for a moment, as its lock (journal/lock.ts). */
const PATIENCE_MS = 1_500;
const INTERVAL_MS = 50;

async function removeStale(path: string): Promise<void> {
  const info = await lstat(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (info === undefined) return;
  if (!info.isSocket()) throw new Error(`cannot listen on ${path}: it exists and is not a socket`);
  for (let waited = 0; await accepts(path); waited += INTERVAL_MS) {
    if (waited >= PATIENCE_MS) {
      throw new Error(`cannot listen on ${path}: another process is listening there`);
    }
    await delay(INTERVAL_MS);
  }
  await rm(path, { force: true });
}

/** Whether somebody listens. Only a refusal proves that nobody does: a full backlog is EAGAIN, say. */
async function accepts(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const socket = createConnection({ path });
  socket.once('connect', () => resolve(true));
  socket.once('error', (error) => {
    const code = codeOf(error);
    if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
    else if (code === 'EAGAIN') resolve(true);
    else reject(new Error(`cannot tell whether ${path} is in use: ${error.message}`, { cause: error }));
  });
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

/** The same functions, each noting the promise that it returns (service.ts) until that settles. */
function tracked(
  implementation: UntypedServiceImplementation,
  running: Set<Promise<unknown>>,
  log: Logger,
): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(implementation).map(([name, handle]) => {
      const call = handle as (...parameters: unknown[]) => unknown;
      const track = (...parameters: unknown[]) => {
        const promise: Promise<unknown> = Promise.resolve(call(...parameters))
          // A handler's failure is an answer; this is a failure to answer, which must not end the process.
          .catch((error: unknown) => log.error('a call could not be answered', { method: name, error }))
          .finally(() => running.delete(promise));
        running.add(promise);
      };
      return [name, track];
    }),
  );
}

async function within(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const timeout = new AbortController();
  try {
    return await Promise.race([
      promise.then(() => true),
      delay(milliseconds, false, { signal: timeout.signal }),
    ]);
  } finally {
    timeout.abort();
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
