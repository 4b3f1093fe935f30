// What a handler knows of the call that it answers: an id for the log, how long the caller will wait, and
// a signal for when the caller no longer does.

import { randomUUID } from 'node:crypto';
import type { Logger } from '../observe/logger.ts';
import { StatusError } from './status.ts';

export interface CallContext {
  readonly requestId: string;
  /** The path on the wire: `/csi.v1.Node/NodePublishVolume`. */
  readonly method: string;
  readonly deadline: Date | undefined;
  /** Milliseconds until the deadline, never negative; Infinity without one. */
  remaining(): number;
  /**
   * Aborted when the caller cancels or the deadline passes; `reason` is a StatusError with CANCELLED or
   * DEADLINE_EXCEEDED, so that `signal.throwIfAborted()` throws what the call is then answered with.
   */
  readonly signal: AbortSignal;
  /** Adds the request's id and method to every line, and takes the request's secrets out of it. */
  readonly log: Logger;
}

/** The server's side of a context: `cancel` when the caller is gone, disposed of when the call is over. */
export interface OpenContext extends Disposable {
  readonly context: CallContext;
  cancel(): void;
}

export interface ContextOptions {
  readonly method: string;
  /** Milliseconds since the epoch; Infinity for none. */
  readonly deadline: number;
  readonly log: (fields: { requestId: string; method: string }) => Logger;
}

export function openContext({ method, deadline, log }: ContextOptions): OpenContext {
  const controller = new AbortController();
  const requestId = randomUUID();
  // By a clock that nobody sets: a call that is at work is neither cut short nor let wait for a day.
  const until = performance.now() + (deadline - Date.now());
  const remaining = () => Math.max(0, until - performance.now());

  const exceed = () =>
    controller.abort(
      new StatusError({ code: 'DEADLINE_EXCEEDED', message: 'the deadline of the call passed' }),
    );

  let timer: NodeJS.Timeout | undefined;
  const wait = () => {
    // A timer holds 24.8 days at most, and may come a moment early.
    if (remaining() > 0) timer = setTimeout(wait, Math.min(remaining(), longestTimer));
    else exceed();
  };
  if (deadline !== Number.POSITIVE_INFINITY) wait();

  const cancel = () => {
    clearTimeout(timer);
    // A caller whose deadline passes resets the stream, which looks as if it had left, and by its clock
    // that is a little earlier than by ours: the time that the request took to come here.
    if (remaining() <= deadlineSlackMs) exceed();
    else controller.abort(new StatusError({ code: 'CANCELLED', message: 'the caller cancelled the call' }));
  };

  const context: CallContext = {
    requestId,
    method,
    deadline: deadline === Number.POSITIVE_INFINITY ? undefined : new Date(deadline),
    remaining,
    signal: controller.signal,
    log: log({ requestId, method }),
  };
  return { context, cancel, [Symbol.dispose]: () => clearTimeout(timer) };
}

const deadlineSlackMs = 50;
const longestTimer = 2 ** 31 - 1;
