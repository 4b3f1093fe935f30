// Runs mocha as several jobs, some at a time, and makes one report of theirs. What a job prints is shown whole when
// it has ended, so that jobs do not talk at the same time.
import { type StdioOptions, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { environmentFor, type Report, readReport } from './report.ts';
import { scaled } from './time-scale.ts';

export interface Job {
  readonly title: string;
  /** A program and its arguments, which end in a run of mocha with hooks.ts. */
  readonly command: readonly string[];
  /** Told when the job begins: for whoever watches one that lasts minutes. */
  readonly beginning?: string;
}

/** Whoever waits for the tests wants to know which of them does not end. */
const LONGEST_MS = scaled(30 * 60_000);

/** @returns the sum of the reports; a job that gave none, or ended badly without a failure in it, counts as a failure */
export async function runJobs(jobs: readonly Job[], atOnce: number): Promise<Report> {
  const directory = mkdtempSync(join(tmpdir(), 'test-reports-'));
  const waiting = [...jobs.entries()];
  const reports: Report[] = [];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [number, job] = next;
      reports.push(await run(job, join(directory, String(number))));
    }
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, work));
  } finally {
    rmSync(directory, { recursive: true });
  }
  return reports.reduce(sum, { passed: 0, failed: 0, skipped: 0, cases: 0, failures: [] });
}

async function run({ title, command, beginning }: Job, place: string): Promise<Report> {
  const started = performance.now();
  if (beginning !== undefined) process.stdout.write(`\n-- ${title} begins: ${beginning}\n`);
  const outcome = await outcomeOf(command, place);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`\n== ${title} (${seconds} s)\n${readFileSync(outputOf(place), 'utf8')}`);
  const report = readReport(reportOf(place));
  if (report !== undefined && (outcome === 0 || report.failed > 0)) return named(report, title);
  const why = report === undefined ? `ended with ${outcome}, without a report` : `ended with ${outcome}`;
  const { passed, skipped, cases } = report ?? { passed: 0, skipped: 0, cases: 0 };
  return { passed, skipped, cases, failed: 1, failures: [`${title}: ${why}`] };
}

const outputOf = (place: string): string => `${place}.output`;
const reportOf = (place: string): string => `${place}.json`;

/** Its status, or what ended it. What it starts may outlive it and keep its output, which is a file for that reason. */
function outcomeOf([program = '', ...args]: readonly string[], place: string): Promise<number | string> {
  const output = openSync(outputOf(place), 'w');
  try {
    const stdio: StdioOptions = ['ignore', output, output];
    const env = environmentFor(reportOf(place));
    const child = spawn(program, args, { stdio, env, timeout: LONGEST_MS, killSignal: 'SIGKILL' });
    return new Promise((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('exit', (status, signal) => resolve(signal ?? status ?? 'nothing'));
    });
  } finally {
    closeSync(output);
  }
}

const named = (report: Report, title: string): Report => ({
  ...report,
  failures: report.failures.map((failure) => `${title}: ${failure}`),
});

const sum = (a: Report, b: Report): Report => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped,
  cases: a.cases + b.cases,
  failures: [...a.failures, ...b.failures],
});
