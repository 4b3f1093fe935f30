// What is done in the background, at the start and now and then, in the state directory alone:
//
//   a publish whose pod's directory is gone    unpublished for good: kubelet has forgotten it. Its layer, its device and
//                                              its record go
//   layers that were removed                   deleted, a while at a time (mount/layer/purge.ts)
//
// Nothing else is ever touched: not what was moved aside, not what could not be read, not what others have put there.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLater, type VolumeRecord } from '../journal/record.ts';
import { messageOf } from '../mount/errors.ts';
import { isWithin } from '../mount/target.ts';
import { layerPathOf, layersDirectory, type NodeDependencies, placeOf, TO_THE_END } from './dependencies.ts';
import { NodeError } from './reasons.ts';

export interface Housekeeping extends AsyncDisposable {
  /** There is something to delete: not to wait for the next round. */
  wake(): void;
}

export type HousekeepingDependencies = Pick<
  NodeDependencies,
  'engine' | 'journal' | 'locks' | 'metrics' | 'kubeletDir' | 'stateDir'
> & {
  /** Told once of each thing that cannot be removed. */
  readonly onProblem: (problem: string) => void;
  readonly intervalMs?: number;
};

const INTERVAL_MS = 600_000;
/** After a round with a problem, the next ones come sooner: after this, and twice as long each time. */
const AGAIN_MS = 1_000;
/** Of the deleting, so that calls of kubelet find the engine free between two, and a stop does not wait. */
const SLICE_MS = 100;
const PAUSE_MS = 20;

export function housekeeping(deps: HousekeepingDependencies): Housekeeping {
  const { onProblem, intervalMs = INTERVAL_MS } = deps;
  const stopped = new AbortController();
  const told = new Set<string>();
  let problems = 0;
  const tell = (problem: string) => {
    problems++;
    if (!told.has(problem)) onProblem(problem);
    told.add(problem);
  };
  let woken = new AbortController();

  async function run(): Promise<void> {
    for (let again = AGAIN_MS; !stopped.signal.aborted; ) {
      woken = new AbortController();
      problems = 0;
      await round(deps, tell, stopped.signal).catch((error: unknown) => tell(messageOf(error)));
      const either = AbortSignal.any([stopped.signal, woken.signal]);
      again = problems === 0 ? AGAIN_MS : Math.min(2 * again, intervalMs);
      await sleep(problems === 0 ? intervalMs : again, undefined, { signal: either, ref: false }).catch(
        () => undefined,
      );
    }
  }

  const ended = run();
  return {
    wake: () => woken.abort(),
    async [Symbol.asyncDispose]() {
      stopped.abort();
      await ended;
    },
  };
}

type Tell = (problem: string) => void;

async function round(deps: HousekeepingDependencies, tell: Tell, signal: AbortSignal): Promise<void> {
  for (const record of deps.journal.all()) {
    if (signal.aborted) return;
    if (isForgotten(record, deps)) await removeForgotten(record, deps, tell);
  }
  await purge(deps, tell, signal);
}

/**
 * The directory that the CO makes for the target is gone, although the CO's own directory is there: a filesystem that is
 * not mounted yet must not look like pods that are gone.
 */
function isForgotten(record: VolumeRecord, { kubeletDir }: HousekeepingDependencies): boolean {
  if (record.kind !== 'publish' || isLater(record)) return false;
  let directory = path.dirname(record.path);
  if (existsSync(directory)) return false;
  while (!existsSync(directory)) directory = path.dirname(directory);
  return directory !== kubeletDir && isWithin(directory, kubeletDir);
}

async function removeForgotten(
  record: VolumeRecord,
  deps: HousekeepingDependencies,
  tell: Tell,
): Promise<void> {
  const { engine, journal, locks, metrics } = deps;
  try {
    using _lock = locks.take(record.volumeId, record.path);
    // Meanwhile it may have been published again.
    if (!isForgotten(record, deps)) return;
    const image = record.device?.image;
    const target = placeOf(record.path, deps);
    if (image !== undefined) await engine.unmount({ target, all: true, image }, TO_THE_END);
    await engine.removeLayer({ path: layerPathOf(record, deps) }, TO_THE_END);
    await journal.remove(record);
    metrics.count('csi_idmap_recovered_records_total', { outcome: 'removed' });
  } catch (error) {
    if (error instanceof NodeError && error.reason === 'operation-pending') return;
    tell(messageOf(error));
  }
}

async function purge(deps: HousekeepingDependencies, tell: Tell, signal: AbortSignal): Promise<void> {
  const directory = layersDirectory(deps);
  while (!signal.aborted) {
    const { finished, problems } = await deps.engine.purgeLayers(
      { directory, atMostMs: SLICE_MS },
      TO_THE_END,
    );
    for (const problem of problems) tell(problem);
    if (finished) return;
    await sleep(PAUSE_MS, undefined, { signal }).catch(() => undefined);
  }
}
