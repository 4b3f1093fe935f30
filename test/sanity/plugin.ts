// The plugin as a node runs it: the real program in a process of its own, with its log.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/rpc/client.ts';
import { IdentityService } from '../../src/rpc/generated/csi.ts';
import { scaled } from '../support/time-scale.ts';

export interface LogLine {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly text: string;
}

export interface Plugin extends AsyncDisposable {
  readonly socket: string;
  readonly pid: number;
  readonly log: readonly LogLine[];
  /** By SIGTERM. Gives its exit status, or the name of the signal that ended it. */
  stop(): Promise<number | string>;
}

/**
 * Resolves when the plugin says that it is ready. Everything that it makes lies below `directory`.
 * @param flags more of them
 */
export async function startPlugin(directory: string, flags: readonly string[] = []): Promise<Plugin> {
  const socket = join(directory, 'csi.sock');
  const options = [
    ['--endpoint', `unix://${socket}`],
    ['--node-id', 'sanity'],
    ['--state-dir', join(directory, 'kubelet/plugins/idmap.csi.dev')],
    ['--kubelet-dir', join(directory, 'kubelet')],
    ['--registration', 'off'],
    // So that all of a request is logged: none of its secrets may be.
    ['--log-level', 'debug'],
  ];
  const child = spawn(program, ['serve', ...options.flat(), ...flags], {
    stdio: ['ignore', 'inherit', 'pipe'],
    env: cleanEnvironment(),
  });
  const log: LogLine[] = [];
  createInterface({ input: child.stderr }).on('line', (text) => log.push({ time: timeOf(text), text }));

  const plugin: Plugin = {
    socket,
    pid: child.pid ?? 0,
    log,
    stop: () => end(child, 'SIGTERM'),
    [Symbol.asyncDispose]: async () => {
      await end(child, 'SIGKILL');
    },
  };
  try {
    await ready(child, socket);
  } catch (error) {
    await plugin[Symbol.asyncDispose]();
    const said = log.map(({ text }) => text).join('\n');
    throw new Error(`the plugin did not start: ${error}; its log:\n${said}`, { cause: error });
  }
  return plugin;
}

const program = join(import.meta.dirname, '../../bin/csi-driver-idmap');
const startMs = scaled(60_000);
const stopMs = scaled(60_000);

/** Settings of the machine's user are not to change what the plugin does here. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(CSI_IDMAP_|KUBE)/.test(name)));
}

async function ready(child: ChildProcess, socket: string): Promise<void> {
  const settled = new AbortController();
  const { signal } = settled;
  // Also rejects when there is no such program.
  const ended = once(child, 'exit', { signal }).then(([code, killedBy]) => {
    throw new Error(`it ended with ${code ?? killedBy}`);
  });
  try {
    await Promise.race([ended, answersReady(socket, signal)]);
  } finally {
    settled.abort();
  }
}

async function answersReady(socket: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + startMs;
  let last: unknown = new Error('it was not ready in time');
  while (Date.now() < deadline) {
    await delay(20, undefined, { signal });
    // A client that fails to connect tries again later, also when it is closed by then, and stays connected.
    if (!existsSync(socket)) continue;
    using client = connect(IdentityService, socket);
    try {
      const { ready } = await client.probe({}, { timeoutMs: scaled(1000), signal });
      if (ready !== false) return;
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | string> {
  const status = () => child.exitCode ?? child.signalCode;
  if (child.pid === undefined) return 'never started';
  if (status() === null) {
    // Once it is closed, its last line is in the log as well.
    const closed = once(child, 'close');
    child.kill(signal);
    const overdue = setTimeout(() => child.kill('SIGKILL'), stopMs);
    await closed;
    clearTimeout(overdue);
  }
  return status() ?? 'unknown';
}

/** The line's own time, where it has one. */
function timeOf(text: string): number {
  try {
    const { time }: { time?: unknown } = JSON.parse(text);
    return typeof time === 'string' ? Date.parse(time) : Date.now();
  } catch {
    return Date.now();
  }
}
