// When what was published for a pod whose user namespace was not known yet is completed (complete.ts):
//
//   kubelet has recorded it     after it has published all volumes, well before the container is made: begin()
//   the container runtime asks  before it makes a container (runtime.ts): now()
//   never                       the pod's directory goes, or the volume is unpublished. Meanwhile an Event tells the pod
//                               why it is not there: that is not recorded for long, or that it fails
//
// Until then a pod that starts too early finds nothing that it could write to, and takes for its volume. A driver that
// starts anew goes on from the records that wait.
import { setTimeout as sleep } from 'node:timers/promises';
import { fileNameOf, type RecordKey, type VolumeRecord } from '../journal/record.ts';
import { messageOf } from '../mount/errors.ts';
import type { UserMapping } from '../userns/mapping.ts';
import { waitForPodRecord } from '../userns/pod-record-watch.ts';
import { complete } from './complete.ts';
import type { NodeDependencies } from './dependencies.ts';
import { NodeError } from './reasons.ts';

export interface Completions extends AsyncDisposable {
  /** Goes on until the volume of this `waiting` record is complete, or never will be. */
  begin(record: VolumeRecord): void;
  /**
   * Completes it now, or waits for who is at it already.
   * @param podMapping undefined for a pod in the host's user namespace
   */
  now(record: VolumeRecord, podMapping: UserMapping | undefined): Promise<void>;
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
  /** Until it is tried again what has failed for good, so it seemed. */
  readonly laterMs?: number;
  /** In place of what completes a volume, for tests of when that is. */
  readonly complete?: typeof complete;
}

type Outcome = 'completed' | 'unpublished' | 'failed';

interface Waiting {
  readonly controller: AbortController;
  readonly ended: Promise<void>;
  /** Has what has failed tried again at once. */
  readonly wake: () => void;
}

const PATIENCE_MS = 120_000;
/** Between tries of what failed: a source may yet appear, a server come back. */
const RETRIES_MS = [500, 2_000, 10_000, 30_000, 60_000];
/** The same when those are over, and the pod was told. */
const LATER_MS = 300_000;
/** Between looks whether a call of kubelet for the same volume, which is short, has ended. */
const BUSY_MS = 20;

export function completions({
  deps,
  log,
  patienceMs = PATIENCE_MS,
  laterMs = LATER_MS,
  complete: completeNow = complete,
}: CompletionOptions): Completions {
  const waits = new Map<string, Waiting>();
  const works = new Map<string, Promise<void>>();

  /** One at a time for each record, whoever asks. */
  function work(record: VolumeRecord, podMapping: UserMapping | undefined): Promise<void> {
    const name = fileNameOf(record);
    const there = works.get(name);
    if (there !== undefined) return there;
    const begun = completeLocked(record, podMapping).finally(() => works.delete(name));
    works.set(name, begun);
    return begun;
  }

  /** A call of kubelet for the same volume comes first. */
  async function completeLocked(record: VolumeRecord, podMapping: UserMapping | undefined): Promise<void> {
    using _lock = await lockOf(record, deps());
    const now = deps().journal.find(record);
    if (now?.state === 'waiting') await completeNow(now, podMapping, deps());
  }

  async function run(record: VolumeRecord, signal: AbortSignal, awake: EventTarget): Promise<void> {
    for (let outcome: Outcome = 'failed'; outcome === 'failed'; ) {
      outcome = await waitAndComplete(record, signal).catch((error: unknown): Outcome => {
        if (signal.aborted) return endOf(record);
        tell(record, reasonOf(record), `the volume is not there: ${messageOf(error)}`);
        return 'failed';
      });
      deps().metrics.count('csi_idmap_userns_record_waits_total', { outcome });
      log.info('a volume that waited for the ids of its pod', {
        volume: record.volumeId,
        target: record.path,
        outcome,
      });
      if (outcome === 'failed') await later(signal, awake);
    }
  }

  /** Sooner when it is woken, or is to end. */
  async function later(signal: AbortSignal, awake: EventTarget): Promise<void> {
    const over = new AbortController();
    awake.addEventListener('wake', () => over.abort(), { once: true, signal: over.signal });
    await sleep(laterMs, undefined, { signal: AbortSignal.any([signal, over.signal]) }).catch(
      () => undefined,
    );
    over.abort();
  }

  async function waitAndComplete(record: VolumeRecord, signal: AbortSignal): Promise<Outcome> {
    const { kubeletDir } = deps();
    const podUid = record.pod?.uid ?? '';
    const late = setTimeout(() => tell(record, 'UserNamespaceRecordMissing', MISSING), patienceMs);
    const found = await waitForPodRecord({ kubeletDir, podUid, signal });
    // Tries to complete it may take longer than that: of these the pod is told otherwise.
    clearTimeout(late);
    if (found.is === 'aborted') return endOf(record);
    if (found.is === 'gone') return 'unpublished';
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
    for (const pause of [...RETRIES_MS, undefined]) {
      try {
        signal.throwIfAborted();
        await work(record, mapping);
        return;
      } catch (error) {
        if (pause === undefined || signal.aborted) throw error;
        log.warn('a volume could not be completed; it is tried again', {
          volume: record.volumeId,
          problem: messageOf(error),
        });
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** Of a wait that was ended: by who has completed it, or with the volume. */
  const endOf = (record: VolumeRecord): Outcome =>
    deps().journal.find(record)?.state === 'done' ? 'completed' : 'unpublished';

  function tell({ pod }: VolumeRecord, reason: string, message: string): void {
    if (pod !== undefined) deps().events.emit(pod, { type: 'Warning', reason, message });
  }

  return {
    begin(record) {
      const name = fileNameOf(record);
      const there = waits.get(name);
      if (there !== undefined) return there.wake();
      const controller = new AbortController();
      const awake = new EventTarget();
      const ended = run(record, controller.signal, awake).finally(() => waits.delete(name));
      waits.set(name, { controller, ended, wake: () => void awake.dispatchEvent(new Event('wake')) });
    },
    async now(record, podMapping) {
      await work(record, podMapping);
      waits.get(fileNameOf(record))?.controller.abort();
    },
    async end(key) {
      const name = fileNameOf(key);
      waits.get(name)?.controller.abort();
      await waits.get(name)?.ended;
      await works.get(name)?.catch(() => undefined);
    },
    async [Symbol.asyncDispose]() {
      for (const { controller } of waits.values()) controller.abort();
      await Promise.all([...waits.values()].map(({ ended }) => ended));
      await Promise.allSettled(works.values());
    },
  };
}

const MISSING =
  'the volume waits for the user namespace of the pod, which kubelet records when it makes the sandbox; ' +
  'idmap: pod is for pods with hostUsers: false: remove it for others';

const reasonOf = ({ cover }: VolumeRecord): string =>
  cover === 'placeholder' ? 'VolumeNotCompleted' : 'NestedVolumeFailed';

async function lockOf({ path }: RecordKey, { locks }: NodeDependencies): Promise<Disposable> {
  for (;;) {
    try {
      return locks.takePath(path);
    } catch (error) {
      if (!(error instanceof NodeError) || error.reason !== 'operation-pending') throw error;
      await sleep(BUSY_MS);
    }
  }
}
