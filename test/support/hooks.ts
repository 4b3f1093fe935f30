// What mocha runs round every test of the project (.mocharc.json): the leak check after each file and at the end,
// the account of the run as its last lines, and an end to a run that something keeps from ending. Before all of it, the
// run begins anew, isolated from others.
import { writeSync } from 'node:fs';
import { relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Mocha from 'mocha';
import { int, long, nothing, syscall } from '../../src/sys/bind.ts';
import { leftMounted, removeLeftovers } from './fixtures.ts';
import { isolate, removeOwnDirectory } from './isolation.ts';
import { descendants, newSince, type Snapshot, takeSnapshot } from './leaks.ts';
import { skipped } from './need.ts';
import { isOnHost } from './on-host.ts';
import { accountOf, takeReportFile, tried, writeBegun, writeReport } from './report.ts';
import { scaled, scaleTimeouts } from './time-scale.ts';
import { wordsOf } from './words.ts';

isolate();
process.on('exit', removeOwnDirectory);
scaleTimeouts(Mocha.Runnable.prototype);

const PR_SET_CHILD_SUBREAPER = 36;
/** What was closed or killed may take a moment to be gone; who leaves something on purpose need not wait for it. */
const SETTLE_MS = scaled(Number(process.env.TEST_SETTLE_MS ?? 15_000));
const POLL_MS = 25;
/** How long open handles may keep the process after the last test. */
const END_MS = scaled(30_000);

let known: Snapshot;
/** What single tests left and was taken away after them. */
const takenAway: string[] = [];

export const mochaHooks = {
  beforeAll(this: Mocha.Context): void {
    // A child whose parent has ended becomes ours rather than init's, and so is seen. What is restarted on a real node is
    // nobody's.
    const prctl = syscall('prctl', { x64: 157, arm64: 167 }, [int, long], nothing);
    if (!isOnHost()) prctl(PR_SET_CHILD_SUBREAPER, 1);
    known = takeSnapshot();
    for (const suite of rootOf(this).suites) {
      // Comes after the hooks of the suite's own, which put away what its tests share.
      suite.afterAll('nothing is left behind', () => expectNothingNew(nameOf(suite)));
    }
  },
  afterEach(this: Mocha.Context): void {
    const left = leftMounted.splice(0);
    // A test that failed says why; that it did not get round to its unmounts is no news.
    if (this.currentTest?.state !== 'passed') return;
    takenAway.push(...left.map((target) => `mount: ${target} after "${this.currentTest?.fullTitle()}"`));
  },
  async afterAll(): Promise<void> {
    await expectNothingNew('the run as a whole').finally(removeLeftovers);
  },
};

async function expectNothingNew(suspect: string): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  let now = takeSnapshot();
  while (newSince(known, now).length > 0 && performance.now() < deadline) {
    await sleep(POLL_MS);
    now = takeSnapshot();
  }
  const left = [...takenAway.splice(0), ...newSince(known, now)];
  // Each leak is reported once, where it happened.
  known = now;
  if (left.length > 0) throw new Error([`left behind by ${suspect}:`, ...left].join('\n  '));
}

function rootOf(context: Mocha.Context): Mocha.Suite {
  let suite = context.test?.parent;
  while (suite?.parent) suite = suite.parent;
  if (suite === undefined) throw new Error('mocha runs a hook that belongs to no suite');
  return suite;
}

const nameOf = ({ file, title }: Mocha.Suite): string =>
  file === undefined ? title : `${title} (${relative(process.cwd(), file)})`;

const reportFile = takeReportFile();
const pending: string[] = [];
const failures: string[] = [];
const NO_REASON = 'no reason given';

export function mochaGlobalSetup(this: Mocha.Runner): void {
  for (const kind of ['test', 'hook'] as const) {
    this.on(kind, (one: Mocha.Runnable) => {
      if (reportFile !== undefined) writeBegun(reportFile, one.fullTitle());
    });
  }
  this.on('pending', (test) => pending.push(test.fullTitle()));
  this.on('fail', (test, error: unknown) => {
    const text = textOf(error);
    failures.push(`${test.fullTitle()}: ${text}`);
    // The reporter has these two at the end.
    if (error instanceof SuppressedError) Object.assign(error, { message: wordsOf(error), stack: text });
  });
}

/** With the error that a failed disposal at the end of the test would hide. */
function textOf(error: unknown): string {
  if (error instanceof SuppressedError) return `${textOf(error.suppressed)}\nand then ${textOf(error.error)}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** After the reporter's last word. */
export function mochaGlobalTeardown(this: Mocha.Runner): void {
  const { passes: passed = 0, failures: failed = 0 } = this.stats ?? {};
  const reasons: Record<string, number> = {};
  const unexplained: string[] = [];
  for (const title of pending) {
    const skip = skipped.find((one) => title.startsWith(one.title));
    if (skip === undefined) unexplained.push(title);
    const reason = skip?.reason ?? NO_REASON;
    reasons[reason] = (reasons[reason] ?? 0) + 1;
  }
  const report = { passed, failed, skipped: pending.length, cases: tried.cases, failures, reasons };
  const lines = [
    ...skipped.map(({ title, reason }) => `skipped: ${title}: ${reason}`),
    ...unexplained.map((title) => `skipped: ${title}: ${NO_REASON}`),
    accountOf(report),
  ];
  writeSync(1, `${lines.join('\n')}\n`);
  if (reportFile !== undefined) writeReport(reportFile, report);
  setTimeout(() => {
    writeSync(2, `the tests are over, but the process is kept alive by: ${activeResources()}\n`);
    // Told of above, as left behind.
    for (const { pid } of descendants(process.pid)) process.kill(pid, 'SIGKILL');
    process.exit(1);
  }, END_MS).unref();
}

const activeResources = (): string => process.getActiveResourcesInfo().join(', ');
