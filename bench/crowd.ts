// Does a publish take longer on a node that is full of mounts? 50 others and 5,000, in turns.
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UMOUNT } from '../src/sys/constants.ts';
import { umount2 } from '../src/sys/syscalls.ts';
import { type Driver, startOurs, startPeer } from './drivers.ts';
import type { Result, Sample } from './finding.ts';
import { startLineProgram } from './lines.ts';
import { runAlone, type Session } from './session.ts';

const FEW = 50;
const MANY = 5_000;
const CYCLES = 10;
/** The kernel frees mounts that were taken away a moment later. */
const SETTLE_MS = 200;

export async function crowd(session: Session): Promise<Result[]> {
  await using callers = startLineProgram(session.programs.csiCallers);
  await using ours = await startOurs(session, 'crowd');
  await using peer = await startPeer(session, 'crowd-peer');
  const source = session.directory('crowd-source');
  const cycles = ({ socket, bindContext, kubeletDir }: Driver) =>
    callers.ask('cycle', socket, 1, CYCLES, bindContext(source), kubeletDir);
  await callers.ask('stage', ours.socket, 1, ours.bindContext(source), ours.kubeletDir);
  for (const driver of [ours, peer]) await cycles(driver);
  const samples = { ours: sampled('ours', MANY), few: sampled('ours', FEW), peer: sampled(peer.name, MANY) };
  for (let i = 0; i < session.rounds(8); i++) {
    for (const count of [MANY, FEW]) {
      await using _ = await crowded(session, ours.kubeletDir, count);
      (count === MANY ? samples.ours : samples.few).values.push(...(await cycles(ours)));
      if (count === MANY) samples.peer.values.push(...(await cycles(peer)));
    }
  }
  await callers.ask('unstage', ours.socket, 1, ours.bindContext(source), ours.kubeletDir);
  return [{ goal: 'publish-crowded', ours: samples.ours, peer: samples.few, beside: [samples.peer] }];
}

const sampled = (name: string, count: number): Sample & { readonly values: number[] } => ({
  name: `${name}, with ${count} other mounts`,
  values: [],
});

/** Other mounts, where those of pods are. */
export async function crowded(
  { limit }: Session,
  kubeletDir: string,
  count: number,
): Promise<AsyncDisposable> {
  const place = join(kubeletDir, 'crowd');
  mkdirSync(place);
  if (count > 0) await limit.ask('mounts', place, count);
  return {
    async [Symbol.asyncDispose]() {
      if (count > 0) umount2(place, UMOUNT.MNT_DETACH);
      rmdirSync(place);
      await sleep(SETTLE_MS);
    },
  };
}

if (import.meta.main) await runAlone(crowd);
