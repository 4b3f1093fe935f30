// Completing what is published for a pod whose user namespace is not known yet: overlays and FUSE with `idmap: pod`.
//
//   published   a tiny read-only tmpfs at the target, with one empty directory in it; the record says `waiting`
//   completed   the volume is mounted on that directory, with the pod's ids, when kubelet has recorded them: after it
//               has published all volumes, well before the container is made. The record says `done`
//   never       the pod's directory goes, or the volume is unpublished, or a long time passes: an Event tells the pod
//
// The tmpfs stays read-only: a pod that starts too early gets EROFS, and never an empty volume that it fills. A driver
// that starts anew goes on from the records that wait. NRI (issue of its own) is one more way to come to complete().
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileNameOf, type RecordKey, type VolumeRecord } from '../journal/record.ts';
import type { PodRef } from '../kubernetes/pod.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { UserMapping } from '../userns/mapping.ts';
import { waitForPodRecord } from '../userns/pod-record-watch.ts';
import { readVolumeContext } from '../volume/context.ts';
import { isNested, layerWanted, planCompletion } from '../volume/publish.ts';
import { type NodeDependencies, placeOf, TO_THE_END } from './dependencies.ts';
import { ensureLayer, rootsWith } from './layer.ts';
import { NodeError } from './reasons.ts';
import { isReaderMode } from './request.ts';
import { helpersOf } from './volume-request.ts';

export interface Completions extends AsyncDisposable {
  /** Goes on until the volume of this `waiting` record is complete, or never will be. */
  begin(record: VolumeRecord): void;
  /** Resolves when nothing is at work on it any more. */
  end(key: RecordKey): Promise<void>;
}

export interface CompletionOptions {
  readonly deps: () => NodeDependencies;
  readonly log: {
    warn(message: string, fields?: object): void;
    info(message: string, fields?: object): void;
  };
  /** How long a pod may be without its volume before it is told. */
  readonly patienceMs?: number;
  /** How long to wait at all. */
  readonly timeoutMs?: number;
}

type Outcome = 'completed' | 'unpublished' | 'expired' | 'failed';

const PATIENCE_MS = 120_000;
const TIMEOUT_MS = 3_600_000;
/** Between tries of what failed: a source may yet appear, a server come back. */
const RETRIES_MS = [500, 2_000, 10_000, 30_000, 60_000];
/** While a call of kubelet is at work on the same target, which is no failure, and has an end. */
const BUSY_MS = 50;

export function completions({
  deps,
  log,
  patienceMs = PATIENCE_MS,
  timeoutMs = TIMEOUT_MS,
}: CompletionOptions): Completions {
  const running = new Map<string, { readonly controller: AbortController; readonly ended: Promise<void> }>();

  async function run(record: VolumeRecord, signal: AbortSignal): Promise<void> {
    const outcome = await waitAndComplete(record, signal).catch((error: unknown): Outcome => {
      // Cut short by its unpublish: nobody waits for it any more.
      if (signal.aborted) return 'unpublished';
      tell(
        record,
        'NestedVolumeFailed',
        `the volume is not there: ${error instanceof Error ? error.message : error}`,
      );
      return 'failed';
    });
    deps().metrics.count('csi_idmap_userns_record_waits_total', { outcome });
    log.info('a nested volume', { volume: record.volumeId, target: record.path, outcome });
  }

  async function waitAndComplete(record: VolumeRecord, signal: AbortSignal): Promise<Outcome> {
    const { kubeletDir } = deps();
    const podUid = record.pod?.uid ?? '';
    const late = setTimeout(() => tell(record, 'UserNamespaceRecordMissing', MISSING), patienceMs);
    const found = await waitForPodRecord({ kubeletDir, podUid, signal, timeoutMs });
    // Tries to complete it may take longer than that: of these the pod is told otherwise.
    clearTimeout(late);
    if (found.is === 'aborted' || found.is === 'gone') return 'unpublished';
    if (found.is === 'expired') return 'expired';
    if (found.is === 'invalid')
      throw new Error(`kubelet's record of the pod's user namespace: ${found.because}`);
    await untilCompleted(record, found.mapping, signal);
    return 'completed';
  }

  async function untilCompleted(
    record: VolumeRecord,
    mapping: UserMapping,
    signal: AbortSignal,
  ): Promise<void> {
    const pauses = RETRIES_MS.values();
    for (;;) {
      try {
        signal.throwIfAborted();
        await completeLocked(record, mapping, deps());
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        const isBusy = error instanceof NodeError && error.reason === 'operation-pending';
        const pause = isBusy ? BUSY_MS : pauses.next().value;
        if (pause === undefined) throw error;
        if (!isBusy) {
          const problem = error instanceof Error ? error.message : String(error);
          log.warn('a nested volume could not be completed; it is tried again', {
            volume: record.volumeId,
            problem,
          });
        }
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  function tell({ pod }: VolumeRecord, reason: string, message: string): void {
    if (pod !== undefined) deps().events.emit(pod satisfies PodRef, { type: 'Warning', reason, message });
  }

  return {
    begin(record) {
      const name = fileNameOf(record);
      if (running.has(name)) return;
      const controller = new AbortController();
      const ended = run(record, controller.signal).finally(() => running.delete(name));
      running.set(name, { controller, ended });
    },
    async end(key) {
      const one = running.get(fileNameOf(key));
      one?.controller.abort();
      await one?.ended;
    },
    async [Symbol.asyncDispose]() {
      for (const { controller } of running.values()) controller.abort();
      await Promise.all([...running.values()].map(({ ended }) => ended));
    },
  };
}

const MISSING =
  'the volume waits for the user namespace of the pod, which kubelet records when it makes the sandbox; ' +
  'idmap: pod is for pods with hostUsers: false: remove it for others';

async function completeLocked(
  record: VolumeRecord,
  mapping: UserMapping,
  deps: NodeDependencies,
): Promise<void> {
  // A call of kubelet for the same volume comes first: it is short, and this one comes back.
  using _lock = deps.locks.takePath(record.path);
  const now = deps.journal.find(record);
  if (now?.state !== 'waiting') return;
  await complete(now, mapping, deps);
}

/**
 * Mounts what a nested publish promised, and writes it down.
 * @param mapping of the pod; undefined for one in the host's user namespace
 */
export async function complete(
  record: VolumeRecord,
  mapping: UserMapping | undefined,
  deps: NodeDependencies,
): Promise<void> {
  const { request, path: target } = record;
  if (request === undefined) throw new Error('the record does not say what was asked for');
  const volume = readVolumeContext(request.volumeContext, {
    mountFlags: request.mountFlags,
    fsType: request.fsType,
  });
  if (!isNested(volume) || volume.idmap.is !== 'pod') throw new Error('the record is not of a nested volume');
  const { readonly, fsGroup: group } = request;
  const readOnlyMode = isReaderMode(request.accessMode);
  const grant = deps.authorize(volume, { volumeId: record.volumeId, readOnly: readonly || readOnlyMode });
  const wanted = layerWanted(volume, { readonly, terms: grant });
  const done = { ...record, state: 'done', layer: wanted !== undefined } as const;
  const place = placeOf(path.join(target, volume.idmap.nestedDir), deps);
  // A driver that was killed came this far, and a container may have it by now.
  if ((await deps.engine.lookup({ target: place }, TO_THE_END)).is === 'mount-point')
    return deps.journal.put(done);
  await using undo = new AsyncDisposableStack();
  const ownership = { idmap: volume.idmap, group, podMapping: mapping, mayMap: true };
  const layer = await ensureLayer({ volume, key: record, wanted, ownership, grant, undo }, deps, TO_THE_END);
  const mounts = planCompletion(volume, { terms: grant, readonly, readOnlyMode, group }, mapping, layer);
  const sourceRoots = rootsWith(layer, { key: record, grant }, deps);
  await deps.engine.mountAll({ mounts, target: place, sourceRoots, ...helpersOf(grant) }, TO_THE_END);
  undo.defer(async () => {
    await deps.engine.unmount({ target: place }, TO_THE_END);
  });
  await deps.journal.put(done);
  undo.move();
  countNested(deps.metrics);
}

const countNested = (metrics: Metrics) =>
  metrics.count('csi_idmap_user_namespace_publish_total', { path: 'nested' });
