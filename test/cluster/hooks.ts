// Beside test/support/hooks.ts, for tests of the cluster: the evidence of each failure is kept (evidence.ts), and the
// account of the run is printed and written to $CLUSTER_DIR/summary.md: what ran, how long it took, and figures that tests
// have noted.
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { withEvidence } from './evidence.ts';
import { summaryOf, type TestRun } from './summary.ts';
import { CLUSTER_DIR } from './where.ts';

const runs: TestRun[] = [];

export function mochaGlobalSetup(this: Mocha.Runner): void {
  this.on('fail', (test, error) => {
    withEvidence(error, test.fullTitle());
  });
  this.on('test end', ({ file, title, state, duration }) => {
    runs.push({
      file: basename(file ?? ''),
      title,
      state: state === undefined || state === 'pending' ? 'skipped' : state,
      seconds: (duration ?? 0) / 1000,
    });
  });
}

export function mochaGlobalTeardown(): void {
  const at = join(CLUSTER_DIR, 'summary.md');
  const summary = summaryOf(runs);
  writeFileSync(at, summary);
  console.log(`${summary}\nwritten to ${at}`);
}
