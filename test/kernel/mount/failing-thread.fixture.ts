// Mounts an overlay that takes the private thread, three times, for thread.test.ts to have fail, and tells as JSON how, and
// what is left of its threads: `node failing-thread.fixture.ts DIRECTORY`.
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localEngine } from '../../../src/mount/engine.ts';
import { messageOf } from '../../../src/mount/errors.ts';

export interface Answer {
  readonly failures: readonly string[];
  readonly threads: { readonly before: number; readonly after: number };
  /** How many different mount namespaces they are in. */
  readonly namespaces: number;
}

const PATIENCE_MS = 10_000;

async function answer(directory: string): Promise<Answer> {
  await using engine = localEngine({ disabled: ['overlay-layers-by-fd'] });
  const options = [
    `lowerdir=${join(directory, 'a')}:${join(directory, 'b')}`,
    ...['uidmap=0:100000:65536', 'gidmap=0:100000:65536'],
  ];
  const mounts = [{ type: 'overlay', source: 'overlay', options }];
  const before = threads().length;
  const failures: string[] = [];
  for (let i = 0; i < 3; i++) {
    const mounted = engine.mountAll({ mounts, target: { path: join(directory, 'target') } });
    failures.push(await mounted.then(() => 'success', messageOf));
  }
  // They end when they are told to, a moment later.
  const deadline = performance.now() + PATIENCE_MS;
  while (threads().length > before && performance.now() < deadline) await sleep(10);
  const namespaces = new Set(threads().map((thread) => readlinkSync(`/proc/self/task/${thread}/ns/mnt`)));
  return { failures, threads: { before, after: threads().length }, namespaces: namespaces.size };
}

const threads = (): string[] => readdirSync('/proc/self/task');

if (import.meta.main) {
  const [, , directory = ''] = process.argv;
  console.log(JSON.stringify(await answer(directory)));
}
