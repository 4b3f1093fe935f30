// Whether the FUSE filesystems of volumes have servers that answer. One that has ended or hangs is found by
//
//   the calls of kubelet       stage and publish make a dead one anew, stats fail at once; neither waits for a hung one
//   the end of its helper      which fuse-host tells of
//   a look now and then        in the background, one filesystem after another
//
// and is reported once: in the log, by a metric, and as an Event of each pod that has what it serves. One volume may have
// several: pods with ids of their own have one each, and a pod keeps a dead one when the volume is mounted anew for others.
// They are told apart by the device number of what they serve, which is theirs for as long as anybody has it mounted. All
// questions are asked by a child process with a bound (mount/fuse/probe.ts).
import { setTimeout as sleep } from 'node:timers/promises';
import type { FuseHost } from '../fuse-host/client.ts';
import type { VolumeRecord } from '../journal/record.ts';
import type { Answer } from '../mount/fuse/answer.ts';
import { isFuse } from '../mount/fuse/mounts.ts';
import type { FilesystemProbe } from '../mount/fuse/probe.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import { isWithin } from '../mount/target.ts';
import type { LogFields } from '../observe/logger.ts';
import { type NodeDependencies, placeOf } from './dependencies.ts';
import { failingServers, serverOf } from './failing-servers.ts';

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

interface Finding {
  /** Where it was found, by this mount. */
  readonly record: VolumeRecord;
  readonly mount: MountInfo;
  /** That may show it as well. */
  readonly others: readonly VolumeRecord[];
  readonly answer: Exclude<Answer, { answers: true }>;
}

export function fuseHealth(deps: FuseHealthDependencies): FuseHealth {
  const { probe, journal, events, metrics, log, fuseHost, intervalMs = INTERVAL_MS } = deps;
  const stopped = new AbortController();
  const { signal } = stopped;
  const failing = failingServers(journal);
  metrics.gauge('csi_idmap_fuse_volumes', () => {
    const worst = failing.worst();
    const ids = new Set(journal.all().flatMap((one) => (one.volume?.kind === 'fuse' ? [one.volumeId] : [])));
    const states = [...ids].map((id) => worst.get(id) ?? 'serving');
    return (['serving', 'dead', 'hung'] as const).map((state) => [
      { state },
      states.filter((one) => one === state).length,
    ]);
  });

  async function ask(record: VolumeRecord): Promise<Answer> {
    for (const mount of await mountsOf(record)) {
      const answer = await askServer(record, mount);
      if (!answer.answers) return answer;
    }
    return WELL;
  }

  /** One FUSE mount of each server that the record's place shows; what it does not show is known with that, too. */
  async function mountsOf(record: VolumeRecord): Promise<readonly MountInfo[]> {
    if (!mayBeFuse(record) || record.state === 'intended') return [];
    const target = placeOf(record.path, deps);
    const found = (await deps.engine.mountsBelow({ target }, LOOK)).filter(isFuse);
    const byServer = new Map(found.map((mount) => [serverOf(record, mount), mount]));
    failing.isShown(record, found);
    return [...byServer.values()];
  }

  async function askServer(record: VolumeRecord, mount: MountInfo): Promise<Answer> {
    const isHung = failing.of(record, mount) === 'hung';
    const answer = await probe.ask(mount.target, isHung ? SHORT_PATIENCE_MS : PATIENCE_MS);
    note(record, mount, answer);
    return answer;
  }

  function note(record: VolumeRecord, mount: MountInfo, answer: Answer): void {
    if (answer.answers) {
      const { volumeId: volume, path } = record;
      if (failing.delete(record, mount)) log.info('a FUSE volume answers again', { volume, path });
      return;
    }
    const others = failing.add(record, mount, answer.is);
    if (others === undefined) return;
    metrics.count('csi_idmap_fuse_failures_total', { what: answer.is });
    void tell({ record, mount, others, answer });
  }

  /** With its last words, where fuse-host has them. */
  async function tell({ record, mount, others, answer: { is, because } }: Finding): Promise<void> {
    const server = serverOf(record, mount);
    const shown = await Promise.all(
      others.map(async (other) => {
        const mounts = await mountsOf(other).catch(() => []);
        return mounts
          .filter((one) => serverOf(other, one) === server)
          .map((one) => ({ ...other, at: one.target }));
      }),
    );
    const having = [{ ...record, at: mount.target }, ...shown.flat()];
    // Its helper was started for the place of one of them, or for one below that.
    const places = new Set(having.flatMap(({ path, at }) => [path, at]));
    const words = await Promise.all(
      [...places].map((place) => fuseHost?.output(place).catch(() => '') ?? Promise.resolve('')),
    );
    const said = words.find((one) => one !== '');
    const message = said === undefined ? because : `${because}; its last words: ${said}`;
    const { volumeId: volume, path } = record;
    log.warn('a FUSE volume does not answer', { volume, path, is, because: message });
    const { reason, remedy } = REPORTS[is];
    for (const { pod } of having) {
      if (pod !== undefined)
        events.emit(pod, { type: 'Warning', reason, message: `a FUSE volume: ${message}; ${remedy}` });
    }
  }

  async function lookNowAndThen(): Promise<void> {
    while (!signal.aborted) {
      await sleep(intervalMs, undefined, { signal, ref: false }).catch(() => undefined);
      const asked = new Set<string>();
      for (const record of journal.all()) {
        if (record.volume !== undefined) await askEach(record, asked).catch(() => undefined);
      }
      failing.forgetRemoved();
    }
  }

  /** Also those after one that does not answer, but for those that were asked already. */
  async function askEach(record: VolumeRecord, asked = new Set<string>()): Promise<void> {
    if (signal.aborted) return;
    for (const mount of await mountsOf(record)) {
      const server = serverOf(record, mount);
      if (asked.has(server)) continue;
      if (signal.aborted) return;
      asked.add(server);
      await askServer(record, mount);
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
          if (record !== undefined) await askEach(record).catch(() => undefined);
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
