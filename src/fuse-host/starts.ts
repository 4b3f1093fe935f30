// Starting a helper in a process of its own (start-process.ts), with a bound in time.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MountError, type MountErrorInit, messageOf, shortageOf } from '../mount/errors.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import { hasErrno } from '../sys/errors.ts';
import { type HeldProcess, holdProcess } from './processes.ts';
import type { StartAnswer, StartJob } from './start-process.ts';

export interface Started {
  readonly processes: readonly HeldProcess[];
  readonly mount: MountInfo;
}

/** How long the end of a start may take that was killed. */
const END_MS = 1_000;

/** @throws MountError */
export async function carryOut(job: StartJob, timeoutMs: number): Promise<Started> {
  const child = begun();
  try {
    const answer = await answerOf(child, job, timeoutMs);
    if ('error' in answer) throw new MountError(answer.error);
    // Before it ends: until then it has not reaped them, so that the numbers are theirs.
    const processes = answer.pids.flatMap((pid) => held(pid) ?? []);
    return { processes, mount: answer.mount };
  } finally {
    if (child.connected) child.disconnect();
    if (child.killed) await endOf(child);
  }
}

/** What is left of a start that was killed is not looked at while it is at it still; nor waited for, if it is stuck. */
async function endOf(child: ChildProcess): Promise<void> {
  const over = AbortSignal.timeout(END_MS);
  if (child.exitCode === null && child.signalCode === null)
    await once(child, 'exit', { signal: over }).catch(() => undefined);
}

function held(pid: number): HeldProcess | undefined {
  try {
    return holdProcess(pid);
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error;
    return undefined;
  }
}

async function answerOf(child: ChildProcess, job: StartJob, timeoutMs: number): Promise<StartAnswer> {
  const { promise, resolve } = Promise.withResolvers<StartAnswer>();
  const failed = (reason: 'timeout' | 'engine-lost', what: string) =>
    resolve({ error: { reason, message: `the start of the helper ${what}`, rolledBack: false } });
  const notBegun = (error: Error) => resolve({ error: ofNone(error) });
  const timer = setTimeout(() => {
    failed('timeout', 'had no answer within the deadline; its outcome is unknown');
    child.kill('SIGKILL');
  }, timeoutMs);
  child.once('message', (answer) => resolve(answer as StartAnswer));
  child.on('error', notBegun);
  child.once('exit', (code, signal) =>
    failed('engine-lost', `was interrupted: its process ended (${signal ?? `status ${code}`})`),
  );
  // Of a child without a pid there is no such function, or it fails: why, only its error says.
  if (child.pid !== undefined) {
    child.send(job, (error) => {
      if (error) notBegun(error);
    });
  }
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** Some failures are thrown, others are events of the child. */
function begun(): ChildProcess {
  try {
    return forkChild();
  } catch (error) {
    throw new MountError(ofNone(error), { cause: error });
  }
}

/** Of a start that there never was. */
function ofNone(error: unknown): MountErrorInit {
  const shortage = shortageOf(error);
  const because = shortage === undefined ? messageOf(error) : `${messageOf(error)}: ${shortage}`;
  return {
    reason: shortage === undefined ? 'engine-lost' : 'node-exhausted',
    message: `the start of the helper could not be begun: ${because}`,
    rolledBack: true,
  };
}

function forkChild(): ChildProcess {
  const here = fileURLToPath(import.meta.url);
  // A file of its own beside the bundle in production, as it is in a checkout.
  const entry = new URL(`./start-process${extname(here)}`, import.meta.url);
  return fork(entry, [], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { PATH: process.env.PATH },
    execArgv: [],
    // A Ctrl-C would end one that has just been started, before it can say that it is not meant.
    detached: true,
  });
}
