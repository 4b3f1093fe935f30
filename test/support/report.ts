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
  /** Why tests were skipped, and how many for that. */
  readonly reasons: Readonly<Record<string, number>>;
}

export const NOTHING: Report = { passed: 0, failed: 0, skipped: 0, cases: 0, failures: [], reasons: {} };

export function sumOf(a: Report, b: Report): Report {
  const reasons = { ...a.reasons };
  for (const [reason, count] of Object.entries(b.reasons)) reasons[reason] = (reasons[reason] ?? 0) + count;
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    cases: a.cases + b.cases,
    failures: [...a.failures, ...b.failures],
    reasons,
  };
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
  const text = textOf(file);
  return text === undefined ? undefined : (JSON.parse(text) as Report);
}

/** Beside the report, the test or hook that runs: what a run that is killed would not tell. */
export const writeBegun = (file: string, title: string): void => writeFileSync(begun(file), title);
export const readBegun = (file: string): string | undefined => textOf(begun(file));
const begun = (file: string): string => `${file}.begun`;

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
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

/** The last lines of a run of many jobs: why what was skipped, what failed, and how many of each. */
export function summaryOf(report: Report): string {
  const failures = report.failures.map((failure) => `failed: ${failure}\n`);
  const reasons = Object.entries(report.reasons)
    .toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => `skipped ${count}: ${reason}`);
  return [...reasons, '', ...failures, accountOf(report)].join('\n');
}
