// The driver on the node as a process that the test can kill at any moment, and its CSIDriver object; what the chart has
// installed is taken away for it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DRIVER_NAME, uninstall } from './chart.ts';
import { applied, kubectl, until } from './cluster.ts';
import { KUBECONFIG, KUBELET_DIR, NODE, NRI_SOCKET } from './where.ts';

export interface Driver extends AsyncDisposable {
  /** What it has logged, over all its lives. */
  readonly said: readonly string[];
  kill(): Promise<void>;
  start(): Promise<void>;
}

const PROGRAM = join(import.meta.dirname, '../../bin/csi-driver-idmap');
const PLUGIN_DIR = join(KUBELET_DIR, 'plugins', DRIVER_NAME);

export async function startDriver(...flags: readonly string[]): Promise<Driver> {
  await uninstall();
  await using making = new AsyncDisposableStack();
  making.use(await applied(CSI_DRIVER));
  const said: string[] = [];
  let child: ChildProcess | undefined;
  const end = async (signal: NodeJS.Signals) => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close');
    child.kill(signal);
    await closed;
  };
  const start = async () => {
    if (child?.exitCode === null && child.signalCode === null) return;
    mkdirSync(PLUGIN_DIR, { recursive: true });
    const from = said.length;
    child = spawn(PROGRAM, ['serve', ...FLAGS, ...flags], {
      stdio: ['ignore', 'inherit', 'pipe'],
      env: { ...process.env, KUBECONFIG },
    });
    if (child.stderr) createInterface({ input: child.stderr }).on('line', (line) => said.push(line));
    const has = (text: string) => said.slice(from).some((line) => line.includes(text));
    await until('the driver is registered', () => has('registered with kubelet')).catch((error: Error) => {
      throw new Error(`${error.message}\n${said.slice(from).join('\n')}`);
    });
    // Of a driver that was registered before, its successor must be known before a pod comes to it.
    await until('kubelet knows it', async () =>
      (await kubectl('get', 'csinode', NODE, '-o', 'json')).includes(DRIVER_NAME),
    );
  };
  making.defer(() => end('SIGTERM'));
  await start();
  const made = making.move();
  return {
    said,
    kill: () => end('SIGKILL'),
    start,
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

const FLAGS = [
  ...['--endpoint', `unix://${join(PLUGIN_DIR, 'csi.sock')}`],
  ...['--kubelet-dir', KUBELET_DIR, '--node-id', NODE, '--nri-socket', NRI_SOCKET],
];

/** As the chart makes it. */
const CSI_DRIVER = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'CSIDriver',
  metadata: { name: DRIVER_NAME },
  spec: {
    ...{ attachRequired: false, podInfoOnMount: true, fsGroupPolicy: 'File' },
    volumeLifecycleModes: ['Persistent', 'Ephemeral'],
  },
};
