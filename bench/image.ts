// An ext4 image, mounted by a loop device and taken away: by the engine, by containerd's code, by the bare system calls.
import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { localEngine } from '../src/mount/engine.ts';
import type { Mount } from '../src/mount/mount.ts';
import { hasTool } from '../test/support/need.ts';
import { cycle } from './cycle.ts';
import type { Result } from './finding.ts';
import { measure } from './measure.ts';
import { runAlone, type Session } from './session.ts';

const SIZE = 64 * 1024 * 1024;

export async function image({ containerd, limit, rounds, directory }: Session): Promise<Result[]> {
  if (!hasTool('mkfs.ext4')) return [{ goal: 'image', skipped: 'there is no mkfs.ext4 (e2fsprogs)' }];
  const file = join(directory('image'), 'disk.ext4');
  const target = directory('image-target');
  writeFileSync(file, '');
  truncateSync(file, SIZE);
  execFileSync('mkfs.ext4', ['-q', file]);
  await using engine = localEngine();
  const mount: Mount = { type: 'ext4', source: file, options: ['loop'] };
  const [ours, peer, bare, command] = await measure(
    [
      { name: 'ours', round: cycle(engine, mount, target) },
      {
        name: 'containerd mount.All + UnmountAll',
        round: async () => (await containerd.ask('mount', 'ext4', file, target, 'loop'))[0],
      },
      { name: 'bare system calls', round: async () => (await limit.ask('image', target, file))[0] },
      {
        name: 'mount(8) and umount(8)',
        round: async () => (await containerd.ask('command', 'ext4', file, target, 'loop'))[0],
      },
    ],
    { rounds: rounds(100), warmUp: 10 },
  );
  if (!ours || !command) throw new Error('nothing was measured');
  return [{ goal: 'image', ours, peer, limit: bare, beside: [command] }];
}

if (import.meta.main) await runAlone(image);
