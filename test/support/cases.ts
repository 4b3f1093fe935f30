// How many cases a property is tried with (fast-check), and which: said here for every test of the project.
//
//   FUZZ_TIMES   how many times the usual number                    (default: 1; npm run test:fuzz)
//   FUZZ_SEED    the seed of all properties                         (default: the same in every run)
//
// A usual run tries the same as the one before, so that it fails by what was changed; npm run test:fuzz tries others.
// To see a failure again: its seed, its factor, and mocha with the file and the title of the test.
import fc, { type RunDetails } from 'fast-check';
import { tried } from './report.ts';

const USUAL = 100;

const times = numberOf('FUZZ_TIMES') ?? 1;
const seed = numberOf('FUZZ_SEED') ?? 1;

/** For a property that usually needs more cases than others, or can afford fewer: `{ numRuns: cases(500) }`. */
export const cases = (usual: number): number => Math.max(1, Math.round(usual * times));

fc.configureGlobal({ numRuns: cases(USUAL), seed, reporter: report });

/** As fast-check does by itself; and counts. */
function report(details: RunDetails<unknown>): void {
  tried.cases += details.numRuns;
  if (!details.failed) return;
  throw new Error(fc.defaultReportMessage(details) ?? 'a property failed', { cause: details.errorInstance });
}

function numberOf(variable: string): number | undefined {
  const text = process.env[variable];
  if (!text) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${variable}=${text} is no number`);
  return value;
}
