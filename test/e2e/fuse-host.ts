// `csi-driver-idmap fuse-host` as tests run it, below the directory of a test node.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { type FuseHost, fuseHostAt, type StartSpec } from '../../src/fuse-host/client.ts';
import { PROGRAM, plainEnvironment } from './command.ts';

export interface TestFuseHost extends AsyncDisposable {
  readonly socket: string;
  readonly client: FuseHost;
  readonly child: ChildProcess;
  readonly said: string[];
  /** By SIGTERM. Gives its exit status, or the name of the signal that ended it. */
  stop(): Promise<number | string>;
  /** By SIGKILL. */
  kill(): Promise<void>;
}

export const socketOf = (directory: string): string =>
  join(directory, 'kubelet/plugins/idmap.csi.dev/fuse-host.sock');

const START_MS = 15_000;

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
    stop() {
      child.kill('SIGTERM');
      return closed;
    },
    async kill() {
      child.kill('SIGKILL');
      await closed;
    },
    [Symbol.asyncDispose]: () => host.kill(),
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
