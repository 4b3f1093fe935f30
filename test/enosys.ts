// `npm run test:enosys`: the engine's suite as on kernels that lack one of the newer calls each. What cannot be done
// without it is skipped with the engine's own message; the rest must go another way, and work.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MASKED = ['open_tree', 'move_mount', 'fsopen', 'mount_setattr', 'openat2', 'statmount'];
const SUITES = [
  'bind',
  'device',
  'grow',
  'inspect',
  'lookup',
  'mapped-upper',
  'mkdir',
  'overlay',
  'recursive',
  'remount',
  'root-ids',
  'sets',
  'sources',
  'target',
  'temporary',
  'tmpfs',
  'unmount',
  'userns-locked',
].map((name) => `test/kernel/mount/${name}.test.ts`);

if (process.getuid?.() !== 0) {
  console.log('skipped: the engine without newer calls: not root');
  process.exit(0);
}
const runner = fileURLToPath(new URL('./support/without-syscalls.ts', import.meta.url));
const failed = MASKED.filter((name) => {
  console.log(`\nwithout ${name}`);
  const run = spawnSync(process.execPath, [runner, name, 'mocha', '--reporter', 'dot', ...SUITES], {
    stdio: 'inherit',
  });
  return run.status !== 0;
});
if (failed.length > 0) {
  console.error(`failed without ${failed.join(', ')}`);
  process.exitCode = 1;
}
