// Beside test/support/hooks.ts, for tests of the cluster: they begin anew in its mount namespace, where its volumes are
// mounted (node/common.sh has why it has one); the evidence of each failure is kept (evidence.ts), and the
// account of the run is printed and written to $CLUSTER_DIR/summary.md: what ran, how long it took, and figures that tests
// have noted.
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { withEvidence } from './evidence.ts';
import { summaryOf, type TestRun } from './summary.ts';
import { CLUSTER_DIR } from './where.ts';

enterNamespace();

const runs: TestRun[] = [];

export function mochaGlobalSetup(this: Mocha.Runner): void {
  this.on('fail', (test, error) => {
    withEvidence(error, test.fullTitle());
    // A hook that fails is given here too, and ends no test.
    const kind: string = test.type;
    if (kind === 'hook') runs.push(runOf(test, 'failed'));
  });
  this.on('test end', (test) => {
    runs.push(runOf(test, test.state === undefined || test.state === 'pending' ? 'skipped' : test.state));
  });
}

const runOf = ({ file, title, duration }: Mocha.Runnable, state: string): TestRun => ({
  file: basename(file ?? ''),
  title,
  state,
  seconds: (duration ?? 0) / 1000,
});

export function mochaGlobalTeardown(): void {
  const at = join(CLUSTER_DIR, 'summary.md');
  const summary = summaryOf(runs);
  writeFileSync(at, summary);
  console.log(`${summary}\nwritten to ${at}`);
}

/** By its holder; nowhere when there is no cluster, and the tests skip themselves. */
function enterNamespace(): void {
  const file = join(CLUSTER_DIR, 'run/namespace.pid');
  const namespace = existsSync(file) ? `/proc/${readFileSync(file, 'utf8').trim()}/ns/mnt` : '';
  if (!existsSync(namespace) || readlinkSync(namespace) === readlinkSync('/proc/self/ns/mnt')) return;
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const inPlace = ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', process.cwd(), ...program];
  process.execve?.('/usr/bin/env', ['env', 'nsenter', `--mount=${namespace}`, '--', ...inPlace], process.env);
}
