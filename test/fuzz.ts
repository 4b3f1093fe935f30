// Tries all properties and all damaged input for long (`npm run test:fuzz`): rounds of every test that uses fast-check,
// each round with another seed, until so many cases have been tried in all. Ends with the first round that fails.
//
//   FUZZ_CASES   how many                               (default: a million)
//   FUZZ_TIMES   how many times the usual in a round    (default: 20)
//   FUZZ_SEED    of the first round                     (default: by chance)
import { globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Job, runJobs } from './support/jobs.ts';
import { accountOf } from './support/report.ts';

const ROOT = join(import.meta.dirname, '..');
// What is tried so often takes its time; a hang is ended by jobs.ts.
const MOCHA = [
  process.execPath,
  join(ROOT, 'node_modules/mocha/bin/mocha.js'),
  '--reporter',
  'dot',
  '--timeout',
  '0',
];

const { FUZZ_CASES = '1000000', FUZZ_TIMES = '20', FUZZ_SEED } = process.env;
const LARGEST_SEED = 2 ** 31;

process.chdir(ROOT);
const files = globSync('test/**/*.test.ts').filter((file) =>
  /\bfc\.assert\(/.test(readFileSync(file, 'utf8')),
);
const OWN_JOB = /^test\/fuzz\//;
const jobs: Job[] = [
  ...files.filter((file) => OWN_JOB.test(file)).map((file) => ({ title: file, command: [...MOCHA, file] })),
  { title: 'properties', command: [...MOCHA, ...files.filter((file) => !OWN_JOB.test(file))] },
];

const wanted = Number(FUZZ_CASES);
if (!(wanted > 0)) throw new Error(`FUZZ_CASES=${FUZZ_CASES} is no number of cases`);
let seed = FUZZ_SEED === undefined ? Math.floor(Math.random() * LARGEST_SEED) : Number(FUZZ_SEED);
let tried = 0;
for (let round = 1; tried < wanted; round++) {
  Object.assign(process.env, { FUZZ_TIMES, FUZZ_SEED: String(seed) });
  const report = await runJobs(jobs, availableParallelism());
  tried += report.cases;
  for (const failure of report.failures) console.log(`\nfailed: ${failure}`);
  const account = `${report.cases} cases, ${tried} of ${wanted} in all`;
  console.log(
    `\nround ${round}, FUZZ_SEED=${seed} FUZZ_TIMES=${FUZZ_TIMES}: ${account}; tests: ${accountOf(report)}`,
  );
  if (report.failed > 0) process.exit(1);
  if (report.cases === 0) throw new Error('no case was tried: nothing here uses fast-check');
  seed = (seed + 1) % LARGEST_SEED;
}
