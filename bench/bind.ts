// A read-only bind mount, made and taken away: by the engine, by containerd's code, by the bare system calls.
import { processEngine } from '../src/mount/engine/processes.ts';
import { localEngine } from '../src/mount/engine.ts';
import type { Mount } from '../src/mount/mount.ts';
import { cycle } from './cycle.ts';
import type { Result } from './finding.ts';
import { measure } from './measure.ts';
import { runAlone, type Session } from './session.ts';

export async function bind({ containerd, limit, rounds, directory }: Session): Promise<Result[]> {
  const [source, target] = [directory('bind-source'), directory('bind-target')];
  await using local = localEngine();
  await using processes = processEngine({ processes: 1 });
  const mount: Mount = { type: 'bind', source, options: ['rbind', 'ro'] };
  const [ours, peer, bare, child, command] = await measure(
    [
      { name: 'ours', round: cycle(local, mount, target) },
      {
        name: 'containerd mount.All + UnmountAll',
        round: async () => (await containerd.ask('mount', 'bind', source, target, 'rbind', 'ro'))[0],
      },
      { name: 'bare system calls', round: async () => (await limit.ask('bind', source, target))[0] },
      { name: 'ours, by an engine process', round: cycle(processes, mount, target) },
      {
        name: 'mount(8) and umount(8)',
        round: async () => (await containerd.ask('command', 'bind', source, target, 'rbind', 'ro'))[0],
      },
    ],
    { rounds: rounds(300), warmUp: 200 },
  );
  if (!ours || !child || !command) throw new Error('nothing was measured');
  return [{ goal: 'bind', ours, peer, limit: bare, beside: [child, command] }];
}

if (import.meta.main) await runAlone(bind);
