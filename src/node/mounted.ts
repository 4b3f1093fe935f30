// The idempotent core of stage and publish, and of their opposites: bring a path to "this volume is there" or to
// "nothing of ours is here", whatever an earlier, perhaps interrupted, call left.
//
// The kernel says what is mounted, the journal what was meant. A mount is ours when both agree on it.
import { existsSync } from 'node:fs';
import { isOfRequest, type RecordFields, type RecordKey, type VolumeRecord } from '../journal/record.ts';
import { MountError, messageOf } from '../mount/errors.ts';
import type { Lookup } from '../mount/lookup.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import type { CallContext } from '../rpc/context.ts';
import { type Adoptable, adoptable } from './adopt.ts';
import { layerPathOf, type NodeDependencies, placeOf, TO_THE_END, timeoutOf } from './dependencies.ts';
import { mayBeFuse } from './fuse-health.ts';
import { makeWay } from './make-way.ts';
import { NodeError } from './reasons.ts';

export interface Wanted {
  readonly key: RecordKey;
  /**
   * What is remembered of it, from before the first side effect on. With `letGo`, what cannot be made leaves that it is
   * held for staged.
   */
  readonly fields: Omit<RecordFields, keyof RecordKey | 'state' | 'mount'>;
  /** What the path may show already, its record lost. */
  readonly adopt?: Adoptable | undefined;
  /**
   * Makes it at the path, where nothing of ours is; all or nothing: what it adds to `undo` is run when it throws.
   */
  readonly make: (undo: AsyncDisposableStack) => Promise<Made>;
}

export interface Made {
  /** `waiting`: more is to come. */
  readonly state: 'done' | 'waiting';
  /** What the path shows then, where that is known already. */
  readonly shown?: Lookup | undefined;
}

/** Makes it, or finds it there with the same arguments. Gives its record. */
export async function ensurePlaced(
  wanted: Wanted,
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord | undefined> {
  const { key, fields, make } = wanted;
  const { letGo, ...done } = fields;
  const { journal } = deps;
  const other = await otherVolume(key, deps, context);
  if (other)
    throw new NodeError('target-in-use', `volume ${other} is mounted at ${key.path}; it must go first`);
  const placed = await findPlaced(key, fields.fingerprint, deps, context);
  if (placed) return placed;
  const record = journal.find(key);
  const before = record === undefined ? await lookAt(key, deps, context) : undefined;
  const adopted = before && (await adopt(wanted, before, deps, context));
  if (adopted) return adopted;
  // A helper may be there without its mount.
  const isFree = before?.is === 'not' && before.isFree && !mayBeFuse(fields);
  // What is there now is the rest of an interrupted call, or a view that can be made again.
  if (!isFree) await takeAway(key, { record, remove: 'nothing' }, deps, timeoutOf(context));
  await journal.put({ ...key, ...fields, state: 'intended' });
  await allOrNothing(
    async (undo) => {
      if (!isFree && (fields.shape === 'mount' || fields.shape === 'tree')) {
        await makeWay({ path: key.path, pod: fields.pod }, deps, timeoutOf(context));
      }
      const { state, shown } = await make(undo);
      // What cannot be written down is not left: the next call would take it for half done.
      undo.defer(() => takeBack(key, deps));
      const mount = fields.shape === 'nothing' ? undefined : await shownAt(key.path, shown, deps);
      await journal.put({ ...key, ...done, state, ...(mount && { mount }) });
    },
    async () => {
      if (letGo === true) await journal.put({ ...key, ...fields, state: 'done' });
      // A layer that was there before has a pod's writings in it, and is known by its record.
      else if (!hasLayer(key, deps)) await journal.remove(key);
    },
  );
  return journal.find(key);
}

/** Its record; one is written of what is mounted there without, if that is the volume. */
export async function findOrAdopt(
  wanted: Pick<Wanted, 'key' | 'fields' | 'adopt'>,
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord | undefined> {
  const { key } = wanted;
  const record = deps.journal.find(key);
  if (record !== undefined || (await otherVolume(key, deps, context))) return record;
  return adopt(wanted, await lookAt(key, deps, context), deps, context);
}

async function adopt(
  { key, fields: { letGo: _, ...fields }, adopt: wanted }: Pick<Wanted, 'key' | 'fields' | 'adopt'>,
  shown: Lookup,
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord | undefined> {
  if (wanted === undefined) return undefined;
  const mount = await adoptable(key, shown, wanted, deps, context);
  if (mount === undefined) return undefined;
  const state = typeof wanted.state === 'function' ? wanted.state(mount) : wanted.state;
  await deps.journal.put({ ...key, ...fields, state, mount: identityOf(mount) });
  return deps.journal.find(key);
}

/** What was just made, but for its layer, which is for whoever has made it. */
function takeBack(key: RecordKey, deps: NodeDependencies): Promise<void> {
  const remove = key.kind === 'publish' ? 'target' : 'nothing';
  return takeAway(key, { record: deps.journal.find(key), remove }, deps, TO_THE_END);
}

/**
 * What is there already by this very request.
 * @throws NodeError (other-parameters) when it is there by another one
 */
export async function findPlaced(
  key: RecordKey,
  fingerprint: string,
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord | undefined> {
  const record = deps.journal.find(key);
  if (record === undefined || !(await isThere(record, deps, context))) return undefined;
  if (isOfRequest(record, fingerprint)) return record;
  throw new NodeError(
    'other-parameters',
    `volume ${key.volumeId} is at ${key.path} already, with other parameters; remove it there first`,
  );
}

/** @param forget writes down that all was taken back */
async function allOrNothing(
  make: (undo: AsyncDisposableStack) => Promise<void>,
  forget: () => Promise<void>,
): Promise<void> {
  const undo = new AsyncDisposableStack();
  try {
    await make(undo);
  } catch (error) {
    const isWhole = await undo.disposeAsync().then(
      () => true,
      () => false,
    );
    if (isWhole && (!(error instanceof MountError) || error.rolledBack)) {
      await forget();
      throw error;
    }
    // Kubelet must come back: it takes any other answer for "nothing is mounted".
    throw error instanceof MountError
      ? new MountError({ ...error.toInit(), rolledBack: false }, { cause: error })
      : new NodeError('unexpected', `${messageOf(error)}; not all was taken back`);
  }
}

function lookAt({ path }: RecordKey, deps: NodeDependencies, context: CallContext): Promise<Lookup> {
  return deps.engine.lookup({ target: placeOf(path, deps) }, timeoutOf(context));
}

/** Takes away whatever is there, with or without a record. A mount that stays busy keeps its record. */
export async function ensureGone(
  key: RecordKey,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  // What is there is another volume's: this one is not, and so is gone already.
  const record = deps.journal.find(key);
  if (await otherVolume(key, deps, context)) {
    if (record) await deps.journal.remove(key);
    return;
  }
  // The staging directory is the CO's: it made it, it removes it.
  await takeAway(
    key,
    { record, remove: key.kind === 'publish' ? 'all' : 'nothing' },
    deps,
    timeoutOf(context),
  );
  if (record) await deps.journal.remove(key);
}

interface TakeAway {
  readonly record: VolumeRecord | undefined;
  /** Besides what is mounted: the target, and for good the writable layer too. */
  readonly remove: 'nothing' | 'target' | 'all';
}

async function takeAway(
  key: RecordKey,
  { record, remove }: TakeAway,
  deps: NodeDependencies,
  timeout: { timeoutMs: number },
): Promise<void> {
  const { engine } = deps;
  const target = placeOf(key.path, deps);
  const shape = record?.shape;
  // Without a record, or by that of another version, there may be anything below.
  const isTree =
    shape === undefined ? (await engine.mountsBelow({ target }, timeout)).length > 1 : shape === 'tree';
  const cut = await howToCut(key, record, deps);
  if (isTree) await engine.unmountRecursive({ target, ...cut }, timeout);
  const image = record?.device?.image;
  // A record that was lost, or an older one, does not tell a device from a directory.
  const kind = shape === 'device' ? 'file' : shape === undefined ? 'either' : 'directory';
  const device = image === undefined ? { imageShown: true } : { image };
  const unmount = () =>
    engine.unmount(
      { target, all: true, ...device, ...cut, ...(remove !== 'nothing' && { remove: kind }) },
      timeout,
    );
  try {
    await unmount();
  } catch (error) {
    if (!(error instanceof MountError) || error.reason !== 'target-not-empty') throw error;
    await makeWay({ path: key.path, pod: record?.pod }, deps, timeout);
    await unmount();
  }
  // With the mount, its helper ends by itself. That it has is fuse-host's to see to, and nothing to fail for.
  if (record === undefined || mayBeFuse(record))
    await deps.fuseHost?.stop(key.path, STOP).catch(() => undefined);
  // Else it is wanted again: after a reboot a pod's writings are in it.
  if (remove !== 'all' || !hasLayer(key, deps)) return;
  await engine.removeLayer({ path: layerPathOf(key, deps) }, timeout);
  deps.housekeeping.wake();
}

const STOP = { timeoutMs: 8_000 } as const;

/**
 * A FUSE filesystem that does not answer would be busy for ever with those who wait for it. It is cut off from its server
 * with its own mount; a view of it goes out of sight, and leaves it to the others.
 */
async function howToCut(
  { volumeId, kind }: RecordKey,
  record: VolumeRecord | undefined,
  deps: NodeDependencies,
): Promise<{ force?: true; lazy?: true }> {
  if (record === undefined || !mayBeFuse(record)) return {};
  const answer = await deps.fuse.ask(record);
  if (answer.answers || answer.is === 'dead') return {};
  const isView = kind === 'publish' && deps.journal.of(volumeId).some((other) => other.kind === 'stage');
  return isView ? { lazy: true } : { force: true };
}

const hasLayer = (key: RecordKey, deps: NodeDependencies): boolean =>
  key.kind === 'publish' && existsSync(layerPathOf(key, deps));

/** The id of another volume that is really mounted at the path. */
async function otherVolume(
  { path, volumeId }: RecordKey,
  deps: NodeDependencies,
  context: CallContext,
): Promise<string | undefined> {
  for (const record of deps.journal.at(path)) {
    if (record.volumeId !== volumeId && (await isThere(record, deps, context))) return record.volumeId;
  }
  return undefined;
}

/** The record was finished, the kernel shows the same mount there still, and it has a server, if it needs one. */
export async function isThere(
  record: VolumeRecord,
  deps: NodeDependencies,
  context: CallContext,
): Promise<boolean> {
  if (!(await isShown(record, deps, context))) return false;
  const answer = await deps.fuse.ask(record);
  return answer.answers || answer.is === 'hung';
}

/**
 * What is there answers, if it is FUSE: a pod is not to begin on a volume that hangs.
 * @throws MountError
 */
export async function requireAnswer(
  key: RecordKey,
  { journal, fuse }: Pick<NodeDependencies, 'journal' | 'fuse'>,
): Promise<void> {
  const record = journal.find(key);
  const answer = record && (await fuse.ask(record));
  if (answer === undefined || answer.answers) return;
  throw new MountError({
    reason: answer.is === 'hung' ? 'timeout' : 'helper-failed',
    message: `the FUSE filesystem at ${key.path} is mounted, but ${answer.because}`,
    rolledBack: false,
  });
}

/** The record was finished, and the kernel shows the same mount there still. */
export async function isShown(
  record: VolumeRecord,
  deps: NodeDependencies,
  context: CallContext,
): Promise<boolean> {
  if (record.state === 'intended') return false;
  if (record.shape === 'nothing') return true;
  if (record.mount === undefined) return false;
  const shown = await lookAt(record, deps, context);
  if (shown.is === 'unknown') {
    // Neither answer is safe: one would unmount what a pod uses, the other would leave it without its volume.
    throw new NodeError('unexpected', `cannot tell what is mounted at ${record.path}: ${shown.because}`);
  }
  if (shown.is === 'not') return false;
  return isMountOf(record, shown.mount);
}

/** By what names a mount within one boot. Over a placeholder the volume may have come, and not be recorded yet. */
export function isMountOf({ mount, state, cover }: VolumeRecord, { type, device, root }: MountInfo): boolean {
  if (state === 'waiting' && cover === 'placeholder') return true;
  return mount?.type === type && mount.device === device && mount.root === root;
}

async function shownAt(
  path: string,
  known: Lookup | undefined,
  deps: NodeDependencies,
): Promise<VolumeRecord['mount']> {
  const shown =
    known?.is === 'mount-point'
      ? known
      : await deps.engine.lookup({ target: placeOf(path, deps) }, TO_THE_END);
  if (shown.is === 'mount-point') return identityOf(shown.mount);
  // A record without its mount would have the next call take the mount away.
  const why = shown.is === 'unknown' ? shown.because : 'it is not there any more';
  throw new NodeError('unexpected', `what was mounted at ${path} cannot be told: ${why}`);
}

export const identityOf = ({ type, device, root }: MountInfo) => ({ type, device, root });
