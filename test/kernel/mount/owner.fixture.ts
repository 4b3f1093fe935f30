// Owns a processEngine, for processes.test.ts to kill: `node owner.fixture.ts PATH` asks it for the usage of PATH
// and tells its own parent when it has the answer. The engine is never shut down.
import { processEngine } from '../../../src/mount/engine/processes.ts';

const [, , path = '/proc'] = process.argv;
const engine = processEngine({ processes: 2 });
setInterval(() => undefined, 60_000);
await engine.lookup({ target: { path: '/proc' } });
process.stdout.write('ready\n');
await engine.usage({ target: { path } });
process.stdout.write('answered\n');
