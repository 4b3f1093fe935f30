// The composition root of `fuse-host`: builds it, listens, and ends in order.
import { setTimeout as sleep } from 'node:timers/promises';
import { helperGroups } from './fuse-host/cgroup.ts';
import { type Helpers, type HelperView, runHelpers } from './fuse-host/helpers.ts';
import { becomeSubreaper } from './fuse-host/processes.ts';
import { PROTOCOLS } from './fuse-host/protocol.ts';
import { hostHandlers } from './fuse-host/service.ts';
import type { FuseHostConfig } from './fuse-host-config.ts';
import { processEngine } from './mount/engine/processes.ts';
import { withWhatTheyLeadTo } from './node/authorization.ts';
import type { Logger } from './observe/logger.ts';
import { authorize } from './policy/authorize.ts';
import { FuseHostService } from './rpc/generated/fusehost.ts';
import { serveUnix } from './rpc/server.ts';
import { toImplementation } from './rpc/service.ts';
import { servedPolicy } from './served-policy.ts';
import { VERSION } from './version.ts';

export interface RunningFuseHost extends AsyncDisposable {
  /** Starts nothing any more, and waits for the mounts of its helpers to go, for as long as `grace` says. */
  drain(signal: AbortSignal): Promise<void>;
}

const PATIENCE = { timeoutMs: 10_000 } as const;

/** Resolves when the socket accepts calls. Disposing it leaves the helpers that run: they serve for as long as they may. */
export async function startFuseHost(config: FuseHostConfig, log: Logger): Promise<RunningFuseHost> {
  await using started = new AsyncDisposableStack();
  becomeSubreaper();
  const { kubeletDir, stateDir } = config;
  const policy = started.use(servedPolicy({ file: config.policyFile, log }));
  const groups = helperGroups({ memoryBytes: config.helperMemory, socket: config.socket });
  if (groups.are === 'not')
    log.warn('helpers have no control group of their own', { because: groups.because });
  const engine = started.use(processEngine({ processes: 1 }));
  const targetAt = (path: string) => ({ path, beneath: kubeletDir });
  const shownAt = async (path: string) => {
    const shown = await engine.lookup({ target: targetAt(path) }, PATIENCE);
    if (shown.is === 'unknown') throw new Error(`cannot tell what is mounted at ${path}: ${shown.because}`);
    return shown.is === 'mount-point' ? shown.mount : undefined;
  };
  const unmount = async (path: string) => {
    await engine.unmount({ target: targetAt(path), force: true }, PATIENCE);
  };
  const helpers = started.use(runHelpers({ groups, log, shownAt, unmount }));
  let ending = false;
  const handlers = hostHandlers({
    version: VERSION,
    helpers,
    kernel: {},
    kubeletDir,
    forbidden: withWhatTheyLeadTo([kubeletDir, stateDir]),
    authorize: (volume, facts) => authorize(policy.current(), volume, facts),
    isEnding: () => ending,
  });
  started.use(
    await serveUnix({
      path: config.socket,
      log,
      // Its callers wait for deaths most of the time.
      graceMs: 1_000,
      services: [
        { definition: FuseHostService, implementation: toImplementation(FuseHostService, handlers, { log }) },
      ],
    }),
  );
  // Only now is it certain that there is no other fuse-host at this socket.
  if (groups.are === 'there') groups.removeEmpty();
  log.info('ready', { socket: config.socket, version: VERSION, protocols: PROTOCOLS });
  const all = started.move();
  return {
    async drain(signal) {
      ending = true;
      await drained(helpers, { graceMs: config.grace * 1_000, log, signal });
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

const DRAIN_POLL_MS = 200;

async function drained(
  helpers: Helpers,
  { graceMs, log, signal }: { readonly graceMs: number; readonly log: Logger; readonly signal: AbortSignal },
): Promise<void> {
  const inUse = () => helpers.list().filter(({ state }) => state !== 'dead');
  const until = performance.now() + graceMs;
  if (inUse().length > 0) {
    log.warn('helpers serve mounts still; waiting for their volumes to be unpublished', {
      graceMs,
      mounts: inUse().map(named),
    });
  }
  while (inUse().length > 0 && performance.now() < until && !signal.aborted) await sleep(DRAIN_POLL_MS);
  for (const helper of inUse()) {
    log.warn(
      'a helper is left: its mount lasts as long as it, which is not beyond the end of this container',
      named(helper),
    );
  }
}

const named = ({ target, volumeId, name, pids }: HelperView) => ({ target, volumeId, helper: name, pids });
