// The engine as callers see it: the operations, asynchronous, with a deadline. There are two, alike:
//
//   localEngine()       in this process; a hung filesystem hangs it. For commands, which do one thing and end.
//   processEngine()     (engine/processes.ts) in child processes: for a server, which must never hang.
import { setTimeout as sleep } from 'node:timers/promises';
import { MountError, toMountError } from './errors.ts';
import { within } from './fuse/programs.ts';
import { type KernelOptions, kernelHere } from './kernel.ts';
import { type OperationName, operationsOn, type Requests, type Results } from './operations.ts';

export interface CallOptions {
  /** How long to wait for the answer, in ms (default 60,000). After it the outcome is unknown. */
  readonly timeoutMs?: number;
}

export type Engine = AsyncDisposable & {
  readonly [K in OperationName]: (request: Requests[K], options?: CallOptions) => Promise<Results[K]>;
};

/** How an operation gets carried out. */
export type Carrier = AsyncDisposable & {
  call<K extends OperationName>(operation: K, request: Requests[K], timeoutMs: number): Promise<Results[K]>;
};

const DEFAULT_TIMEOUT_MS = 60_000;
/** A mount is often busy for a moment after its last user has gone: containerd waits as long. */
const BUSY_TRIES = 50;
const BUSY_WAIT_MS = 50;
/** How many times as long as the last try the next one may take. */
const ROOM = 10;

const timeoutOf = ({ timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions = {}): number => timeoutMs;

export function engineOver(carrier: Carrier): Engine {
  const call =
    <K extends OperationName>(operation: K) =>
    (request: Requests[K], { timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions = {}) =>
      carrier.call(operation, request, timeoutMs);
  return {
    mountAll: (request, options) =>
      call('mountAll')({ ...request, programs: within(request.programs, timeoutOf(options)) }, options),
    lookup: call('lookup'),
    usage: call('usage'),
    unmount: (request, options) => whileBusy(call('unmount'), request, options),
    [Symbol.asyncDispose]: () => carrier[Symbol.asyncDispose](),
  };
}

/** Waits between the tries here, not in the carrier, which has others to serve. */
async function whileBusy(
  unmount: (request: Requests['unmount'], options: CallOptions) => Promise<number>,
  request: Requests['unmount'],
  { timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions = {},
): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  let before = 0;
  for (let tries = 1; ; tries++) {
    const began = performance.now();
    try {
      const left = deadline - performance.now();
      const bounded = { ...request, programs: within(request.programs, left) };
      return before + (await unmount(bounded, { timeoutMs: left }));
    } catch (error) {
      if (!(error instanceof MountError) || error.reason !== 'busy') throw error;
      before += error.unmounted ?? 0;
      // The one that was asked for is gone: the next one there is somebody else's. Or an image is kept attached by
      // something else (no errno), which does not change with time.
      const done = (before > 0 && request.all !== true) || error.errno !== 'EBUSY';
      // One more that is cut off by the deadline would tell less than this one did.
      const room = BUSY_WAIT_MS + ROOM * (performance.now() - began);
      if (done || tries >= BUSY_TRIES || performance.now() + room > deadline) {
        throw new MountError({
          ...error.toInit(),
          rolledBack: error.rolledBack && before === 0,
          unmounted: before,
        });
      }
      await sleep(BUSY_WAIT_MS);
    }
  }
}

export function localEngine(options: KernelOptions = {}): Engine {
  const operations = operationsOn(kernelHere(options));
  return engineOver({
    async call(operation, request) {
      try {
        return operations[operation](request);
      } catch (error) {
        throw toMountError(error, false);
      }
    },
    async [Symbol.asyncDispose]() {},
  });
}
