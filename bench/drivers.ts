// CSI drivers as processes: our bundle as the image starts it, and the peer.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../src/rpc/client.ts';
import { IdentityService } from '../src/rpc/generated/csi.ts';
import { StatusError } from '../src/rpc/status.ts';
import { sharedMount } from '../test/support/fixtures.ts';
import type { Session } from './session.ts';

export interface Driver extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  readonly socket: string;
  readonly kubeletDir: string;
  /** From the start of the process until Probe said so. */
  readonly readyMs: number;
  /** What publishes a directory as a bind mount, by this driver's volume context. */
  readonly bindContext: (source: string) => string;
}

const START_MS = 60_000;
const POLL_MS = 1;

/** @param wrapper what becomes the driver by execve(2) */
export function startOurs(session: Session, name: string, wrapper: readonly string[] = []): Promise<Driver> {
  return startDriver(session, name, {
    name: 'ours',
    command: ({ socket, kubeletDir }) => [
      ...[...wrapper, process.execPath, session.programs.main, 'serve', '--node-id', 'bench'],
      ...['--endpoint', `unix://${socket}`, '--registration', 'off', '--user-namespaces', 'nested'],
      ...['--kubelet-dir', kubeletDir, '--state-dir', join(kubeletDir, 'plugins/idmap.csi.dev')],
      // As the chart has it.
      ...['--metrics-address', '127.0.0.1:0'],
    ],
    bindContext: (source) => JSON.stringify({ type: 'bind', source }),
  });
}

/** Ours in bench/peer, or that of somebody: PEER_CSI_DRIVER, with the volume context that it wants. */
export function startPeer(session: Session, name: string): Promise<Driver> {
  const { PEER_CSI_DRIVER: other, PEER_CSI_CONTEXT: context } = process.env;
  return startDriver(session, name, {
    name: other === undefined ? 'Go CSI server' : basename(other),
    command: ({ socket }) => [
      ...[other ?? session.programs.csiDriver, `--endpoint=unix://${socket}`, '--nodeid=bench'],
    ],
    bindContext: (source) => context ?? JSON.stringify({ source }),
  });
}

/** Our server without a driver behind it. */
export function startEmpty(session: Session, name: string): Promise<Driver> {
  return startDriver(session, name, {
    name: 'the same server with nothing to do',
    command: ({ socket }) => [process.execPath, join(import.meta.dirname, 'empty-server.ts'), socket],
    bindContext: () => '{}',
  });
}

interface Kind extends Pick<Driver, 'name' | 'bindContext'> {
  readonly command: (place: Pick<Driver, 'socket' | 'kubeletDir'>) => readonly string[];
}

async function startDriver(
  { directory }: Session,
  placeName: string,
  { name, command, bindContext }: Kind,
): Promise<Driver> {
  const place = directory(placeName);
  const [kubeletDir, socket] = [join(place, 'kubelet'), join(place, 'csi.sock')];
  mkdirSync(kubeletDir);
  await using making = new AsyncDisposableStack();
  making.use(sharedMount(kubeletDir));
  const log = join(place, 'log');
  const { child, readyMs } = await start({ command: command({ socket, kubeletDir }), socket, log }, making);
  const made = making.move();
  return {
    ...{ name, pid: child.pid ?? 0, socket, kubeletDir, readyMs, bindContext },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

interface Start {
  readonly command: readonly string[];
  readonly socket: string;
  /** Where what it says goes, as on a node. */
  readonly log: string;
}

async function start(
  { command: [program = '', ...args], socket, log }: Start,
  made: AsyncDisposableStack,
): Promise<{ readonly child: ChildProcess; readonly readyMs: number }> {
  const { PATH } = process.env;
  const file = openSync(log, 'w');
  const begun = performance.now();
  const child = spawn(program, args, {
    stdio: ['ignore', file, file],
    env: { PATH, NODE_ENV: 'production' },
  });
  closeSync(file);
  const ended = once(child, 'exit');
  made.defer(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  while (!(existsSync(socket) && (await isReady(socket)))) {
    if (child.exitCode !== null || performance.now() - begun > START_MS) {
      throw new Error(`${program} ${args.join(' ')} did not get ready: ${readFileSync(log, 'utf8')}`);
    }
    await sleep(POLL_MS);
  }
  return { child, readyMs: performance.now() - begun };
}

async function isReady(socket: string): Promise<boolean> {
  using client = connect(IdentityService, socket);
  try {
    return (await client.probe({}, { timeoutMs: 1_000 })).ready !== false;
  } catch (error) {
    // An empty one has no Identity; else it is not there yet.
    return error instanceof StatusError && error.code === 'UNIMPLEMENTED';
  }
}
