// Makes user namespaces until its standard input ends, and counts the signals that it handled meanwhile.
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
let made = 0;
while (!over) {
  for (let i = 0; i < 20; i++, made++) createUserNamespace({ uid: ids, gid: ids }, options)[Symbol.dispose]();
  await turn();
}
process.stdout.write(`${JSON.stringify({ handled, made })}\n`, () => process.exit(0));
