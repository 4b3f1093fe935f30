// Everything that takes long, one after the other (`npm run test:long`; docs/reliability.md has what each does). One that
// fails does not keep the others from their turn.
//
//   npm run test:long               all of them
//   npm run test:long -- soak fuzz  these
//
// Each part has variables of its own, by which it is made shorter, or the same as one before; all are as long as they ought to
// be without:
//
//   fuzz     FUZZ_CASES=1000000 FUZZ_TIMES=20 FUZZ_SEED
//   soak     SOAK_SECONDS=600 SOAK_SEED
//   crash    CRASH_ROUNDS=500 CRASH_SEED, CRASH_TEST=all (any other value: one point of each call)
//   faults   FAULTS=all FAULTS_SEED, FAULTS_KINDS=every (any other value: one for each way to make a volume), FAULTS_API
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { toldBy } from './support/report.ts';

const ALL = ['fuzz', 'soak', 'crash', 'faults'] as const;

interface Outcome {
  readonly name: string;
  readonly status: number | string;
  readonly minutes: string;
  /** What it said last, which is its account. */
  readonly account: string;
  /** What it has tried, and how often. */
  readonly figures: readonly string[];
}

async function run(name: string): Promise<Outcome> {
  console.log(`\n=== ${name}`);
  const begun = performance.now();
  const child = spawn('npm', ['run', '--silent', `test:${name}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let account = '';
  const figures: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    console.log(line);
    const told = toldBy(line);
    if (told !== undefined) figures.push(told);
    else if (line.trim() !== '') account = line.trim();
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null];
  const minutes = ((performance.now() - begun) / 60_000).toFixed(1);
  return { name, status: status ?? signal ?? 'unknown', minutes, account, figures };
}

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !ALL.some((known) => known === name));
if (unknown !== undefined) throw new Error(`${unknown}: what takes long is ${ALL.join(', ')}`);

const outcomes: Outcome[] = [];
for (const name of asked.length === 0 ? ALL : asked) outcomes.push(await run(name));
console.log('\n=== in all');
for (const { name, status, minutes, account, figures } of outcomes) {
  console.log(`${status === 0 ? 'passed' : `FAILED (${status})`}  ${name}, ${minutes} min: ${account}`);
  for (const line of figures) console.log(`          ${line}`);
}
if (outcomes.some(({ status }) => status !== 0)) process.exitCode = 1;
