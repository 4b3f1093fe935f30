// A driver with a lock and a listening socket in a directory, which makes a user namespace: to its end, or held in the
// middle, with a child: driver.fixture.ts FEATURES-IT-DOES-WITHOUT DIRECTORY whole|held
//
// A SIGINT adds a dot to the file `handled` and ends it, a moment later, in which a second one would be seen.
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { lockDirectory } from '../../../src/journal/lock.ts';
import { cloneInUserNamespace, createUserNamespace } from '../../../src/userns/create.ts';
import { spawnInUserNamespace } from '../../../src/userns/spawned-child.ts';
import { without } from './features.ts';

const [features, directory = '', how] = process.argv.slice(2);
const options = without(features);
const start = options.has?.('clone-pidfd') ? cloneInUserNamespace : spawnInUserNamespace;
await lockDirectory(directory);
const listening = Promise.withResolvers<void>();
createServer().listen(join(directory, 'socket'), listening.resolve);
await listening.promise;
process.on('SIGINT', () => {
  appendFileSync(join(directory, 'handled'), '.');
  setTimeout(() => process.exit(0), 200);
});
if (how === 'whole') {
  const ids = [{ container: 0, host: 100_000, size: 65_536 }];
  createUserNamespace({ uid: ids, gid: ids }, options)[Symbol.dispose]();
  process.exit(0);
}
const child = start();
process.stdout.write(`${child.pid}\n`);
