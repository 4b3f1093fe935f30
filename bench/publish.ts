// NodePublish and NodeUnpublish of a bind volume over the socket, called as kubelet calls, by one caller and by 32: beside
// a CSI driver written in Go in the usual way, in turns, and our own server with nothing behind it. Ours records what it does
// on disk first, which the peer does not.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasTool } from '../test/support/need.ts';
import { type Driver, startEmpty, startOurs, startPeer } from './drivers.ts';
import type { Result, Sample } from './finding.ts';
import { type LineProgram, startLineProgram } from './lines.ts';
import { runAlone, type Session } from './session.ts';
import { median } from './statistics.ts';
import { readTrace, SYNC_CALLS, TRACED, type Trace } from './trace.ts';

/** Each block is ours, then theirs, then the empty one's. */
const BLOCKS = 12;
const CYCLES = { 1: 30, 32: 3 } as const;
const TRACED_CYCLES = 50;

export async function publish(session: Session): Promise<Result[]> {
  await using callers = startLineProgram(session.programs.csiCallers);
  const source = session.directory('publish-source');
  const results: Result[] = [];
  {
    await using ours = await startOurs(session, 'publish');
    await using peer = await startPeer(session, 'publish-peer');
    await using empty = await startEmpty(session, 'publish-empty');
    for (const count of [1, 32] as const) {
      const samples = await blocks(session, callers, { drivers: [ours, peer, empty], source, count });
      const [our, their, nothing] = samples;
      if (!our || !nothing) throw new Error('nothing was measured');
      results.push({ goal: `publish-${count}-p50`, ours: our, peer: their, beside: [nothing] });
      results.push({ goal: `publish-${count}-p99`, ours: our, peer: their });
    }
  }
  if (!hasTool('strace')) return [...results, { goal: 'publish-processes', skipped: 'there is no strace' }];
  const trace = await traced(session, callers, source);
  const alone = results.find(({ goal }) => goal === 'publish-1-p50');
  const p50 = alone && 'ours' in alone ? median(alone.ours.values) : Number.NaN;
  results.push({
    goal: 'publish-processes',
    ours: { name: `ours, counted by strace in ${TRACED_CYCLES} rounds`, values: [trace.processes] },
    note: shareOfSyncs(trace, p50),
  });
  return results;
}

interface Blocks {
  readonly drivers: readonly Driver[];
  readonly source: string;
  readonly count: 1 | 32;
}

async function blocks(
  { rounds }: Session,
  callers: LineProgram,
  { drivers, source, count }: Blocks,
): Promise<Sample[]> {
  const samples = drivers.map(({ name }) => ({ name, values: [] as number[] }));
  for (const driver of drivers) {
    const context = driver.bindContext(source);
    await callers.ask('stage', driver.socket, count, context, driver.kubeletDir);
    await callers.ask('cycle', driver.socket, count, 5, context, driver.kubeletDir);
  }
  for (let i = 0; i < rounds(BLOCKS); i++) {
    for (const [at, { socket, bindContext, kubeletDir }] of drivers.entries()) {
      const times = await callers.ask('cycle', socket, count, CYCLES[count], bindContext(source), kubeletDir);
      samples[at]?.values.push(...times);
    }
  }
  for (const { socket, bindContext, kubeletDir } of drivers) {
    await callers.ask('unstage', socket, count, bindContext(source), kubeletDir);
  }
  return samples;
}

/** What the processes of the driver do, by strace; -D: which is not their parent. */
async function traced(session: Session, callers: LineProgram, source: string): Promise<Trace> {
  const file = join(session.directory('trace'), 'strace');
  const wrapper = [
    'strace',
    '-D',
    '-f',
    '--seccomp-bpf',
    '-T',
    '-e',
    `trace=${TRACED.join(',')}`,
    '-o',
    file,
  ];
  await using driver = await startOurs(session, 'traced', wrapper);
  const context = driver.bindContext(source);
  await callers.ask('stage', driver.socket, 1, context, driver.kubeletDir);
  // Its engine processes are there by then.
  await callers.ask('cycle', driver.socket, 1, 5, context, driver.kubeletDir);
  const before = readFileSync(file, 'utf8').length;
  await callers.ask('cycle', driver.socket, 1, TRACED_CYCLES, context, driver.kubeletDir);
  const text = readFileSync(file, 'utf8').slice(before);
  await callers.ask('unstage', driver.socket, 1, context, driver.kubeletDir);
  return readTrace(text);
}

function shareOfSyncs({ syncs }: Trace, p50: number): string {
  const each = syncs.length / TRACED_CYCLES;
  const ms = syncs.reduce((sum, one) => sum + one, 0) / TRACED_CYCLES;
  const share = Math.round((ms / p50) * 100);
  return `${SYNC_CALLS.join(' and ')}: ${each.toFixed(1)} a round, ${ms.toFixed(2)} ms together, about ${share} % of the p50 of one caller; the peer has none`;
}

if (import.meta.main) await runAlone(publish);
