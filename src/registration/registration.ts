// Registration with kubelet, with no sidecar: a socket in the directory that kubelet watches, where it asks for the
// name of the driver and for its CSI socket (service.ts).
//
//   what happens                        what is done
//   kubelet says: registered            nothing more; it asks by itself again when it restarts
//   kubelet says: not registered        the socket is removed, and made anew after a while: it tries each socket once
//   the socket is gone                  made anew: somebody cleaned the directory, which unregistered the driver
//   the socket cannot be made           tried again after a while; mounts are served all the same
//   another socket is in its place      said, and left: two drivers, or a registrar beside this one, have one name
//   the driver stops                    the socket is removed, by which kubelet unregisters the driver
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../observe/logger.ts';
import { socketPathProblem } from '../rpc/endpoint.ts';
import { RegistrationService } from '../rpc/generated/pluginregistration.ts';
import { serveUnix } from '../rpc/server.ts';
import { toImplementation } from '../rpc/service.ts';
import { registrationHandlers } from './service.ts';

export interface RegistrationOptions {
  /** The one that kubelet watches: `plugins_registry` of its own. */
  readonly directory: string;
  readonly driverName: string;
  /** The CSI socket as kubelet finds it: a path on the host. */
  readonly endpoint: string;
  readonly log: Logger;
  readonly timing?: Partial<Timing>;
}

export interface Timing {
  /** Before the first new try; each that follows waits twice as long as the last. */
  readonly retryMs: number;
  readonly longestRetryMs: number;
  /** How often the socket is looked after. */
  readonly checkMs: number;
}

export interface Registration extends AsyncDisposable {
  /** Whether kubelet has said so, of the socket that is there now. */
  isRegistered(): boolean;
}

const TIMING: Timing = { retryMs: 1_000, longestRetryMs: 30_000, checkMs: 2_000 };
/** Its calls take no time. */
const GRACE_MS = 1_000;

/**
 * Returns at once, and keeps the driver registered until it is disposed of.
 * @throws Error when no socket can be made in this directory, ever
 */
export function keepRegistered(options: RegistrationOptions): Registration {
  const { directory, driverName, log } = options;
  const path = join(directory, `${driverName}-reg.sock`);
  const problem = socketPathProblem(path);
  if (problem !== undefined) throw new Error(`cannot register with kubelet by ${path}: ${problem}`);

  const timing = { ...TIMING, ...options.timing };
  const stopping = new AbortController();
  const { signal } = stopping;
  let registered = false;
  let retryMs = timing.retryMs;
  const onRegistered = () => {
    registered = true;
    retryMs = timing.retryMs;
    log.info('registered with kubelet', { path });
  };
  const onTaken = () => {
    registered = false;
    log.error('another process has put its socket in place of ours: only one may register a driver', {
      path,
    });
  };

  const keep = async () => {
    while (!signal.aborted) {
      const ended = await serve({ ...options, path, checkMs: timing.checkMs, onRegistered, onTaken, signal });
      registered = false;
      if (ended.by === 'stop') return;
      if (ended.by === 'loss') {
        log.warn('the registration socket is gone and is made anew', { path });
        continue;
      }
      log.warn('not registered with kubelet', { path, problem: ended.problem, retryMs });
      await delay(retryMs, undefined, { signal }).catch(() => {});
      retryMs = Math.min(2 * retryMs, timing.longestRetryMs);
    }
  };
  const kept = keep();
  return {
    isRegistered: () => registered,
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await kept;
    },
  };
}

type Ended =
  | { readonly by: 'stop' }
  | { readonly by: 'loss' }
  /** Kubelet refused, or the socket could not be made. */
  | { readonly by: 'problem'; readonly problem: string };

interface Serving extends RegistrationOptions {
  readonly path: string;
  readonly checkMs: number;
  readonly onRegistered: () => void;
  readonly onTaken: () => void;
  readonly signal: AbortSignal;
}

/** One life of the socket. */
async function serve({ path, signal, ...options }: Serving): Promise<Ended> {
  const { driverName, endpoint, log, checkMs, onRegistered, onTaken } = options;
  const { promise: ended, resolve: end } = Promise.withResolvers<Ended>();
  const stop = () => end({ by: 'stop' });
  signal.addEventListener('abort', stop);
  const handlers = registrationHandlers({
    driverName,
    endpoint,
    onRegistered,
    onRefused: (problem) => end({ by: 'problem', problem: `kubelet refuses: ${problem}` }),
  });
  const implementation = toImplementation(RegistrationService, handlers, { log });
  try {
    await using _server = await serveUnix({
      path,
      log,
      graceMs: GRACE_MS,
      services: [{ definition: RegistrationService, implementation }],
    });
    using _check = await looking({ path, log, checkMs, onGone: () => end({ by: 'loss' }), onTaken });
    return await ended;
  } catch (error) {
    return { by: 'problem', problem: error instanceof Error ? error.message : String(error) };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

interface Looking {
  readonly path: string;
  readonly log: Logger;
  readonly checkMs: number;
  readonly onGone: () => void;
  readonly onTaken: () => void;
}

/** By looking again and again: a watch would end with the directory, which is what it should tell. */
async function looking({ path, log, checkMs, onGone, onTaken }: Looking): Promise<Disposable> {
  const ours = await identityOf(path);
  let last = ours;
  const look = async () => {
    const now = await identityOf(path);
    if (now === undefined) onGone();
    else if (now !== ours && now !== last) onTaken();
    last = now;
  };
  const timer = setInterval(() => {
    look().catch((error: unknown) => log.warn('cannot look after the registration socket', { path, error }));
  }, checkMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Inode numbers come again. */
async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { ino, birthtimeNs } = await lstat(path, { bigint: true });
    return `${ino} of ${birthtimeNs}`;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
