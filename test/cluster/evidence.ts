// What there is to know of a failure on the node, in one folder that outlives the cluster:
//
//   error.txt                    what failed, and how
//   logs/, logs/pods/            of kubelet, containerd and the control plane; of every container, gone ones too
//   describe.txt, events.txt     kubectl describe of what is not well known, and all Events
//   objects.yaml, metrics.txt    as the API server and the driver have it
//   mounts.txt                   mounts, loop devices and processes of the node
//
// Written at once, by calls that block: in the next moment the objects of the test are deleted.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CLUSTER_DIR, environment } from './where.ts';

const FOLDER = join(CLUSTER_DIR, 'failed');
const KEPT = 20;
/** One that never ends must not keep the tests. */
const BOUND_MS = 20_000;

const kept = new WeakSet<Error>();

/** The error, with its folder in its message. Once for each. */
export function withEvidence(error: Error, title = 'while a test waited'): Error {
  if (kept.has(error)) return error;
  kept.add(error);
  const at = keep(title, error.stack ?? error.message);
  const where = `logs and state of that moment: ${at}`;
  error.message += `\n${where}`;
  // The message as it was is in it already.
  error.stack = `${error.stack}\n    ${where}`;
  return error;
}

function keep(title: string, text: string): string {
  const name = `${new Date().toISOString().replaceAll(':', '.')} ${title}`
    .replace(/[^\w.]+/g, '-')
    .slice(0, 120);
  const at = join(FOLDER, name);
  mkdirSync(at, { recursive: true });
  for (const old of readdirSync(FOLDER).toSorted().slice(0, -KEPT)) {
    rmSync(join(FOLDER, old), { recursive: true, force: true });
  }
  writeFileSync(join(at, 'error.txt'), `${title}\n\n${text}\n`);
  cpSync(join(CLUSTER_DIR, 'run/logs'), join(at, 'logs'), { recursive: true });
  for (const [file, commands] of Object.entries(FILES)) {
    writeFileSync(join(at, file), commands.map(outputOf).join('\n'));
  }
  return at;
}

const ALL = 'pods,daemonsets,pv,pvc,csinodes,csidrivers';
const FILES: Readonly<Record<string, readonly string[]>> = {
  'describe.txt': [`kubectl describe ${ALL} -A`, 'kubectl describe nodes'],
  'events.txt': ['kubectl get events -A --sort-by=.metadata.creationTimestamp'],
  'objects.yaml': [`kubectl get ${ALL} -A -o yaml`],
  'metrics.txt': [
    'curl -sS --max-time 5 http://$(kubectl -n csi-driver-idmap get pods -l app.kubernetes.io/component=driver -o jsonpath={.items[0].status.podIP}):9810/metrics',
  ],
  'mounts.txt': ['cat /proc/self/mountinfo', 'losetup -l', 'ps -eo pid,ppid,stat,wchan:20,args'],
};

function outputOf(command: string): string {
  try {
    return execFileSync('sh', ['-c', `${command} 2>&1`], {
      env: environment,
      timeout: BOUND_MS,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    });
  } catch (error) {
    return `${command}: ${(error as Error).message}`;
  }
}
