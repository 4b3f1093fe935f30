// The idempotent core of stage and publish, and of their opposites: bring a path to "this volume is mounted here"
// or to "nothing of ours is here", whatever an earlier, perhaps interrupted, call left.
//
// The kernel says what is mounted, the journal what was meant. A mount is ours when both agree on it.
import type { RecordKey, VolumeRecord } from '../journal/record.ts';
import { MountError } from '../mount/errors.ts';
import type { Mount } from '../mount/mount.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import type { TargetKind } from '../mount/target.ts';
import type { CallContext } from '../rpc/context.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';
import { NodeError } from './reasons.ts';

export interface Wanted {
  readonly key: RecordKey;
  readonly fingerprint: string;
  readonly accessMode: string;
  readonly mounts: readonly Mount[];
  /** Make the target when it is missing. */
  readonly create?: TargetKind;
}

/** Mounts it, or finds it mounted with the same arguments. */
export async function ensureMounted(
  { key, fingerprint, accessMode, mounts, create }: Wanted,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const { engine, journal } = deps;
  const target = placeOf(key.path, deps);
  const other = await otherVolume(key, deps, context);
  if (other)
    throw new NodeError('target-in-use', `volume ${other} is mounted at ${key.path}; it must go first`);
  const record = journal.find(key);
  if (record && (await isMounted(record, deps, context))) {
    if (record.fingerprint === fingerprint) return;
    throw new NodeError(
      'other-parameters',
      `volume ${key.volumeId} is at ${key.path} already, with other parameters; remove it there first`,
    );
  }
  const intended = { ...key, fingerprint, accessMode, state: 'intended', mount: undefined } as const;
  const there = record === undefined ? await adoptable(key, mounts, deps, context) : undefined;
  if (there !== undefined) return journal.put({ ...intended, state: 'done', mount: there });
  // What is there now is the rest of an interrupted call, or a view that can be made again.
  await engine.unmount({ target, all: true }, timeoutOf(context));
  await journal.put(intended);
  try {
    await engine.mountAll(
      { mounts, target, expectEmpty: true, ...(create && { create }) },
      timeoutOf(context),
    );
  } catch (error) {
    if (error instanceof MountError && error.rolledBack) await journal.remove(key);
    throw error;
  }
  const shown = await engine.lookup({ target }, timeoutOf(context));
  const mount = shown.is === 'mount-point' ? identityOf(shown.mount) : undefined;
  await journal.put({ ...intended, state: 'done', mount });
}

/**
 * A staged mount of this kind without a record: the state directory was lost under running pods, who have views of it.
 * It must not be made a second time beside them, and the staging path is nobody else's.
 */
async function adoptable(
  key: RecordKey,
  [wanted]: readonly Mount[],
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord['mount']> {
  if (key.kind !== 'stage') return undefined;
  const shown = await deps.engine.lookup({ target: placeOf(key.path, deps) }, timeoutOf(context));
  if (shown.is !== 'mount-point') return undefined;
  const isSameKind = wanted?.type === 'bind' || wanted?.type === shown.mount.type;
  return isSameKind ? identityOf(shown.mount) : undefined;
}

/** Unmounts whatever is mounted there, with or without a record. A mount that stays busy keeps its record. */
export async function ensureGone(
  key: RecordKey,
  remove: TargetKind | undefined,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const target = placeOf(key.path, deps);
  // What is there is another volume's: this one is not, and so is gone already.
  if (await otherVolume(key, deps, context)) return;
  await deps.engine.unmount({ target, all: true, ...(remove && { remove }) }, timeoutOf(context));
  if (deps.journal.find(key)) await deps.journal.remove(key);
}

/** The id of another volume that is really mounted at the path. */
async function otherVolume(
  { path, volumeId }: RecordKey,
  deps: NodeDependencies,
  context: CallContext,
): Promise<string | undefined> {
  for (const record of deps.journal.at(path)) {
    if (record.volumeId !== volumeId && (await isMounted(record, deps, context))) return record.volumeId;
  }
  return undefined;
}

/** The record was finished, and the kernel shows the same mount there still. */
export async function isMounted(
  record: VolumeRecord,
  deps: NodeDependencies,
  context: CallContext,
): Promise<boolean> {
  if (record.state !== 'done' || record.mount === undefined) return false;
  const shown = await deps.engine.lookup({ target: placeOf(record.path, deps) }, timeoutOf(context));
  if (shown.is === 'unknown') {
    // Neither answer is safe: one would unmount what a pod uses, the other would leave it without its volume.
    throw new NodeError('unexpected', `cannot tell what is mounted at ${record.path}: ${shown.because}`);
  }
  if (shown.is === 'not') return false;
  const now = identityOf(shown.mount);
  return (
    now.type === record.mount.type && now.device === record.mount.device && now.root === record.mount.root
  );
}

const identityOf = ({ type, device, root }: MountInfo) => ({ type, device, root });
