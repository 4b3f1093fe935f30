// What a driver that starts does about what an earlier one was killed in the middle of. It runs before any call is
// served, and does as little as is right: what kubelet asks again (it always does, until it has an answer) is done
// again from the record and the kernel, as every repeated call is (mounted.ts).
//
//   record      killed while                   becomes
//   intended    staging, publishing            what was mounted is taken away, what is below it and its loop device
//                                              too; the record goes. Nobody has been told yet that it is there.
//     + letGo   staging for a publish          the same, but the record stays, as `done`: kubelet holds it for staged
//               a reboot: nothing is mounted   the same: nothing to take away
//     + layer   either                         the layer and the record stay, for the same publish again: after a
//                                              reboot a pod's writings are in it. They go with unpublish, or when the
//                                              pod's directory is gone (housekeeping.ts)
//   waiting     the volume was to come         handed to whoever completes it, if its mount is there still; else left
//               unpublishing                   left: unpublish comes again, and finds less to do
//   done        unpublishing, unstaging        left: the call comes again
//               nothing                        left: every call compares it with the kernel
//   later       any                            left: it is for a version that understands it
//
// What cannot be taken away (busy, a filesystem that does not answer) keeps its record, and is reported. A layer of which
// there is no record at all is removed, if nothing has it; later a call might be about to use it.
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { fieldsOf, isLater, type VolumeRecord } from '../journal/record.ts';
import { messageOf } from '../mount/errors.ts';
import { layerPathOf, layersDirectory, type NodeDependencies, placeOf } from './dependencies.ts';
import { isMountOf } from './mounted.ts';

export interface RecoveryReport {
  /** Half-done work that was taken back. */
  readonly undone: number;
  /** What waits for a mount that is to come: to be gone on with. */
  readonly waiting: readonly VolumeRecord[];
  /** What could not be taken back, a line each. */
  readonly problems: readonly string[];
}

export type RecoveryDependencies = Pick<
  NodeDependencies,
  'engine' | 'journal' | 'metrics' | 'kubeletDir' | 'stateDir'
>;

/** For one step of one record: a filesystem that hangs must not keep the node from having its driver. */
const STEP = { timeoutMs: 10_000 } as const;

type Outcome = 'undone' | 'resumed' | 'failed' | 'left';

export async function recover(deps: RecoveryDependencies): Promise<RecoveryReport> {
  const problems: string[] = [];
  const waiting: VolumeRecord[] = [];
  let undone = 0;
  for (const record of deps.journal.all()) {
    const outcome = await recoverOne(record, deps).catch((error: unknown): Outcome => {
      problems.push(`${record.path}: ${messageOf(error)}`);
      return 'failed';
    });
    if (outcome === 'undone') undone++;
    if (outcome === 'resumed') waiting.push(record);
    if (outcome !== 'left') deps.metrics.count('csi_idmap_recovered_records_total', { outcome });
  }
  for (const layer of await layersWithoutRecord(deps)) {
    await deps.engine
      .removeLayer({ path: layer }, STEP)
      .catch((error: unknown) => problems.push(messageOf(error)));
  }
  return { undone, waiting, problems };
}

async function recoverOne(record: VolumeRecord, deps: RecoveryDependencies): Promise<Outcome> {
  if (isLater(record)) return 'left';
  if (record.state === 'intended') return undo(record, deps);
  if (record.state === 'waiting') return (await isShown(record, deps)) ? 'resumed' : 'left';
  return 'left';
}

async function undo(record: VolumeRecord, deps: RecoveryDependencies): Promise<Outcome> {
  const { engine, journal } = deps;
  // What is there by now is another volume's.
  if (journal.at(record.path).some(({ state }) => state !== 'intended')) {
    await journal.remove(record);
    return 'undone';
  }
  const target = placeOf(record.path, deps);
  const image = record.device?.image;
  await engine.unmountRecursive({ target }, STEP);
  await engine.unmount({ target, all: true, ...(image !== undefined && { image }) }, STEP);
  if (record.kind === 'publish' && existsSync(layerPathOf(record, deps))) return 'left';
  if (record.letGo === true) await journal.put({ ...fieldsOf(record), state: 'done' });
  else await journal.remove(record);
  return 'undone';
}

async function isShown(record: VolumeRecord, deps: RecoveryDependencies): Promise<boolean> {
  const shown = await deps.engine.lookup({ target: placeOf(record.path, deps) }, STEP);
  return shown.is === 'mount-point' && isMountOf(record, shown.mount);
}

const LAYER_NAME = /^publish-[0-9a-f]{40}$/;

async function layersWithoutRecord(deps: RecoveryDependencies): Promise<string[]> {
  const directory = layersDirectory(deps);
  if (!existsSync(directory)) return [];
  const without: string[] = [];
  for (const name of (await readdir(directory)).filter((one) => LAYER_NAME.test(one))) {
    if (!(await deps.journal.mentions(name))) without.push(path.join(directory, name));
  }
  return without;
}
