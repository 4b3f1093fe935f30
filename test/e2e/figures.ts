// What the plugin holds at a moment, in figures, itself and the processes below it: for soak.test.ts, which wants them to be
// the same at the end as at the beginning.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../support/fixtures.ts';
import { descendants } from '../support/leaks.ts';
import type { TestNode } from './node.ts';
import { devicesOf, layersOf } from './specimens.ts';

/** What must be back at where it was when all volumes are gone. */
export interface Counts {
  readonly descriptors: number;
  readonly threads: number;
  readonly processes: number;
  readonly mounts: number;
  readonly 'loop devices': number;
  readonly records: number;
  readonly layers: number;
}

export interface Memory {
  /** KiB of the plugin's process, after a garbage collection. */
  readonly resident: number;
  readonly heap: number;
  /** KiB of the processes of its engine. */
  readonly engine: number;
}

export const memoryFileOf = (directory: string): string => join(directory, 'memory.json');

export function countsOf(node: TestNode): Counts {
  const { pid } = node.plugin;
  const below = descendants(pid);
  return {
    descriptors: entriesOf(`/proc/${pid}/fd`),
    threads: entriesOf(`/proc/${pid}/task`),
    processes: below.length,
    mounts: node.mounts().length,
    'loop devices': devicesOf(node).length,
    records: node.records().length,
    layers: layersOf(node).length,
  };
}

/** The plugin must have been started with collect.fixture.ts. */
export async function memoryOf({ directory, plugin: { pid } }: TestNode): Promise<Memory> {
  const file = memoryFileOf(directory);
  rmSync(file, { force: true });
  process.kill(pid, 'SIGURG');
  await eventually('the plugin tells of its memory', () => existsSync(file));
  const { rss, heapUsed } = JSON.parse(readFileSync(file, 'utf8')) as NodeJS.MemoryUsage;
  const engines = descendants(pid).filter(({ command }) => command.includes('engine-process'));
  return {
    resident: Math.round(rss / 1024),
    heap: Math.round(heapUsed / 1024),
    engine: engines.reduce((sum, one) => sum + residentOf(one.pid), 0),
  };
}

function residentOf(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // It has ended meanwhile.
  }
}

function entriesOf(directory: string): number {
  return readdirSync(directory).length;
}
