// `csi-driver-idmap fuse-host` as tests run it, below the directory of a test node.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { type FuseHost, fuseHostAt, type StartSpec } from '../../src/fuse-host/client.ts';
import { scaled } from '../support/time-scale.ts';
import { PROGRAM, plainEnvironment } from './command.ts';

export interface TestFuseHost extends AsyncDisposable {
  readonly socket: string;
  readonly client: FuseHost;
  readonly child: ChildProcess;
  readonly said: string[];
  /** Those of its helpers. */
  controlGroups(): string[];
  /** By SIGTERM. Gives its exit status, or the name of the signal that ended it. */
  stop(): Promise<number | string>;
  /** By SIGKILL. */
  kill(): Promise<void>;
}

export const socketOf = (directory: string): string =>
  join(directory, 'kubelet/plugins/idmap.csi.dev/fuse-host.sock');

const START_MS = scaled(60_000);

export async function startFuseHost(directory: string, flags: readonly string[] = []): Promise<TestFuseHost> {
  const given = flags[flags.indexOf('--socket') + 1];
  const socket = flags.includes('--socket') && given !== undefined ? given : socketOf(directory);
  const all = ['--kubelet-dir', join(directory, 'kubelet'), '--grace', '0', ...flags];
  const child = spawn(PROGRAM, ['fuse-host', ...all], {
    stdio: ['ignore', 'inherit', 'pipe'],
    env: plainEnvironment(),
  });
  const said: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => said.push(line));
  const closed = once(child, 'close').then(([status, signal]) => (status ?? signal) as number | string);
  const client = fuseHostAt({ socket, version: 'test' });
  const host: TestFuseHost = {
    ...{ socket, client, child, said },
    controlGroups: () => controlGroupsOf(socket),
    stop() {
      child.kill('SIGTERM');
      return closed;
    },
    async kill() {
      child.kill('SIGKILL');
      await closed;
    },
    async [Symbol.asyncDispose]() {
      await host.kill();
      // Its successor would remove them; not what is in use.
      for (let tries = 0; tries < 20 && controlGroupsOf(socket).length > 0; tries++) {
        for (const group of controlGroupsOf(socket)) await rmdir(group).catch(() => delay(50));
      }
    },
  };
  const deadline = performance.now() + START_MS;
  for (;;) {
    if (said.some((line) => line.includes('"ready"'))) return host;
    if (child.exitCode !== null || performance.now() > deadline) {
      await host.kill();
      throw new Error(`fuse-host did not start: ${said.join('\n')}`);
    }
    await delay(20);
  }
}

/** A start of a volume that nothing is special about. */
export function startSpec(spec: Partial<StartSpec> & Pick<StartSpec, 'target' | 'volumeContext'>): StartSpec {
  return {
    ...{ volumeId: 'volume', mountFlags: [], fsType: '', readOnly: false },
    ...{ podUidmap: '', podGidmap: '', part: 0, createTarget: true },
    ...spec,
  };
}

/** By the name of the socket, of version 1 or 2, below the group of this process. */
function controlGroupsOf(socket: string): string[] {
  const own = readFileSync('/proc/self/cgroup', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(':'));
  const memory = own.find(([, names]) => names === 'memory');
  const unified = own.find(([id]) => id === '0');
  const directory = memory
    ? join('/sys/fs/cgroup/memory', memory[2] ?? '')
    : join('/sys/fs/cgroup', unified?.[2] ?? '');
  const digest = createHash('sha256').update(socket).digest('hex').slice(0, 8);
  const names = existsSync(directory) ? readdirSync(directory) : [];
  return names.filter((name) => name.startsWith(`fuse-${digest}-`)).map((name) => join(directory, name));
}
