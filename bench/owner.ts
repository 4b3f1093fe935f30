// A volume of a million files, shown with another owner or with a pod's group: an ID-mapped mount, beside what kubelet and
// administrators do instead, which is to change each file.
import { execFileSync } from 'node:child_process';
import { processEngine } from '../src/mount/engine/processes.ts';
import type { Mount } from '../src/mount/mount.ts';
import { UMOUNT } from '../src/sys/constants.ts';
import { umount2 } from '../src/sys/syscalls.ts';
import { mountCommand } from '../test/support/fixtures.ts';
import { startOurs } from './drivers.ts';
import type { Result, Sample } from './finding.ts';
import { startLineProgram } from './lines.ts';
import { measure } from './measure.ts';
import { runAlone, type Session } from './session.ts';
import { pairDifferences } from './statistics.ts';

const FILES = 1_000_000;
const QUICK_FILES = 20_000;
const GROUP = '5000';
const CHOWNS = 2;

export async function owner(session: Session): Promise<Result[]> {
  const source = session.directory('million');
  mountCommand('-t', 'tmpfs', '-o', 'nr_inodes=0,mode=755', 'bench', source);
  using _source = { [Symbol.dispose]: () => umount2(source, UMOUNT.MNT_DETACH) };
  const count = session.quick ? QUICK_FILES : FILES;
  await session.limit.ask('files', source, count);
  const chown = await chownAll(source, count);
  return [
    { goal: 'owner', ours: await shownAsOther(session, source), beside: [chown] },
    { goal: 'fs-group', ours: await groupAdded(session, source), beside: [chown] },
  ];
}

async function shownAsOther({ rounds, directory }: Session, source: string): Promise<Sample> {
  const target = { path: directory('owner-target') };
  await using engine = processEngine({ processes: 1 });
  const first = 100_000;
  let made = 0;
  const mountNow = (): Mount => {
    // A swap of the two owners, as the key `owner` makes it; never one that was seen before.
    const id = first + made++;
    const mapping = `0:${id}:1,${id}:0:1`;
    return { type: 'bind', source, options: ['bind', `uidmap=${mapping}`, `gidmap=${mapping}`] };
  };
  const [ours] = await measure(
    [
      {
        name: 'ours: one ID-mapped mount, by an engine process',
        round: () => engine.mountAll({ mounts: [mountNow()], target }),
        after: async () => void (await engine.unmount({ target })),
      },
    ],
    { rounds: rounds(100), warmUp: 20 },
  );
  if (!ours) throw new Error('nothing was measured');
  return ours;
}

/** A NodePublish with an fsGroup, less the one without it that came before. */
async function groupAdded(session: Session, source: string): Promise<Sample> {
  await using callers = startLineProgram(session.programs.csiCallers);
  await using driver = await startOurs(session, 'owner');
  const context = driver.bindContext(source);
  const publish = (group: string) => async () =>
    (await callers.ask('publish', driver.socket, 1, 1, context, driver.kubeletDir, group))[0];
  await callers.ask('stage', driver.socket, 1, context, driver.kubeletDir);
  const [grouped, plain] = await measure(
    [
      { name: 'with a group', round: publish(GROUP) },
      { name: 'without', round: publish('') },
    ],
    { rounds: session.rounds(100), warmUp: 20 },
  );
  await callers.ask('unstage', driver.socket, 1, context, driver.kubeletDir);
  if (!grouped || !plain) throw new Error('nothing was measured');
  return {
    name: 'ours: what NodePublish takes longer',
    values: pairDifferences(grouped.values, plain.values),
  };
}

async function chownAll(source: string, count: number): Promise<Sample> {
  let id = 0;
  const [peer] = await measure(
    [
      {
        name: `chown -R of ${count} files`,
        round: () => {
          id++;
          execFileSync('chown', ['-R', `${id}:${id}`, source]);
        },
      },
    ],
    { rounds: CHOWNS },
  );
  execFileSync('chown', ['0:0', source]);
  if (!peer) throw new Error('nothing was measured');
  return peer;
}

if (import.meta.main) await runAlone(owner);
