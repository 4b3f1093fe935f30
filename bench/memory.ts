// What the driver keeps in memory, idle and after 1,000 rounds of publish and unpublish, and after 1,000 more: what grows
// once is warmth, what grows each time is a leak. And what it is that grows:
//
//   anonymous   heaps, stacks and buffers: what a process has for itself
//   files       pages of Node and its libraries that have been touched: the node has them once, for all who run them
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { startOurs } from './drivers.ts';
import type { Result, Sample } from './finding.ts';
import { startLineProgram } from './lines.ts';
import { runAlone, type Session } from './session.ts';

const ROUNDS = 1_000;
const SETTLE_MS = 2_000;
const KIB_PER_MIB = 1024;

interface Memory {
  /** The two parts of what the process that serves has. */
  readonly anonymous: number;
  readonly files: number;
  /** Anonymous memory of its child processes. (Their files are those of the first, and in its figure.) */
  readonly engines: number;
}

const serving = ({ anonymous, files }: Memory): number => anonymous + files;
const all = (memory: Memory): number => serving(memory) + memory.engines;

export async function memory(session: Session): Promise<Result[]> {
  await using callers = startLineProgram(session.programs.csiCallers);
  await using driver = await startOurs(session, 'memory');
  const { socket, pid, kubeletDir } = driver;
  const context = driver.bindContext(session.directory('memory-source'));
  const rounds = session.rounds(ROUNDS);
  const look = async (): Promise<Memory> => {
    await sleep(SETTLE_MS);
    return memoryOf(pid);
  };
  const idle = await look();
  await callers.ask('stage', socket, 1, context, kubeletDir);
  await callers.ask('cycle', socket, 1, rounds, context, kubeletDir);
  const after = await look();
  await callers.ask('cycle', socket, 1, rounds, context, kubeletDir);
  const later = await look();
  await callers.ask('unstage', socket, 1, context, kubeletDir);
  const one = (name: string, value: number): Sample => ({ name, values: [value] });
  return [
    {
      goal: 'memory-idle',
      ours: one('ours, the process that serves', serving(idle)),
      beside: [
        one('of that, files', idle.files),
        one(`after ${rounds} rounds`, serving(after)),
        one('of that, files', after.files),
      ],
    },
    {
      goal: 'memory-idle-all',
      ours: one('ours, with its engine processes', all(idle)),
      beside: [
        one('of that, anonymous memory of the engine processes', idle.engines),
        one(`after ${rounds} rounds`, all(after)),
      ],
    },
    {
      goal: 'memory-growth',
      ours: one(`ours, all processes, after ${rounds} rounds`, all(after) - all(idle)),
      beside: [
        one('anonymous, the process that serves', after.anonymous - idle.anonymous),
        one('anonymous, the engine processes', after.engines - idle.engines),
        one('files', after.files - idle.files),
        one(`all processes, ${rounds} rounds later`, all(later) - all(after)),
      ],
    },
  ];
}

function memoryOf(pid: number): Memory {
  // (Pss would share files with every Node of the machine.)
  const engines = childrenOf(pid).map((child) => mibOf(child, 'RssAnon'));
  return {
    anonymous: mibOf(pid, 'RssAnon'),
    files: mibOf(pid, 'RssFile') + mibOf(pid, 'RssShmem'),
    engines: engines.reduce((sum, one) => sum + one, 0),
  };
}

function childrenOf(pid: number): number[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const texts = tasks.map((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8'));
  const children = texts.flatMap((text) => text.split(' ').filter(Boolean).map(Number));
  return children.flatMap((child) => [child, ...childrenOf(child)]);
}

function mibOf(pid: number, line: string): number {
  const [, kib] =
    new RegExp(`^${line}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kib === undefined) throw new Error(`/proc/${pid}/status has no ${line}`);
  return Number(kib) / KIB_PER_MIB;
}

if (import.meta.main) await runAlone(memory);
