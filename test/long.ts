// Everything that takes long, one after the other (`npm run test:long`; docs/reliability.md has what each does). One that
// fails does not keep the others from their turn.
//
//   npm run test:long               all of them
//   npm run test:long -- soak fuzz  these
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const ALL = ['fuzz', 'soak', 'crash', 'faults'] as const;

interface Outcome {
  readonly name: string;
  readonly status: number | string;
  readonly minutes: string;
  /** What it said last, which is its account. */
  readonly account: string;
}

async function run(name: string): Promise<Outcome> {
  console.log(`\n=== ${name}`);
  const begun = performance.now();
  const child = spawn('npm', ['run', '--silent', `test:${name}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let account = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    console.log(line);
    if (line.trim() !== '') account = line;
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null];
  const minutes = ((performance.now() - begun) / 60_000).toFixed(1);
  return { name, status: status ?? signal ?? 'unknown', minutes, account };
}

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !ALL.some((known) => known === name));
if (unknown !== undefined) throw new Error(`${unknown}: what takes long is ${ALL.join(', ')}`);

const outcomes: Outcome[] = [];
for (const name of asked.length === 0 ? ALL : asked) outcomes.push(await run(name));
console.log('\n=== in all');
for (const { name, status, minutes, account } of outcomes) {
  console.log(`${status === 0 ? 'passed' : `FAILED (${status})`}  ${name}, ${minutes} min: ${account}`);
}
if (outcomes.some(({ status }) => status !== 0)) process.exitCode = 1;
