// Durable records of what is, or is about to be, mounted where: one file each, in `<state dir>/records`, a line each time
// that it changes.
//
//   written   before the first side effect (`intended`) and after the last (`done`); removed when all is undone
//   how       durable.ts: after a crash the line before or the new one
//   on disk   the first of a volume, and `intended`, before put() returns, where what the volume makes outlives the
//             machine too (outlivesMachine). All others outlive the driver: with the machine end the mounts, and a record
//             of an earlier boot says no more than that (inBoot)
//   whose     one driver's: the state directory is locked for as long as the journal is open
//
//   found at open                    becomes
//   a record of this boot            what it says
//   a record of an earlier boot      `intended`: its mounts and devices are gone, its layer is there still
//   a record of a later version      what of it can be read (record.ts); its file stays until the volume is gone
//   an empty file, or NULs           nothing: its first line was never written, or not before the machine ended
//   anything else called .json       set aside, never deleted
//
// What is really mounted is for the kernel to say; a record only says what was meant.
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { hasErrno } from '../sys/errors.ts';
import { durableDirectory, makeDirectory, TEMPORARY } from './durable.ts';
import { lockDirectory } from './lock.ts';
import {
  currentIn,
  fileNameOf,
  formatRecord,
  isLater,
  LaterRecordError,
  newRecord,
  outlivesMachine,
  parseRecord,
  type RecordFields,
  type RecordKey,
  type VolumeRecord,
} from './record.ts';

export interface Journal extends Disposable {
  find(key: RecordKey): VolumeRecord | undefined;
  all(): VolumeRecord[];
  /** All records of a volume. */
  of(volumeId: string): VolumeRecord[];
  /** All records of a path, whichever volume is there. */
  at(path: string): VolumeRecord[];
  /** Whether there is a record, readable or set aside, of what has this name (layerNameOf). */
  mentions(name: string): Promise<boolean>;
  /** @throws StateError: nothing is written, and nothing may be begun */
  put(record: RecordFields): Promise<void>;
  /** @throws StateError */
  remove(key: RecordKey): Promise<void>;
}

export interface JournalOptions {
  readonly stateDir: string;
  /** Told of each record that could not be read and where it has been put. */
  readonly onSetAside: (file: string, problem: string) => void;
  /** Told of each record of a later version, and what is known of it. */
  readonly onLater?: (file: string, problem: string) => void;
}

export const recordsDirectory = (stateDir: string): string => path.join(stateDir, 'records');

/** @throws Error when another process holds the state directory for longer than 3 s; StateError */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { stateDir } = options;
  const directory = recordsDirectory(stateDir);
  await makeDirectory(directory);
  using lock = new DisposableStack();
  lock.use(await lockDirectory(stateDir));
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const records = await load(directory, bootId, options);
  const files = durableDirectory(directory);
  const held = lock.move();
  return {
    find: (key) => records.get(fileNameOf(key)),
    all: () => [...records.values()],
    of: (volumeId) => [...records.values()].filter((record) => record.volumeId === volumeId),
    at: (path) => [...records.values()].filter((record) => record.path === path),
    mentions: async (name) =>
      records.has(`${name}.json`) || (await namesIn(directory)).some((file) => file.startsWith(`${name}.`)),
    async put(fields) {
      const record = newRecord(fields, bootId);
      const name = fileNameOf(record);
      const isFirst = !records.has(name);
      try {
        const isBegun = isFirst || record.state === 'intended';
        const survives = isBegun && outlivesMachine(record) ? 'machine' : 'driver';
        await files.write(name, formatRecord(record), survives);
      } catch (error) {
        // It may be there all the same, only not for sure; without a caller who knows of it nobody would remove it.
        if (isFirst) await files.remove(name).catch(() => undefined);
        throw error;
      }
      records.set(name, record);
    },
    async remove(key) {
      await files.remove(fileNameOf(key));
      records.delete(fileNameOf(key));
    },
    [Symbol.dispose]: () => held.dispose(),
  };
}

async function load(
  directory: string,
  bootId: string,
  { onSetAside, onLater }: JournalOptions,
): Promise<Map<string, VolumeRecord>> {
  const records = new Map<string, VolumeRecord>();
  for (const name of await namesIn(directory)) {
    const file = path.join(directory, name);
    if (name.endsWith(TEMPORARY)) await rm(file).catch(() => undefined);
    if (!name.endsWith('.json')) continue;
    try {
      const text = await readFile(file, 'utf8');
      if (/^\0*$/.test(text)) {
        await rm(file).catch(() => undefined);
        continue;
      }
      const record = parseRecord(currentIn(text));
      if (fileNameOf(record) !== name) throw new Error('the record of another volume or path');
      if (isLater(record))
        onLater?.(file, `schema ${record.schema}: volume ${record.volumeId} at ${record.path}`);
      records.set(name, inBoot(bootId, record));
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      if (error instanceof LaterRecordError) onLater?.(file, problem);
      else onSetAside(await setAside(file), problem);
    }
  }
  return records;
}

/** None where somebody has removed the directory. */
async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

/** What a record of an earlier boot is worth in this one. */
function inBoot(bootId: string, record: VolumeRecord): VolumeRecord {
  if (record.bootId === bootId) return record;
  // Kubelet, too, begins anew: it holds nothing for staged.
  return { ...record, state: 'intended', mount: undefined, device: undefined, letGo: undefined, bootId };
}

/** Where it is now: in its place still, where nothing can be written. */
async function setAside(file: string): Promise<string> {
  const aside = `${file}.unreadable`;
  return rename(file, aside).then(
    () => aside,
    () => file,
  );
}
