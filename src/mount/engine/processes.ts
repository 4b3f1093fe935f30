// The engine in child processes. A thread stuck in the kernel on a dead filesystem outlives SIGKILL of its
// process, with the process's locks and sockets; a child process holds none of ours, and the next operation gets
// a fresh one. What is asked of it and what it answers are messages of plain data.
//
//   a child at work   serves one operation at a time
//   a slow one        does not count: another child may work beside it, up to a bound, so that a few filesystems that
//                     hang, each until its caller's deadline, do not hold up all the others
//   past a deadline   the caller is told `timeout`, the child is killed and replaced
//   a child's end     the caller is told `engine-lost`
//   our own end       the kernel kills the children (PR_SET_PDEATHSIG in engine-process.ts)
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Engine, engineOver } from '../engine.ts';
import { MountError, type MountErrorInit, messageOf, shortageOf } from '../errors.ts';
import type { KernelOptions } from '../kernel.ts';
import type { OperationName, Requests, Results } from '../operations.ts';

/** What a child is asked. */
export interface Job {
  readonly operation: OperationName;
  readonly request: unknown;
}

export type Outcome = { readonly result: unknown } | { readonly error: MountErrorInit };

/** What it answers. */
export type Answer = Outcome & {
  /** How many it keeps, after that. */
  readonly userNamespaces: number;
};

export type ProcessEngine = Engine & {
  /** How many user namespaces the children keep, by their last answers. */
  readonly userNamespaces: () => number;
};

export interface ProcessEngineOptions {
  /** How many operations may run at the same time, beside slow ones. */
  readonly processes: number;
  /** How many with them (default: four times as many). */
  readonly most?: number;
  readonly kernel?: KernelOptions;
  /** Start one now, for the first operation, which then need not wait for it. */
  readonly ahead?: boolean;
}

interface Pending {
  readonly job: Job;
  /** When it was given to a child, by performance.now(). */
  begun?: number;
  readonly settle: (outcome: Outcome) => void;
}

/** How long a child may take to end when asked to. */
const GRACE_MS = 1_000;
/** What takes longer waits for a filesystem or a program, not for a core. */
const SLOW_MS = 500;

export function processEngine({
  processes,
  most = 4 * processes,
  kernel = {},
  ahead = false,
}: ProcessEngineOptions): ProcessEngine {
  const queue: Pending[] = [];
  const idle: ChildProcess[] = [];
  const working = new Map<ChildProcess, Pending>();
  const namespaces = new Map<ChildProcess, number>();
  let disposed = false;
  let lookAgain: NodeJS.Timeout | undefined;

  function room(): boolean {
    const now = performance.now();
    const slow = [...working.values()].filter(({ begun = now }) => now - begun >= SLOW_MS).length;
    return working.size < Math.min(processes + slow, most);
  }

  function dispatch(): void {
    clearTimeout(lookAgain);
    while (queue.length > 0 && room()) {
      const pending = queue.shift() as Pending;
      const child = idle.pop() ?? startFor(pending);
      if (child === undefined) continue;
      pending.begun = performance.now();
      working.set(child, pending);
      hold(child);
      // Of one that could not be forked there is no such function: its error says why.
      child.send?.(pending.job, (error) => {
        if (error)
          settle(child, failed('engine-lost', pending.job, `cannot be sent: ${error.message}`, true));
      });
    }
    // Those at work may turn out to be slow.
    if (queue.length > 0 && working.size < most) lookAgain = setTimeout(dispatch, SLOW_MS);
  }

  function forgetIdle(child: ChildProcess): void {
    const at = idle.indexOf(child);
    if (at !== -1) idle.splice(at, 1);
  }

  /** Some failures of a fork are thrown, others are events of the child. */
  function startFor({ job, settle }: Pending): ChildProcess | undefined {
    try {
      return start();
    } catch (error) {
      settle(notBegun(job, error));
      return undefined;
    }
  }

  function start(): ChildProcess {
    const child = forkChild(kernel);
    // A fork that failed has no exit.
    child.on('error', (error) => {
      const job = working.get(child)?.job;
      if (job === undefined) {
        forgetIdle(child);
        return;
      }
      settle(child, notBegun(job, error));
    });
    child.on('message', (message) => {
      const { userNamespaces, ...outcome } = message as Answer;
      namespaces.set(child, userNamespaces);
      settle(child, outcome);
    });
    child.on('exit', (code, signal) => {
      namespaces.delete(child);
      forgetIdle(child);
      const job = working.get(child)?.job;
      if (job)
        settle(
          child,
          failed(
            'engine-lost',
            job,
            `was interrupted: its process ended (${signal ?? `status ${code}`})`,
            false,
          ),
        );
    });
    return child;
  }

  /** Gives the answer to whoever waits for this child, and the child to the next in the queue. */
  function settle(child: ChildProcess, outcome: Outcome): void {
    const pending = working.get(child);
    working.delete(child);
    pending?.settle(outcome);
    if (child.connected && child.exitCode === null && child.signalCode === null && !child.killed) {
      letGo(child);
      if (idle.length < processes) idle.push(child);
      else child.disconnect();
    }
    dispatch();
  }

  function expire(pending: Pending): void {
    const at = queue.indexOf(pending);
    if (at !== -1) {
      queue.splice(at, 1);
      pending.settle(failed('timeout', pending.job, 'was not begun within the deadline', true));
      return;
    }
    for (const [child, { job }] of working) {
      if (working.get(child) !== pending) continue;
      child.kill('SIGKILL');
      letGo(child);
      settle(
        child,
        failed('timeout', job, 'had no answer within the deadline; its outcome is unknown', false),
      );
    }
  }

  if (ahead) {
    const child = start();
    letGo(child);
    idle.push(child);
  }

  const engine = engineOver({
    call<K extends OperationName>(operation: K, request: Requests[K], timeoutMs: number) {
      return new Promise<Results[K]>((resolve, reject) => {
        const timer = setTimeout(() => expire(pending), Math.max(0, timeoutMs));
        const pending: Pending = {
          job: { operation, request },
          settle(outcome) {
            clearTimeout(timer);
            if ('error' in outcome) reject(new MountError(outcome.error));
            else resolve(outcome.result as Results[K]);
          },
        };
        if (disposed) {
          pending.settle(failed('engine-lost', pending.job, 'was not begun: the engine is shut down', true));
          return;
        }
        queue.push(pending);
        dispatch();
      });
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      clearTimeout(lookAgain);
      for (const pending of queue.splice(0)) {
        pending.settle(failed('engine-lost', pending.job, 'was not begun: the engine is shut down', true));
      }
      await Promise.all([...idle.splice(0), ...working.keys()].map(stop));
    },
  });
  return {
    ...engine,
    userNamespaces: () => [...namespaces.values()].reduce((sum, kept) => sum + kept, 0),
  };
}

function failed(
  reason: 'timeout' | 'engine-lost' | 'node-exhausted',
  { operation }: Job,
  what: string,
  rolledBack: boolean,
): Outcome {
  return { error: { reason, message: `${operation} ${what}`, rolledBack } };
}

function notBegun(job: Job, error: unknown): Outcome {
  const shortage = shortageOf(error);
  const because = shortage === undefined ? messageOf(error) : `${messageOf(error)}: ${shortage}`;
  const reason = shortage === undefined ? 'engine-lost' : 'node-exhausted';
  return failed(reason, job, `could not be begun: ${because}`, true);
}

function forkChild(kernel: KernelOptions): ChildProcess {
  const here = fileURLToPath(import.meta.url);
  // A file of its own beside the bundle in production, as it is in a checkout.
  const entry = new URL(`./engine-process${extname(here)}`, import.meta.url);
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  const env = { PATH, NODE_COMPILE_CACHE };
  return fork(entry, [JSON.stringify(kernel)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env,
    execArgv: [],
    // A Ctrl-C would end one that has just been started, before it can say that it is not meant.
    detached: true,
  });
}

/** A child at work keeps this process alive, an idle one does not. */
function hold(child: ChildProcess): void {
  child.ref();
  child.channel?.ref();
}
function letGo(child: ChildProcess): void {
  child.unref();
  child.channel?.unref();
}

/** Lets it finish what it is at; one that is stuck is killed, and not waited for. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  hold(child);
  const timer = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
  const exited = once(child, 'exit');
  if (child.connected) child.disconnect();
  await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 2 * GRACE_MS).unref())]);
  clearTimeout(timer);
  letGo(child);
}
