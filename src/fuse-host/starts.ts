// Starting a helper in a process of its own (start-process.ts), with a bound in time.
import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MountError } from '../mount/errors.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import { hasErrno } from '../sys/errors.ts';
import { type HeldProcess, holdProcess } from './processes.ts';
import type { StartAnswer, StartJob } from './start-process.ts';

export interface Started {
  readonly processes: readonly HeldProcess[];
  readonly mount: MountInfo;
}

/** @throws MountError */
export async function carryOut(job: StartJob, timeoutMs: number): Promise<Started> {
  const child = forkChild();
  try {
    const answer = await answerOf(child, job, timeoutMs);
    if ('error' in answer) throw new MountError(answer.error);
    // Before it ends: until then it has not reaped them, so that the numbers are theirs.
    const processes = answer.pids.flatMap((pid) => held(pid) ?? []);
    return { processes, mount: answer.mount };
  } finally {
    if (child.connected) child.disconnect();
  }
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
  const timer = setTimeout(() => {
    failed('timeout', 'had no answer within the deadline; its outcome is unknown');
    child.kill('SIGKILL');
  }, timeoutMs);
  child.once('message', (answer) => resolve(answer as StartAnswer));
  child.once('error', (error) => failed('engine-lost', `could not be begun: ${error.message}`));
  child.once('exit', (code, signal) =>
    failed('engine-lost', `was interrupted: its process ended (${signal ?? `status ${code}`})`),
  );
  child.send(job, (error) => {
    if (error) failed('engine-lost', `could not be begun: ${error.message}`);
  });
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
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
