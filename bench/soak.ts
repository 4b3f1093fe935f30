// `node bench/soak.ts FILE`: puts what a soak found (SOAK_FIGURES of test/e2e/soak.test.ts) into RESULTS.md. One of less than
// ten minutes tells of no growth, and changes nothing; nor does one that was skipped, and left no file.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type SoakFigures, toSoak, withSoak } from './soak-page.ts';

const LONG_SECONDS = 600;
const RESULTS = join(import.meta.dirname, 'RESULTS.md');

const [file = ''] = process.argv.slice(2);
const figures = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as SoakFigures) : undefined;
if (figures !== undefined && figures.seconds >= LONG_SECONDS)
  writeFileSync(RESULTS, withSoak(readFileSync(RESULTS, 'utf8'), toSoak(figures)));
