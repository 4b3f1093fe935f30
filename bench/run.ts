// `npm run bench` (root): the engine beside what people use instead, in the same run. Numbers are medians on the
// machine that runs it: read the ratios. Results are kept in bench/results.md.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { processEngine } from '../src/mount/engine/processes.ts';
import { type Engine, localEngine } from '../src/mount/engine.ts';
import type { Mount } from '../src/mount/mount.ts';
import { measure, report } from './measure.ts';

const MAPPING = ['uidmap=0:100000:65536', 'gidmap=0:100000:65536'];
const FILES = 20_000;

if (process.getuid?.() !== 0) {
  console.log('The benchmarks mount filesystems, which needs root.');
  process.exit(0);
}

const root = mkdtempSync(path.join(tmpdir(), 'csi-driver-idmap-bench-'));
await using cleanUp = new AsyncDisposableStack();
cleanUp.defer(() => rmSync(root, { recursive: true, force: true }));
chmodSync(root, 0o755);
const directory = (...names: string[]) => {
  const made = path.join(root, ...names);
  mkdirSync(made, { recursive: true });
  return made;
};
const target = { path: directory('target') };
const local = cleanUp.use(localEngine());
const processes = cleanUp.use(processEngine({ processes: 2 }));

const cycle = (engine: Engine, mount: Mount) => async () => {
  await engine.mountAll({ mounts: [mount], target });
  await engine.unmount({ target });
};
const commands =
  (args: readonly string[], cwd = root) =>
  () => {
    execFileSync('mount', [...args, target.path], { cwd });
    execFileSync('umount', [target.path]);
  };

const source = directory('source');
const bind: Mount = { type: 'bind', source, options: ['bind', 'nosuid'] };
const bindTimes = await measure(
  [
    { name: 'engine, in this process', round: cycle(local, bind) },
    { name: 'engine, in a child process', round: cycle(processes, bind) },
    { name: 'mount(8) and umount(8)', round: commands(['--bind', '-o', 'nosuid', source]) },
  ],
  200,
);
console.log(report('A bind mount, made and taken away', bindTimes));

for (const count of [2, 20, 100]) {
  const names = Array.from({ length: count }, (_, i) => String(i));
  const lowerdir = `lowerdir=${names.map((name) => directory('layers', name)).join(':')}`;
  const overlay = (...more: string[]): Mount => ({
    type: 'overlay',
    source: 'overlay',
    options: [lowerdir, ...more],
  });
  const times = await measure(
    [
      { name: 'engine, ID-mapped, in this process', round: cycle(local, overlay(...MAPPING)) },
      { name: 'engine, ID-mapped, in a child process', round: cycle(processes, overlay(...MAPPING)) },
      { name: 'engine, not mapped, in this process', round: cycle(local, overlay()) },
      // Short relative names: with whole paths, 100 layers do not fit the page that mount(2) takes.
      {
        name: 'mount(8) and umount(8), not mapped',
        round: commands(
          ['-t', 'overlay', 'overlay', '-o', `lowerdir=${names.join(':')}`],
          directory('layers'),
        ),
      },
    ],
    50,
  );
  console.log(report(`An overlay of ${count} layers, made and taken away`, times));
}

const data = directory('data');
for (let i = 0; i < FILES; i++) {
  const file = path.join(data, String(i % 100), String(i));
  if (i < 100) mkdirSync(path.dirname(file));
  writeFileSync(file, '');
}
const mapped: Mount = { type: 'bind', source: data, options: ['bind', ...MAPPING] };
const ownerTimes = await measure(
  [
    {
      name: 'ID-mapped bind, in a child process',
      round: () => processes.mountAll({ mounts: [mapped], target }),
      after: async () => void (await processes.unmount({ target })),
    },
    {
      name: 'chown -R',
      round: () => void execFileSync('chown', ['-R', '100000:100000', data]),
      after: () => void execFileSync('chown', ['-R', '0:0', data]),
    },
  ],
  5,
);
console.log(report(`${FILES} files shown with another owner`, ownerTimes));
await import('./userns.ts');
await import('./fuse.ts');
await import('./nri.ts');
