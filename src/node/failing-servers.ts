// Which FUSE servers of volumes are not well, and where what they serve is seen. One is forgotten when it answers, and when
// no record shows it any more: its device number may be another's soon.
import type { Journal } from '../journal/journal.ts';
import type { VolumeRecord } from '../journal/record.ts';
import type { MountInfo } from '../mount/mountinfo.ts';

export type Failure = 'dead' | 'hung';

export interface FailingServers {
  of(record: VolumeRecord, mount: MountInfo): Failure | undefined;
  /**
   * Notes that it fails.
   * @returns the other records that may show it as well, if that is news; else nothing
   */
  add(record: VolumeRecord, mount: MountInfo, is: Failure): readonly VolumeRecord[] | undefined;
  /** It is well. Whether it was not before. */
  delete(record: VolumeRecord, mount: MountInfo): boolean;
  /** All that the record's place shows. */
  isShown(record: VolumeRecord, mounts: readonly MountInfo[]): void;
  forgetRemoved(): void;
  /** By volume id, of those that have any: hung before dead. */
  worst(): ReadonlyMap<string, Failure>;
}

interface Entry {
  readonly is: Failure;
  readonly volumeId: string;
  /** Of the records that may show it. */
  readonly paths: Set<string>;
}

/** Of a volume: two may have a part in common that is no volume of ours, and the pods of both are told. */
export const serverOf = ({ volumeId }: VolumeRecord, { device }: MountInfo): string =>
  `${device} ${volumeId}`;

export function failingServers(journal: Pick<Journal, 'all' | 'of'>): FailingServers {
  const entries = new Map<string, Entry>();

  function forget(isGone: (path: string, server: string) => boolean): void {
    for (const [server, { paths }] of entries) {
      for (const path of paths) if (isGone(path, server)) paths.delete(path);
      if (paths.size === 0) entries.delete(server);
    }
  }

  function forgetRemoved(): void {
    if (entries.size === 0) return;
    const paths = new Set(journal.all().map(({ path }) => path));
    forget((path) => !paths.has(path));
  }

  return {
    of: (record, mount) => entries.get(serverOf(record, mount))?.is,
    add(record, mount, is) {
      forgetRemoved();
      const { volumeId, path } = record;
      const server = serverOf(record, mount);
      const before = entries.get(server);
      if (before?.is === is) {
        before.paths.add(path);
        return undefined;
      }
      const others = journal.of(volumeId).filter((one) => one.path !== path && mayShow(one, mount));
      entries.set(server, { is, volumeId, paths: new Set([path, ...others.map((one) => one.path)]) });
      return others;
    },
    delete: (record, mount) => entries.delete(serverOf(record, mount)),
    isShown(record, mounts) {
      const shown = new Set(mounts.map((mount) => serverOf(record, mount)));
      forget((path, server) => path === record.path && !shown.has(server));
    },
    forgetRemoved,
    worst() {
      forgetRemoved();
      const worst = new Map<string, Failure>();
      for (const { volumeId, is } of entries.values()) {
        if (is === 'hung' || !worst.has(volumeId)) worst.set(volumeId, is);
      }
      return worst;
    },
  };
}

/** By what is written down: one mount that is finished is known. */
function mayShow({ state, shape, mount }: VolumeRecord, { device }: MountInfo): boolean {
  const isKnown = state === 'done' && shape === 'mount';
  return !isKnown || mount?.device === device;
}
