// An overlay of 2, 20 and 100 layers, made and taken away, four ways, each beside containerd's code doing the same:
//
//   cold      ID-mapped, by a mapping that was never seen before
//   seen      ID-mapped, by the mapping of the last time; containerd keeps none
//   private   as cold, the way of kernels before 6.15 (docs/kernel-features.md)
//   plain     not mapped
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Engine, localEngine } from '../src/mount/engine.ts';
import type { Mount } from '../src/mount/mount.ts';
import { cycle } from './cycle.ts';
import type { Result } from './finding.ts';
import { type GoalName, LAYER_COUNTS, type LayerCount } from './goals.ts';
import { measure } from './measure.ts';
import { runAlone, type Session } from './session.ts';

type Way = 'mapped-cold' | 'mapped-seen' | 'mapped-private' | 'plain';

/** Mappings begin there, one after the other. */
const FIRST_ID = 100_000;
const IDS = 65_536;
const MAPPINGS = 30_000;

export async function overlay(session: Session): Promise<Result[]> {
  const parent = session.directory('layers');
  const names = Array.from({ length: Math.max(...LAYER_COUNTS) }, (_, i) => String(i));
  for (const name of names) mkdirSync(join(parent, name));
  const target = session.directory('overlay-target');
  await using local = localEngine();
  await using older = localEngine({ disabled: ['overlay-layers-by-fd'] });
  const results: Result[] = [];
  for (const count of LAYER_COUNTS) {
    const layers = names.slice(0, count);
    for (const way of ['mapped-cold', 'mapped-seen', 'mapped-private', 'plain'] as const) {
      const engine = way === 'mapped-private' ? older : local;
      results.push(await one(session, { engine, way, count, parent, layers, target }));
    }
  }
  return results;
}

interface Case {
  readonly engine: Engine;
  readonly way: Way;
  readonly count: LayerCount;
  readonly parent: string;
  readonly layers: readonly string[];
  readonly target: string;
}

async function one(
  { containerd, limit, rounds }: Session,
  { engine, way, count, parent, layers, target }: Case,
): Promise<Result> {
  const goal: GoalName = `${way}-${count}`;
  const paths = layers.map((name) => join(parent, name));
  const lowerdir = `lowerdir=${paths.join(':')}`;
  const nextId = ids();
  const seen = nextId();
  const isCold = way === 'mapped-cold' || way === 'mapped-private';
  const optionsNow = (): string[] => {
    if (way === 'plain') return [lowerdir];
    const mapping = `0:${isCold ? nextId() : seen}:${IDS}`;
    return [lowerdir, `uidmap=${mapping}`, `gidmap=${mapping}`];
  };
  const mountNow = (): Mount => ({ type: 'overlay', source: 'overlay', options: optionsNow() });
  const bare = (): Promise<number[]> => {
    if (way === 'plain') return limit.ask('overlay', target, ...paths);
    return isCold
      ? limit.ask('mapped', nextId(), target, parent, ...layers)
      : limit.ask('remapped', target, parent, ...layers);
  };
  // So that there is a namespace to be taken again.
  if (way === 'mapped-seen') await limit.ask('mapped', seen, target, parent, ...layers);
  const [ours, peer, barest] = await measure(
    [
      { name: 'ours', round: cycle(engine, mountNow, target) },
      {
        name: 'containerd mount.All + UnmountAll',
        round: async () => (await containerd.ask('mount', 'overlay', 'overlay', target, ...optionsNow()))[0],
      },
      { name: 'bare system calls', round: async () => (await bare())[0] },
    ],
    { rounds: rounds(100), warmUp: 40 },
  );
  if (!ours) throw new Error('nothing was measured');
  return { goal, ours, peer, limit: barest };
}

function ids(): () => number {
  let count = Math.floor(Math.random() * MAPPINGS);
  return () => FIRST_ID + IDS * (count++ % MAPPINGS);
}

if (import.meta.main) await runAlone(overlay);
