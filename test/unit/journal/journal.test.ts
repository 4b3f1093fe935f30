// The journal on a real directory: what is kept, what is found again, and what becomes of damaged files.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { type Journal, openJournal } from '../../../src/journal/journal.ts';
import { fileNameOf, formatRecord, type RecordKey, type VolumeRecord } from '../../../src/journal/record.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';

type Fields = Omit<VolumeRecord, 'bootId'>;

const BOOT_ID = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
const STAGE: Fields = {
  kind: 'stage',
  volumeId: 'volume',
  path: '/staging',
  state: 'intended',
  fingerprint: 'f00d',
  accessMode: 'SINGLE_NODE_WRITER',
  mount: undefined,
};
const PUBLISH: Fields = { ...STAGE, kind: 'publish', path: '/target' };
const OTHER: Fields = { ...STAGE, volumeId: 'other' };
const DONE = { state: 'done', mount: { type: 'tmpfs', device: '0:42', root: '/' } } as const;

describe('the journal', () => {
  let directory: TemporaryDirectory;
  let setAside: [file: string, problem: string][];

  beforeEach(() => {
    directory = temporaryDirectory();
    setAside = [];
  });
  afterEach(() => directory[Symbol.dispose]());

  const open = (): Promise<Journal> =>
    openJournal({
      stateDir: directory.at('state'),
      onSetAside: (file, problem) => setAside.push([file, problem]),
    });
  const files = () => readdirSync(directory.at('state/records')).toSorted();
  const fileOf = (key: RecordKey) => directory.at('state/records', fileNameOf(key));

  function plant(name: string, text: string): string {
    mkdirSync(directory.at('state/records'), { recursive: true });
    const file = directory.at('state/records', name);
    writeFileSync(file, text);
    return file;
  }

  it('begins empty, in a directory for its owner alone', async () => {
    using journal = await open();
    expect(journal.find(STAGE)).to.equal(undefined);
    expect(journal.of('volume')).to.deep.equal([]);
    expect(statSync(directory.at('state/records')).mode & 0o777).to.equal(0o700);
  });

  it('finds what was put, by its key alone', async () => {
    using journal = await open();
    await journal.put(STAGE);
    expect(journal.find({ kind: 'stage', volumeId: 'volume', path: '/staging' })).to.deep.equal({
      ...STAGE,
      bootId: BOOT_ID,
    });
    expect(journal.find({ ...STAGE, path: '/elsewhere' })).to.equal(undefined);
    expect(journal.find({ ...STAGE, kind: 'publish' })).to.equal(undefined);
    expect(journal.find({ ...STAGE, volumeId: 'other' })).to.equal(undefined);
  });

  it('keeps one file per record, for its owner alone', async () => {
    using journal = await open();
    await journal.put(STAGE);
    await journal.put({ ...STAGE, ...DONE });
    await journal.put(PUBLISH);
    expect(files()).to.deep.equal([fileNameOf(PUBLISH), fileNameOf(STAGE)].toSorted());
    expect(statSync(fileOf(STAGE)).mode & 0o777).to.equal(0o600);
    expect(readFileSync(fileOf(STAGE), 'utf8')).to.contain('"done"');
  });

  it('all of a volume', async () => {
    using journal = await open();
    for (const record of [STAGE, PUBLISH, OTHER]) await journal.put(record);
    expect(journal.of('volume').map(({ kind }) => kind)).to.have.members(['stage', 'publish']);
    expect(journal.of('other')).to.have.length(1);
    expect(journal.of('nobody')).to.deep.equal([]);
  });

  it('forgets what is removed; what is not there is no error', async () => {
    using journal = await open();
    await journal.put(STAGE);
    await journal.put(PUBLISH);
    await journal.remove(STAGE);
    await journal.remove(STAGE);
    await journal.remove(OTHER);
    expect(journal.find(STAGE)).to.equal(undefined);
    expect(files()).to.deep.equal([fileNameOf(PUBLISH)]);
  });

  it('knows the same after it was opened again', async () => {
    {
      using journal = await open();
      await journal.put({ ...STAGE, ...DONE });
      await journal.put(PUBLISH);
      await journal.put(OTHER);
      await journal.remove(OTHER);
    }
    using journal = await open();
    expect(journal.find(STAGE)).to.deep.equal({ ...STAGE, ...DONE, bootId: BOOT_ID });
    expect(journal.find(PUBLISH)).to.include({ state: 'intended' });
    expect(journal.find(OTHER)).to.equal(undefined);
    expect(setAside).to.deep.equal([]);
  });

  it('takes no half-written file for a record, and removes it', async () => {
    const complete = formatRecord({ ...STAGE, bootId: BOOT_ID });
    plant(`${fileNameOf(STAGE)}.tmp`, complete);
    plant(`${fileNameOf(PUBLISH)}.tmp`, '{"sch');
    using journal = await open();
    expect(journal.find(STAGE)).to.equal(undefined);
    expect(files()).to.deep.equal([]);
    expect(setAside).to.deep.equal([]);
  });

  it('a half-written successor leaves the record as it was', async () => {
    plant(fileNameOf(STAGE), formatRecord({ ...STAGE, bootId: BOOT_ID }));
    plant(`${fileNameOf(STAGE)}.tmp`, '{"sch');
    using journal = await open();
    expect(journal.find(STAGE)).to.include({ state: 'intended', bootId: BOOT_ID });
    expect(files()).to.deep.equal([fileNameOf(STAGE)]);
  });

  it('drops records of another boot, whose mounts are gone', async () => {
    plant(fileNameOf(STAGE), formatRecord({ ...STAGE, ...DONE, bootId: 'of-another-boot' }));
    using journal = await open();
    expect(journal.find(STAGE)).to.equal(undefined);
    expect(files()).to.deep.equal([]);
    expect(setAside).to.deep.equal([]);
  });

  it('sets aside what it cannot read, says so, and goes on with the rest', async () => {
    const text = '{"schema": 1, "kind": ';
    const damaged = plant(fileNameOf(STAGE), text);
    plant(fileNameOf(PUBLISH), formatRecord({ ...PUBLISH, bootId: BOOT_ID }));
    using journal = await open();
    expect(journal.find(STAGE)).to.equal(undefined);
    expect(journal.find(PUBLISH)).to.not.equal(undefined);
    expect(setAside).to.have.length(1);
    expect(setAside[0]?.[0]).to.equal(`${damaged}.unreadable`);
    expect(setAside[0]?.[1]).to.match(/JSON/);
    expect(readFileSync(`${damaged}.unreadable`, 'utf8')).to.equal(text);
    expect(existsSync(damaged)).to.equal(false);
  });

  it('what was set aside stays, and is not reported again', async () => {
    plant(fileNameOf(STAGE), 'damaged');
    (await open())[Symbol.dispose]();
    setAside = [];
    using journal = await open();
    await journal.put(STAGE);
    expect(setAside).to.deep.equal([]);
    expect(files()).to.deep.equal([fileNameOf(STAGE), `${fileNameOf(STAGE)}.unreadable`]);
  });

  it('sets aside a record under another name than its own', async () => {
    // A copy, or changed by hand: it could not be removed by its key, and would count as a target for ever.
    const text = formatRecord({ ...STAGE, bootId: BOOT_ID });
    plant(fileNameOf(PUBLISH), text);
    using journal = await open();
    expect(journal.find(PUBLISH)).to.equal(undefined);
    expect(journal.of('volume')).to.deep.equal([]);
    expect(setAside).to.have.length(1);
  });

  it('leaves alone what is not its own', async () => {
    const file = plant('notes.txt', 'of somebody else');
    using _journal = await open();
    expect(readFileSync(file, 'utf8')).to.equal('of somebody else');
  });

  it('a directory that was removed meanwhile is made again, and there is nothing to remove in it', async () => {
    using journal = await open();
    await journal.put(STAGE);
    rmSync(directory.at('state/records'), { recursive: true });
    await journal.remove(STAGE);
    expect(journal.find(STAGE)).to.equal(undefined);
    await journal.put(PUBLISH);
    expect(files()).to.deep.equal([fileNameOf(PUBLISH)]);
  });

  it('puts at the same time, of different records, are all kept', async () => {
    {
      using journal = await open();
      await Promise.all(
        Array.from({ length: 50 }, (_, i) => journal.put({ ...STAGE, volumeId: `volume-${i}` })),
      );
    }
    using journal = await open();
    for (let i = 0; i < 50; i++) expect(journal.of(`volume-${i}`)).to.have.length(1);
  });
});
