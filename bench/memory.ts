// What the driver keeps in memory, idle and after 1,000 rounds of publish and unpublish, and after 1,000 more: what grows
// once is warmth, what grows each time is a leak.
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
  readonly main: number;
  /** With its child processes, what they share counted once. */
  readonly all: number;
}

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
      ours: one('ours, the process that serves', idle.main),
      beside: [one(`after ${rounds} rounds`, after.main)],
    },
    {
      goal: 'memory-idle-all',
      ours: one('ours, with its engine processes', idle.all),
      beside: [one(`after ${rounds} rounds`, after.all)],
    },
    {
      goal: 'memory-growth',
      ours: one(`ours, all processes, after ${rounds} rounds`, after.all - idle.all),
      beside: [
        one('the process that serves alone', after.main - idle.main),
        one(`all processes, ${rounds} rounds later`, later.all - after.all),
      ],
    },
  ];
}

function memoryOf(pid: number): Memory {
  const main = mibOf(pid, 'VmRSS');
  // Their files are the same as those of the first, and in its figure. (Pss would share them with every Node of the machine.)
  const others = childrenOf(pid).map((child) => mibOf(child, 'RssAnon'));
  return { main, all: others.reduce((sum, one) => sum + one, main) };
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
  return Number(kib) / KIB_PER_MIB;
}

if (import.meta.main) await runAlone(memory);
