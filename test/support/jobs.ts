// Runs mocha as several jobs, some at a time, and makes one report of theirs. What a job prints is shown whole when
// it has ended, so that jobs do not talk at the same time.
import { type StdioOptions, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { environmentFor, NOTHING, type Report, readBegun, readReport, sumOf } from './report.ts';

export interface Job {
  readonly title: string;
  /** A program and its arguments, which end in a run of mocha with hooks.ts. */
  readonly command: readonly string[];
  /** Whether its beginning is told: for whoever watches one that lasts minutes. */
  readonly told?: boolean;
}

/** Whoever waits for the tests wants to know which of them does not end. TEST_JOB_MINUTES makes it another time. */
const LONGEST_MS = Number(process.env.TEST_JOB_MINUTES || 30) * 60_000;
if (!(LONGEST_MS > 0)) throw new Error('TEST_JOB_MINUTES must be a number above 0');

/** @returns the sum of the reports; a job that gave none, or ended badly without a failure in it, counts as a failure */
export async function runJobs(jobs: readonly Job[], atOnce: number): Promise<Report> {
  const directory = mkdtempSync(join(tmpdir(), 'test-reports-'));
  const waiting = [...jobs.entries()];
  const reports: Report[] = [];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [number, job] = next;
      // In the order of the jobs, whichever ends first.
      reports[number] = await run(job, join(directory, String(number)));
    }
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, work));
  } finally {
    rmSync(directory, { recursive: true });
  }
  return reports.reduce(sumOf, NOTHING);
}

async function run({ title, command, told }: Job, place: string): Promise<Report> {
  const started = performance.now();
  if (told) process.stdout.write(`\n-- ${title} begins\n`);
  const outcome = await outcomeOf(command, place);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`\n== ${title} (${seconds} s)\n${readFileSync(outputOf(place), 'utf8')}`);
  const report = readReport(reportOf(place));
  if (report !== undefined && (outcome === 0 || report.failed > 0)) return named(report, title);
  if (report !== undefined) {
    return { ...report, failed: 1, failures: [`${title}: ended with ${outcome}`] };
  }
  const at = readBegun(reportOf(place)) ?? 'what comes before the first test';
  const why = `ended with ${outcome} after ${seconds} s, without a report, in: ${at}`;
  return { ...NOTHING, failed: 1, failures: [`${title}: ${why}`] };
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
