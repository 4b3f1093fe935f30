// A user namespace's file descriptor: how long does it take to make one, and to find one again?
import { userNamespaces } from '../src/userns/cache.ts';
import { createUserNamespace } from '../src/userns/create.ts';
import { parseIdMapping } from '../src/userns/mapping.ts';
import type { Result } from './finding.ts';
import { measure } from './measure.ts';
import { runAlone, type Session } from './session.ts';

/** In one round, so that what takes microseconds has digits. */
const TIMES = 100;
const TEXT = '0:100000:65536';

export async function usernsFd({ containerd, limit, rounds }: Session): Promise<Result[]> {
  const ids = parseIdMapping(TEXT, 'mapping');
  const mapping = { uid: ids, gid: ids };
  const spawned = { has: (feature: string) => feature !== 'clone-pidfd' };
  const make = (options?: typeof spawned) => () => createUserNamespace(mapping, options)[Symbol.dispose]();
  const [cold, peer, bare, byProgram] = await measure(
    [
      { name: 'ours, by clone(2)', round: make() },
      { name: 'containerd GetUsernsFD', round: async () => (await containerd.ask('userns', TEXT, TEXT))[0] },
      { name: 'bare system calls', round: async () => (await limit.ask('userns', '100000'))[0] },
      { name: 'ours, by unshare(1): kernels without pidfds of clone(2)', round: make(spawned) },
    ],
    { rounds: rounds(200), warmUp: 100 },
  );
  using cache = userNamespaces();
  const [cached] = await measure(
    [
      {
        name: 'ours',
        round: () => {
          const begun = performance.now();
          for (let i = 0; i < TIMES; i++) cache.lease(mapping)[Symbol.dispose]();
          return ((performance.now() - begun) / TIMES) * 1000;
        },
      },
    ],
    { rounds: rounds(50), warmUp: 5 },
  );
  if (!cold || !cached || !byProgram) throw new Error('nothing was measured');
  return [
    { goal: 'userns-cold', ours: cold, peer, limit: bare, beside: [byProgram] },
    { goal: 'userns-cached', ours: cached },
  ];
}

if (import.meta.main) await runAlone(usernsFd);
