// An NRI plugin that stays registered: connected again whenever the runtime is there again.
//
//   what happens                       what is done
//   there is no socket                 looked again after a while: the runtime is down, has no NRI, or has it switched off
//   the runtime does not register us   tried again, after longer each time
//   the connection ends                tried again at once: a runtime that restarts is back in a moment
//   a frame cannot be read             the same
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../observe/logger.ts';
import { type ConnectOptions, connectToRuntime } from './connection.ts';

export type PluginState =
  | { readonly is: 'registered'; readonly runtime: string }
  /** `lost`: it was, so long ago. */
  | { readonly is: 'not-registered'; readonly because: string; readonly lostMs: number | undefined };

export interface PluginOptions extends Omit<ConnectOptions, 'signal'> {
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Before the first new try; each that follows waits twice as long as the last. */
  readonly retryMs?: number;
  readonly longestRetryMs?: number;
}

export interface RunningPlugin extends AsyncDisposable {
  state(): PluginState;
  /** Resolves when the first try has succeeded or failed. */
  readonly tried: Promise<void>;
}

const RETRY_MS = 100;
const LONGEST_RETRY_MS = 2_000;

export function keepConnected(options: PluginOptions): RunningPlugin {
  const { log, socketPath, retryMs = RETRY_MS, longestRetryMs = LONGEST_RETRY_MS } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const { promise: tried, resolve: onTried } = Promise.withResolvers<void>();
  let runtime: string | undefined;
  let because = 'not tried yet';
  let lostAt: number | undefined;

  /** A line for each reason, not for each try. Many nodes have no NRI, which is no reason to worry. */
  const fail = (why: string) => {
    const say = lostAt === undefined ? log.info : log.warn;
    if (why !== because) say('not registered with the container runtime', { socket: socketPath, why });
    because = why;
  };

  async function keep(): Promise<void> {
    let waitMs = retryMs;
    while (!signal.aborted) {
      try {
        using connection = await connectToRuntime({ ...options, signal });
        runtime = connection.runtime;
        waitMs = retryMs;
        log.info('registered with the container runtime', { socket: socketPath, runtime });
        onTried();
        because = await connection.ended;
        if (!signal.aborted) log.warn('the container runtime is gone', { socket: socketPath, why: because });
        lostAt = performance.now();
      } catch (error) {
        if (!signal.aborted) fail(error instanceof Error ? error.message : String(error));
      } finally {
        runtime = undefined;
        onTried();
      }
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
      waitMs = Math.min(2 * waitMs, longestRetryMs);
    }
  }

  const kept = keep();
  return {
    state: () =>
      runtime !== undefined
        ? { is: 'registered', runtime }
        : {
            ...{ is: 'not-registered', because },
            lostMs: lostAt === undefined ? undefined : performance.now() - lostAt,
          },
    tried,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await kept;
    },
  };
}
