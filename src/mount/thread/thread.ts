// A thread with a working directory, and if need be a mount namespace, of its own. The process's never change.
//
//   cwd        unshare(CLONE_FS): mount(2) with layers named relative to a directory
//   private    a mount namespace with an empty tmpfs as its root: what is mounted there nobody sees, and it is gone
//              with the process
//
// Its answers are waited for on this thread, as if it were a function: mounts are made in synchronous code. A thread
// that hangs in the kernel hangs its process; see engine/processes.ts for who kills that.
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { SyscallError, type SyscallErrorInit } from '../../sys/errors.ts';
import { MountError } from '../errors.ts';
import type { Job, JobName, Jobs } from './jobs.ts';

export type ThreadKind = 'cwd' | 'private';

/** What the thread is started with. */
export interface ThreadData {
  readonly kind: ThreadKind;
  readonly port: import('node:worker_threads').MessagePort;
  readonly signal: Int32Array;
}

export type Answer =
  | { readonly result: unknown }
  | { readonly syscall: SyscallErrorInit }
  | { readonly problem: string };

interface Thread {
  call(job: Job): unknown;
}

/** A thread starts in some 50 ms. */
const START_MS = 30_000;

const threads = new Map<ThreadKind, Thread>();

/**
 * Does a job on the thread of that kind, which is started when it is first needed and lives as long as the process.
 * @throws SyscallError as the job threw it, MountError (node-exhausted) when the thread does not start
 */
export function onThread<K extends JobName>(
  kind: ThreadKind,
  name: K,
  args: Jobs[K]['args'],
): Jobs[K]['result'] {
  const thread = threads.get(kind) ?? startThread(kind);
  threads.set(kind, thread);
  return thread.call({ name, args } as Job) as Jobs[K]['result'];
}

function startThread(kind: ThreadKind): Thread {
  const { port1, port2 } = new MessageChannel();
  const signal = new Int32Array(new SharedArrayBuffer(4));
  const extension = extname(fileURLToPath(import.meta.url));
  // A file of its own beside the bundle in production, as it is in a checkout.
  const worker = new Worker(new URL(`./thread-worker${extension}`, import.meta.url), {
    workerData: { kind, port: port2, signal } satisfies ThreadData,
    transferList: [port2],
    execArgv: [],
    // It closes descriptors that this thread opened, and the other way round.
    trackUnmanagedFds: false,
  });
  worker.unref();
  port1.unref();
  const wait = (timeoutMs: number): Answer => {
    for (;;) {
      if (Atomics.wait(signal, 0, 0, timeoutMs) === 'timed-out') throw notStarted(kind, timeoutMs);
      Atomics.store(signal, 0, 0);
      const received = receiveMessageOnPort(port1) as { message: Answer } | undefined;
      if (received) return received.message;
    }
  };
  const unwrap = (answer: Answer): unknown => {
    if ('syscall' in answer) throw new SyscallError(answer.syscall);
    if ('problem' in answer) throw new Error(answer.problem);
    return answer.result;
  };
  try {
    // It answers once when it stands.
    unwrap(wait(START_MS));
  } catch (error) {
    // One that came half-way keeps a copy of all mounts of the host, and with it busy what is unmounted there. One that is
    // late may still come, to a process that has another one by then.
    port1.close();
    void worker.terminate();
    throw error;
  }
  return {
    call(job) {
      port1.postMessage(job);
      return unwrap(wait(Number.POSITIVE_INFINITY));
    },
  };
}

function notStarted(kind: ThreadKind, timeoutMs: number): MountError {
  const message = `the ${kind} thread of the engine did not start within ${timeoutMs} ms: the node is short of processor time, or the driver of its share (resources.limits.cpu)`;
  return new MountError({ reason: 'node-exhausted', message, rolledBack: true });
}
