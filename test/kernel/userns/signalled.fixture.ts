// Makes user namespaces until its standard input ends, with a dot for every twenty, and counts the signals that it handled
// meanwhile.
import { setImmediate as turn } from 'node:timers/promises';
import { createUserNamespace } from '../../../src/userns/create.ts';
import { without } from './features.ts';

const options = without(process.argv[2]);
let handled = 0;
let over = false;
process.on('SIGUSR2', () => handled++);
process.stdin.on('end', () => {
  over = true;
});
process.stdin.resume();
process.stdout.write('ready\n');
const ids = [{ container: 0, host: 100_000, size: 65_536 }];
while (!over) {
  for (let i = 0; i < 20; i++) createUserNamespace({ uid: ids, gid: ids }, options)[Symbol.dispose]();
  process.stdout.write('.');
  await turn();
}
process.stdout.write(`\n${JSON.stringify({ handled })}\n`, () => process.exit(0));
