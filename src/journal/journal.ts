// Durable records of what is, or is about to be, mounted where: one file each, in `<state dir>/records`.
//
//   written   before the first side effect (`intended`) and after the last (`done`); removed when all is undone
//   how       temporary file, fsync, rename, fsync of the directory: after a crash the old record or the new
//   whose     one driver's: the state directory is locked for as long as the journal is open
//
// Records of an earlier boot are dropped at open: their mounts are gone. One that cannot be read is set aside,
// never deleted. What is really mounted is for the kernel to say; a record only says what was meant.
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { lockDirectory } from './lock.ts';
import { fileNameOf, formatRecord, parseRecord, type RecordKey, type VolumeRecord } from './record.ts';

export interface Journal extends Disposable {
  find(key: RecordKey): VolumeRecord | undefined;
  all(): VolumeRecord[];
  /** All records of a volume. */
  of(volumeId: string): VolumeRecord[];
  /** All records of a path, whichever volume is there. */
  at(path: string): VolumeRecord[];
  put(record: Omit<VolumeRecord, 'bootId'>): Promise<void>;
  remove(key: RecordKey): Promise<void>;
}

export interface JournalOptions {
  readonly stateDir: string;
  /** Told of each record that could not be read and where it has been put. */
  readonly onSetAside: (file: string, problem: string) => void;
}

/** @throws Error when another process holds the state directory for longer than 3 s */
export async function openJournal({ stateDir, onSetAside }: JournalOptions): Promise<Journal> {
  const directory = path.join(stateDir, 'records');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  using lock = new DisposableStack();
  lock.use(await lockDirectory(stateDir));
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const records = await load(directory, bootId, onSetAside);
  const held = lock.move();
  return {
    find: (key) => records.get(fileNameOf(key)),
    all: () => [...records.values()],
    of: (volumeId) => [...records.values()].filter((record) => record.volumeId === volumeId),
    at: (path) => [...records.values()].filter((record) => record.path === path),
    async put(fields) {
      const record = { ...fields, bootId };
      // It may have been removed under us, with all that was in it.
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeDurably(directory, fileNameOf(record), formatRecord(record));
      records.set(fileNameOf(record), record);
    },
    async remove(key) {
      const file = path.join(directory, fileNameOf(key));
      if (existsSync(file)) {
        await rm(file);
        await syncDirectory(directory);
      }
      records.delete(fileNameOf(key));
    },
    [Symbol.dispose]: () => held.dispose(),
  };
}

async function load(
  directory: string,
  bootId: string,
  onSetAside: JournalOptions['onSetAside'],
): Promise<Map<string, VolumeRecord>> {
  const records = new Map<string, VolumeRecord>();
  for (const name of await readdir(directory)) {
    const file = path.join(directory, name);
    if (name.endsWith('.tmp')) await rm(file);
    if (!name.endsWith('.json')) continue;
    try {
      const record = parseRecord(await readFile(file, 'utf8'));
      if (fileNameOf(record) !== name) throw new Error('the record of another volume or path');
      if (record.bootId === bootId) records.set(name, record);
      else await rm(file);
    } catch (error) {
      const aside = `${file}.unreadable`;
      await rename(file, aside);
      onSetAside(aside, error instanceof Error ? error.message : String(error));
    }
  }
  return records;
}

async function writeDurably(directory: string, name: string, text: string): Promise<void> {
  const temporary = path.join(directory, `${name}.tmp`);
  {
    await using file = await open(temporary, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(temporary, path.join(directory, name));
  await syncDirectory(directory);
}

/** A rename or removal is only durable once its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
}
