// The program `csi-driver-idmap serve` as tests start it that are about starting it: with any arguments, below any
// wrapper, and expected to fail as often as to serve.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/rpc/client.ts';
import { IdentityService } from '../../src/rpc/generated/csi.ts';
import type { LogLine, Plugin } from '../sanity/plugin.ts';
import { sharedMount } from '../support/fixtures.ts';
import { descendants } from '../support/leaks.ts';
import { scaled } from '../support/time-scale.ts';
import { PROGRAM, plainEnvironment } from './command.ts';

export interface Served {
  readonly child: ChildProcess;
  /** What it has written to standard error, a line each. */
  readonly said: string[];
  /** Its exit status, or the name of the signal that ended it, once all it wrote has been read. */
  readonly ended: Promise<number | string>;
}

/** The flags that the tests' node has. */
export function flagsOf(directory: string): string[] {
  const flags = [
    ['--endpoint', `unix://${join(directory, 'csi.sock')}`],
    ['--state-dir', join(directory, 'kubelet/plugins/idmap.csi.dev')],
    ['--kubelet-dir', join(directory, 'kubelet')],
    ['--registration', 'off'],
    ['--node-id', 'test'],
  ];
  return flags.flat();
}

/** The kubelet directory of these flags, shared with the node as a real one is, or the plugin does not get ready. */
export function sharedKubelet(directory: string): Disposable {
  const path = join(directory, 'kubelet');
  mkdirSync(path);
  return sharedMount(path);
}

export function serve(flags: readonly string[], wrapper: readonly string[] = []): Served {
  const [command = PROGRAM, ...args] = [...wrapper, PROGRAM, 'serve', ...flags];
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'pipe'], env: plainEnvironment() });
  const said: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => said.push(line));
  const ended = once(child, 'close').then(([status, signal]) => (status ?? signal) as number | string);
  return { child, said, ended };
}

const START_MS = scaled(60_000);

/** The plugin, served below a wrapper such as `unshare --mount`, which must exec it. */
export async function startPluginBelow(
  wrapper: readonly string[],
  directory: string,
  flags: readonly string[] = [],
): Promise<Plugin> {
  const { child, said, ended } = serve([...flagsOf(directory), ...flags], wrapper);
  const socket = join(directory, 'csi.sock');
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  const deadline = performance.now() + START_MS;
  while (!(await isReady(socket))) {
    if (performance.now() > deadline || child.exitCode !== null) {
      await end('SIGKILL');
      throw new Error(`the plugin did not start: ${said.join('\n')}`);
    }
    await delay(20);
  }
  return {
    socket,
    pid: child.pid ?? 0,
    get log(): LogLine[] {
      return said.map((text) => ({ time: 0, text }));
    },
    stop: () => end('SIGTERM'),
    async [Symbol.asyncDispose]() {
      await end('SIGKILL');
    },
  };
}

async function isReady(socket: string): Promise<boolean> {
  using client = connect(IdentityService, socket);
  try {
    return (await client.probe({}, { timeoutMs: scaled(1000) })).ready === true;
  } catch {
    return false; // Not yet.
  }
}

/** The plugin that serves below this directory. */
export const pluginProcesses = (directory: string): number[] => pluginsBelow(directory).map(Number);

/** The engine's processes of the plugin that serves below this directory. */
export function engineProcesses(directory: string): number[] {
  const processes = allProcesses();
  return pluginsBelow(directory).flatMap((plugin) =>
    processes
      .filter((pid) => commandOf(pid).includes('engine-process') && parentOf(pid) === plugin)
      .map((pid) => Number(pid)),
  );
}

const allProcesses = (): string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name));
const pluginsBelow = (directory: string): string[] =>
  allProcesses().filter((pid) => commandOf(pid).includes(`unix://${join(directory, 'csi.sock')}`));

/** Whether the plugin that serves below this directory has somebody wait for a FUSE server: itself, or a process of its. */
export function waitsForFuse(directory: string): boolean {
  return pluginsBelow(directory).some((plugin) =>
    [plugin, ...descendants(Number(plugin)).map(({ pid }) => String(pid))].some((pid) =>
      /request_wait_answer|fuse/.test(readProc(pid, 'wchan')),
    ),
  );
}

/** One that has ended and that nobody has asked for its status does not live. */
export function isAlive(pid: number): boolean {
  return /^State:\t[^ZX]/m.test(readProc(String(pid), 'status'));
}

const commandOf = (pid: string): string => readProc(pid, 'cmdline');
const parentOf = (pid: string): string => /^PPid:\t(\d+)/m.exec(readProc(pid, 'status'))?.[1] ?? '';

function readProc(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // It has ended meanwhile.
  }
}
