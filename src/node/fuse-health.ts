// Whether the FUSE filesystems of volumes have servers that answer. One that has ended or hangs is found by
//
//   the calls of kubelet       stage and publish make a dead one anew, stats fail at once; neither waits for a hung one
//   the end of its helper      which fuse-host tells of
//   a look now and then        in the background, one filesystem after another
//
// and is reported once: in the log, by a metric, and as an Event of each pod that has the volume. All questions are asked
// by a child process with a bound (mount/fuse/probe.ts).
import { setTimeout as sleep } from 'node:timers/promises';
import type { FuseHost } from '../fuse-host/client.ts';
import type { VolumeRecord } from '../journal/record.ts';
import type { Answer } from '../mount/fuse/answer.ts';
import { isFuse } from '../mount/fuse/mounts.ts';
import type { FilesystemProbe } from '../mount/fuse/probe.ts';
import { isWithin } from '../mount/target.ts';
import type { LogFields } from '../observe/logger.ts';
import { type NodeDependencies, placeOf } from './dependencies.ts';

export interface FuseHealth extends AsyncDisposable {
  /** Of the FUSE mounts of what this record tells of; no answer where one does not. Well, where there are none. */
  ask(record: VolumeRecord): Promise<Answer>;
}

export type FuseHealthDependencies = Pick<
  NodeDependencies,
  'engine' | 'journal' | 'events' | 'metrics' | 'kubeletDir' | 'fuseHost'
> & {
  readonly probe: FilesystemProbe;
  readonly log: {
    info(message: string, fields?: LogFields): void;
    warn(message: string, fields?: LogFields): void;
  };
  readonly intervalMs?: number;
};

const INTERVAL_MS = 60_000;
/** A server that takes longer is taken for one that hangs: kubelet is not kept waiting for it. */
const PATIENCE_MS = 5_000;
/** With one that did not answer when it was last asked. */
const SHORT_PATIENCE_MS = 1_000;
const FOLLOW_MS = 30_000;
const RETRY_MS = 5_000;

const LOOK = { timeoutMs: 10_000 } as const;

const WELL: Answer = { answers: true };

/** A volume of which FUSE mounts may be a part, as the journal knows it. */
export function mayBeFuse({ volume }: Pick<VolumeRecord, 'volume'>): boolean {
  return volume === undefined || volume.kind === 'fuse' || volume.kind === 'mounts';
}

export function fuseHealth(deps: FuseHealthDependencies): FuseHealth {
  const { probe, journal, events, metrics, log, fuseHost, intervalMs = INTERVAL_MS } = deps;
  const stopped = new AbortController();
  const { signal } = stopped;
  /** By volume id, those that are not well. */
  const failing = new Map<string, 'dead' | 'hung'>();
  metrics.gauge('csi_idmap_fuse_volumes', () => {
    const ids = new Set(journal.all().flatMap((one) => (one.volume?.kind === 'fuse' ? [one.volumeId] : [])));
    const states = [...ids].map((id) => failing.get(id) ?? 'serving');
    return (['serving', 'dead', 'hung'] as const).map((state) => [
      { state },
      states.filter((one) => one === state).length,
    ]);
  });

  async function ask(record: VolumeRecord): Promise<Answer> {
    if (!mayBeFuse(record) || record.state === 'intended') return WELL;
    const timeoutMs = failing.get(record.volumeId) === 'hung' ? SHORT_PATIENCE_MS : PATIENCE_MS;
    const target = placeOf(record.path, deps);
    for (const mount of (await deps.engine.mountsBelow({ target }, LOOK)).filter(isFuse)) {
      const answer = await probe.ask(mount.target, timeoutMs);
      if (!answer.answers) {
        note(record, answer);
        return answer;
      }
    }
    note(record, WELL);
    return WELL;
  }

  function note({ volumeId }: VolumeRecord, answer: Answer): void {
    const before = failing.get(volumeId);
    if (answer.answers) {
      if (failing.delete(volumeId)) log.info('a FUSE volume answers again', { volume: volumeId });
      return;
    }
    const { is, because } = answer;
    if (before === is) return;
    failing.set(volumeId, is);
    metrics.count('csi_idmap_fuse_failures_total', { what: is });
    void tell(volumeId, is, because);
  }

  /** With its last words, where fuse-host has them. */
  async function tell(volumeId: string, is: 'dead' | 'hung', because: string): Promise<void> {
    const records = journal.of(volumeId);
    const words = await Promise.all(
      records.map(({ path }) => fuseHost?.output(path).catch(() => '') ?? Promise.resolve('')),
    );
    const said = words.find((one) => one !== '');
    const message = said === undefined ? because : `${because}; its last words: ${said}`;
    log.warn('a FUSE volume does not answer', { volume: volumeId, is, because: message });
    const { reason, remedy } = REPORTS[is];
    for (const { pod } of records) {
      if (pod !== undefined)
        events.emit(pod, { type: 'Warning', reason, message: `a FUSE volume: ${message}; ${remedy}` });
    }
  }

  async function lookNowAndThen(): Promise<void> {
    while (!signal.aborted) {
      await sleep(intervalMs, undefined, { signal, ref: false }).catch(() => undefined);
      const byVolume = new Map(journal.all().map((record) => [record.volumeId, record]));
      for (const record of byVolume.values()) {
        if (signal.aborted) return;
        if (record.volume !== undefined) await ask(record).catch(() => undefined);
      }
    }
  }

  async function follow(host: FuseHost): Promise<void> {
    let after = 0n;
    while (!signal.aborted) {
      try {
        const { deaths, next } = await host.deaths(after, FOLLOW_MS, signal);
        after = next;
        for (const { helper } of deaths) {
          const record = journal
            .all()
            .find(({ path }) => helper !== undefined && isWithin(helper.target, path));
          // It may be an old one, and the volume well again.
          if (record !== undefined) await ask(record).catch(() => undefined);
        }
      } catch {
        // Another one counts from the beginning.
        after = 0n;
        await sleep(RETRY_MS, undefined, { signal, ref: false }).catch(() => undefined);
      }
    }
  }

  const ended = Promise.all([lookNowAndThen(), fuseHost === undefined ? undefined : follow(fuseHost)]);
  return {
    ask,
    async [Symbol.asyncDispose]() {
      stopped.abort();
      await ended;
    },
  };
}

const REPORTS = {
  dead: {
    reason: 'FuseServerEnded',
    remedy: 'the volume is mounted anew at the next stage or publish: restart the pod',
  },
  hung: {
    reason: 'FuseServerHangs',
    remedy: 'look at the server, or at what it waits for; unpublishing the volume cuts it off',
  },
} as const;
