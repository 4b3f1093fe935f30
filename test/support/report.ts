// How a run of mocha tells whoever started it what became of its tests: in a file that TEST_REPORT names. And how a test that
// takes long tells what it has tried, and how often: in a line of its output that test/long.ts finds again.
import { readFileSync, writeFileSync } from 'node:fs';

export interface Report {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Of properties, in all. */
  readonly cases: number;
  /** What failed, and why, a paragraph each. */
  readonly failures: readonly string[];
}

/** What cases.ts counts: it is loaded after this process has begun for good. */
export const tried = { cases: 0 };

const VARIABLE = 'TEST_REPORT';

/** Takes the variable away: what the tests start is not to report there. */
export function takeReportFile(): string | undefined {
  const file = process.env[VARIABLE];
  delete process.env[VARIABLE];
  return file;
}

export const environmentFor = (file: string): NodeJS.ProcessEnv => ({ ...process.env, [VARIABLE]: file });

export function writeReport(file: string, report: Report): void {
  writeFileSync(file, JSON.stringify(report));
}

/** Undefined when the run did not come to its end. */
export function readReport(file: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch {
    return undefined;
  }
}

const FIGURES = 'figures: ';

export const tell = (figures: string): void => console.log(`      ${FIGURES}${figures}`);

/** What a line of output tells, if it does. */
export function toldBy(line: string): string | undefined {
  const said = line.trim();
  return said.startsWith(FIGURES) ? said.slice(FIGURES.length) : undefined;
}

export const accountOf = ({ passed, failed, skipped }: Report): string =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;
