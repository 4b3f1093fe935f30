// From the start of the bundle's process until Probe says that it is ready: what a node is without after an upgrade.
import { startOurs } from './drivers.ts';
import type { Result } from './finding.ts';
import { runAlone, type Session } from './session.ts';

const STARTS = 20;

export async function start(session: Session): Promise<Result[]> {
  const values: number[] = [];
  for (let i = 0; i < session.rounds(STARTS); i++) {
    await using driver = await startOurs(session, `start-${i}`);
    values.push(driver.readyMs);
  }
  return [{ goal: 'start', ours: { name: 'ours, the bundle', values } }];
}

if (import.meta.main) await runAlone(start);
