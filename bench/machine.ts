// What was measured on, and with.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { VERSION } from '../src/version.ts';

const BUSY =
  ', which is more than the machine has processors: what waits for others is in the figures, of both sides';

/** Names and values, for a table. */
export function describeMachine(): readonly (readonly [string, string])[] {
  const [cpu] = cpus();
  const [load = 0] = loadavg();
  return [
    ['kernel', release()],
    ['processors', `${cpus().length} x ${cpu?.model ?? 'unknown'}`],
    ['memory', `${Math.round(totalmem() / 2 ** 30)} GiB`],
    ['temporary files, and so the state directory', said('stat', '-f', '-c', '%T', tmpdir())],
    ['load before', `${load.toFixed(1)}${load > cpus().length ? BUSY : ''}`],
    ['csi-driver-idmap', `${VERSION} (${said('git', 'rev-parse', '--short', 'HEAD')})`],
    ['Node', process.version],
    ['Go', said('go', 'env', 'GOVERSION')],
    ...peerVersions(),
    ['util-linux', said('mount', '--version').replace(/ \(.*/, '')],
  ];
}

const PEERS = ['github.com/containerd/containerd/v2', 'k8s.io/mount-utils', 'google.golang.org/grpc'];

function peerVersions(): [string, string][] {
  const text = readFileSync(join(import.meta.dirname, 'peer/go.mod'), 'utf8');
  return PEERS.map((name) => {
    const line = text.split('\n').find((one) => one.trim().startsWith(`${name} `)) ?? '';
    return [name, line.trim().split(' ')[1] ?? 'unknown'];
  });
}

function said(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', cwd: import.meta.dirname }).trim();
  } catch {
    return 'unknown';
  }
}
