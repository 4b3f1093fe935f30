// The engine as callers see it: the operations, asynchronous, with a deadline. There are two, alike:
//
//   localEngine()       in this process; a hung filesystem hangs it. For commands, which do one thing and end.
//   processEngine()     (engine/processes.ts) in child processes: for a server, which must never hang.
import { setTimeout as sleep } from 'node:timers/promises';
import { MountError } from './errors.ts';
import { within } from './fuse/programs.ts';
import { type KernelOptions, kernelHere } from './kernel.ts';
import { failureOf, type OperationName, operationsOn, type Requests, type Results } from './operations.ts';
import { userNamespacesOn } from './steps/userns.ts';

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
/** How many times as long as the last try the next one may take, and how long at least: machines have busy moments. */
const ROOM = 10;
const LEAST_ROOM_MS = 250;

const timeoutOf = ({ timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions = {}): number => timeoutMs;

export function engineOver(carrier: Carrier): Engine {
  const call =
    <K extends OperationName>(operation: K) =>
    (request: Requests[K], { timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions = {}) =>
      carrier.call(operation, request, timeoutMs);
  /** Programs that the operation runs end before the call's own deadline. */
  const withPrograms =
    <K extends RunningPrograms>(operation: K) =>
    (request: Requests[K], options?: CallOptions) =>
      call(operation)({ ...request, programs: within(request.programs, timeoutOf(options)) }, options);
  return {
    mountAll: withPrograms('mountAll'),
    lookup: call('lookup'),
    mountsBelow: call('mountsBelow'),
    usage: call('usage'),
    makeImage: withPrograms('makeImage'),
    attachDevice: call('attachDevice'),
    grow: call('grow'),
    checkImage: withPrograms('checkImage'),
    makeLayer: withPrograms('makeLayer'),
    removeLayer: (request, options) =>
      whileBusy(
        (left) =>
          call('removeLayer')({ ...request, programs: within(request.programs, timeoutOf(left)) }, left),
        // Who else has it (no errno) does not let it go with time.
        (error) => error.errno === 'EBUSY',
        options,
      ),
    purgeLayers: call('purgeLayers'),
    moveAside: call('moveAside'),
    canIdmap: call('canIdmap'),
    rootOf: call('rootOf'),
    propagationOf: call('propagationOf'),
    ownEmpty: call('ownEmpty'),
    handOver: call('handOver'),
    unmount: (request, options) => unmountWhileBusy(call('unmount'), request, options),
    unmountRecursive: (request, options) => unmountTreeWhileBusy(call('unmountRecursive'), request, options),
    [Symbol.asyncDispose]: () => carrier[Symbol.asyncDispose](),
  };
}

type RunningPrograms = 'mountAll' | 'makeImage' | 'checkImage' | 'makeLayer';

type Unmount<K extends 'unmount' | 'unmountRecursive'> = (
  request: Requests[K],
  options: CallOptions,
) => Promise<Results[K]>;

async function unmountWhileBusy(
  unmount: Unmount<'unmount'>,
  request: Requests['unmount'],
  options: CallOptions | undefined,
): Promise<number> {
  let before = 0;
  try {
    const last = await whileBusy(
      (left) => unmount({ ...request, programs: within(request.programs, timeoutOf(left)) }, left),
      (error) => {
        before += error.unmounted ?? 0;
        // The one that was asked for is gone: the next one there is somebody else's. Or an image is kept attached by
        // something else (no errno), which does not change with time.
        return (before === 0 || request.all === true) && error.errno === 'EBUSY';
      },
      options,
    );
    return before + last;
  } catch (error) {
    if (!(error instanceof MountError) || error.reason !== 'busy') throw error;
    const rolledBack = error.rolledBack && before === 0;
    throw new MountError({ ...error.toInit(), rolledBack, unmounted: before });
  }
}

async function unmountTreeWhileBusy(
  unmount: Unmount<'unmountRecursive'>,
  request: Requests['unmountRecursive'],
  options: CallOptions | undefined,
): Promise<readonly string[]> {
  const before: string[] = [];
  try {
    const last = await whileBusy(
      (left) => unmount(request, left),
      (error) => {
        before.push(...(error.progress?.unmounted ?? []));
        return true;
      },
      options,
    );
    return [...before, ...last];
  } catch (error) {
    if (!(error instanceof MountError) || error.progress === undefined) throw error;
    const last = error.reason === 'busy' ? [] : error.progress.unmounted;
    const progress = { unmounted: [...before, ...last], left: error.progress.left };
    throw new MountError({ ...error.toInit(), progress }, { cause: error.cause });
  }
}

/**
 * Waits between the tries here, not in the carrier, which has others to serve.
 * @param again told of each busy failure; whether to go on
 */
async function whileBusy<R>(
  attempt: (left: CallOptions) => Promise<R>,
  again: (error: MountError) => boolean,
  { timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions = {},
): Promise<R> {
  const deadline = performance.now() + timeoutMs;
  for (let tries = 1; ; tries++) {
    const begun = performance.now();
    try {
      return await attempt({ timeoutMs: deadline - begun });
    } catch (error) {
      if (!(error instanceof MountError) || error.reason !== 'busy' || !again(error)) throw error;
      // A last try that the deadline cuts short would say `timeout`, and nothing of what is known.
      const now = performance.now();
      const room = BUSY_WAIT_MS + Math.max(LEAST_ROOM_MS, ROOM * (now - begun));
      if (tries >= BUSY_TRIES || now + room > deadline) throw error;
      await sleep(BUSY_WAIT_MS);
    }
  }
}

export function localEngine(options: KernelOptions = {}): Engine {
  const kernel = kernelHere(options);
  const userNamespaces = userNamespacesOn(kernel);
  const operations = operationsOn(kernel, userNamespaces);
  return engineOver({
    async call(operation, request) {
      try {
        return operations[operation](request);
      } catch (error) {
        throw failureOf(operation, error);
      }
    },
    async [Symbol.asyncDispose]() {
      userNamespaces[Symbol.dispose]();
    },
  });
}
