// Runs mocha as several jobs, some at a time, and makes one report of theirs. What a job prints is shown whole when
// it has ended, so that jobs do not talk at the same time.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { environmentFor, type Report, readReport } from './report.ts';

export interface Job {
  readonly title: string;
  /** A program and its arguments, which end in a run of mocha with hooks.ts. */
  readonly command: readonly string[];
}

/** @returns the sum of the reports; a job that gave none, or ended badly without a failure in it, counts as a failure */
export async function runJobs(jobs: readonly Job[], atOnce: number): Promise<Report> {
  const directory = mkdtempSync(join(tmpdir(), 'test-reports-'));
  const waiting = [...jobs.entries()];
  const reports: Report[] = [];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [number, job] = next;
      reports.push(await run(job, join(directory, `${number}.json`)));
    }
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, work));
  } finally {
    rmSync(directory, { recursive: true });
  }
  return reports.reduce(sum, { passed: 0, failed: 0, skipped: 0, failures: [] });
}

async function run({ title, command }: Job, file: string): Promise<Report> {
  const started = performance.now();
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environmentFor(file) });
  const ended = new Promise<string | number | null>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (status, signal) => resolve(signal ?? status));
  });
  const [output, problems, outcome] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`\n== ${title} (${seconds} s)\n${output}${problems}`);
  const report = readReport(file);
  if (outcome === 0 && report !== undefined) return named(report, title);
  if (report !== undefined && report.failed > 0) return named(report, title);
  const why = report === undefined ? `ended with ${outcome}, without a report` : `ended with ${outcome}`;
  const { passed, skipped } = report ?? { passed: 0, skipped: 0 };
  return { passed, skipped, failed: 1, failures: [`${title}: ${why}`] };
}

const named = (report: Report, title: string): Report => ({
  ...report,
  failures: report.failures.map((failure) => `${title}: ${failure}`),
});

const sum = (a: Report, b: Report): Report => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped,
  failures: [...a.failures, ...b.failures],
});
