// Mounts by a FUSE helper and stays, for fuse-unmount.test.ts to kill: `node mounting.fixture.ts ENGINE SOURCE TARGET`.
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { localEngine } from '../../../src/mount/engine.ts';

const [, , kind, source = '', target = ''] = process.argv;
const engine = kind === 'localEngine' ? localEngine() : processEngine({ processes: 1 });
setInterval(() => undefined, 60_000);
await engine.mountAll({
  mounts: [{ type: 'fuse.bindfs', source, options: [] }],
  target: { path: target },
});
process.stdout.write('mounted\n');
