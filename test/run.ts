// Runs the tests, as jobs that are each a mocha of its own: as many at a time as there are processors. Many tests wait
// for something, and one after another they would take a quarter of an hour.
//
//   suite    all test files, some in each job                      `npm test`
//   root     those of kernel/ and e2e/, or of TEST_FILES           `make test-kernel`, on an older kernel
//   masked   the engine's files, as on kernels that lack a call    `npm run test:enosys`
//
// Every failure is told again at the end, and every reason to skip with how often; the last line is the account of all
// jobs. For one file there is mocha.
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Job, runJobs } from './support/jobs.ts';
import { summaryOf } from './support/report.ts';

const ROOT = join(import.meta.dirname, '..');
const MOCHA = [process.execPath, join(ROOT, 'node_modules/mocha/bin/mocha.js'), '--reporter', 'dot'];

/** How many files of a directory share a job. Those whose jobs last longest come first, so that none is late. */
const SUITE = { sanity: 1, chart: 2, kernel: 4, e2e: 7, fuzz: 10, unit: 30 };

/** What is masked, each by itself. What cannot be done without is skipped; the rest must go another way, and work. */
const MASKED = ['open_tree', 'move_mount', 'fsopen', 'mount_setattr', 'openat2', 'statmount'];
/** Where the way that a mount is made matters. */
const MASKED_FILES = [
  'bind',
  'device',
  'grow',
  'inspect',
  'layer',
  'layers',
  'lookup',
  'mapped-upper',
  'mkdir',
  'overlay',
  'recursive',
  'remount',
  'root-ids',
  'sets',
  'sources',
  'target',
  'temporary',
  'tmpfs',
  'unmount',
  'userns-locked',
].map((name) => `test/kernel/mount/${name}.test.ts`);

const JOBS: Readonly<Record<string, () => Job[]>> = { suite, root, masked };

function suite(): Job[] {
  return Object.entries(SUITE).flatMap(([directory, most]) =>
    jobsOf(directory, [`test/${directory}/**/*.test.ts`], most),
  );
}

/** One file in each, as each is long there and shows what it printed when it has ended. */
function root(): Job[] {
  const globs = (process.env.TEST_FILES || 'test/kernel/**/*.test.ts test/e2e/**/*.test.ts').split(' ');
  return jobsOf('root', globs, 1).map(({ title, command }) => ({
    title: `${title}: ${command.slice(MOCHA.length).join(' ')}`,
    command,
    told: true,
  }));
}

function jobsOf(title: string, globs: readonly string[], most: number): Job[] {
  const files = globs.flatMap((glob) => globSync(glob, { cwd: ROOT }).toSorted());
  const jobs = Math.ceil(files.length / most);
  return Array.from({ length: jobs }, (_, job) => {
    const some = files.filter((_, i) => Math.floor(i / most) === job);
    return { title: `${title} ${job + 1}/${jobs}`, command: [...MOCHA, ...some] };
  });
}

function masked(): Job[] {
  if (process.getuid?.() !== 0) {
    console.log('skipped: the engine without newer calls: not root');
    return [];
  }
  const runner = join(ROOT, 'test/support/without-syscalls.ts');
  return MASKED.map((name) => ({
    title: `without ${name}`,
    command: [process.execPath, runner, name, ...MOCHA, ...MASKED_FILES],
  }));
}

process.chdir(ROOT);
const asked = process.argv.slice(2).map((name) => {
  const jobs = JOBS[name];
  if (jobs === undefined) throw new Error(`${name}: what can be run is ${Object.keys(JOBS).join(', ')}`);
  return jobs;
});
const report = await runJobs(
  asked.flatMap((jobs) => jobs()),
  availableParallelism(),
);
console.log(`\n${summaryOf(report)}`);
if (report.failed > 0) process.exitCode = 1;
