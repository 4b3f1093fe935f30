// The journal on a real directory: what is kept, what is found again, and what becomes of damaged files.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { type Journal, openJournal } from '../../../src/journal/journal.ts';
import {
  fileNameOf,
  formatRecord,
  layerNameOf,
  type RecordFields,
  type RecordKey,
  SCHEMA,
} from '../../../src/journal/record.ts';
import {
  mountCommand,
  type TemporaryDirectory,
  temporaryDirectory,
  unmountCommand,
} from '../../support/fixtures.ts';
import { needRoot } from '../../support/need.ts';

const BOOT_ID = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
const STAGE: RecordFields = {
  kind: 'stage',
  volumeId: 'volume',
  path: '/staging',
  state: 'intended',
  fingerprint: 'f00d',
  accessMode: 'SINGLE_NODE_WRITER',
  mount: undefined,
};
const PUBLISH: RecordFields = { ...STAGE, kind: 'publish', path: '/target' };
const OTHER: RecordFields = { ...STAGE, volumeId: 'other' };
const DONE = { state: 'done', mount: { type: 'tmpfs', device: '0:42', root: '/' } } as const;

const textOf = (fields: RecordFields, change: { bootId?: string } = {}): string =>
  formatRecord({ ...fields, bootId: BOOT_ID, schema: SCHEMA, ...change });

describe('the journal', () => {
  let directory: TemporaryDirectory;
  let setAside: [file: string, problem: string][];
  let later: [file: string, problem: string][];

  beforeEach(() => {
    directory = temporaryDirectory();
    setAside = [];
    later = [];
  });
  afterEach(() => directory[Symbol.dispose]());

  const open = (): Promise<Journal> =>
    openJournal({
      stateDir: directory.at('state'),
      onSetAside: (file, problem) => setAside.push([file, problem]),
      onLater: (file, problem) => later.push([file, problem]),
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
      schema: SCHEMA,
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
    expect(journal.find(STAGE)).to.deep.equal({ ...STAGE, ...DONE, bootId: BOOT_ID, schema: SCHEMA });
    expect(journal.find(PUBLISH)).to.include({ state: 'intended' });
    expect(journal.find(OTHER)).to.equal(undefined);
    expect(setAside).to.deep.equal([]);
  });

  it('takes no half-written file for a record, and removes it', async () => {
    const complete = textOf(STAGE);
    plant(`${fileNameOf(STAGE)}.tmp`, complete);
    plant(`${fileNameOf(PUBLISH)}.tmp`, '{"sch');
    using journal = await open();
    expect(journal.find(STAGE)).to.equal(undefined);
    expect(files()).to.deep.equal([]);
    expect(setAside).to.deep.equal([]);
  });

  it('a half-written successor leaves the record as it was', async () => {
    plant(fileNameOf(STAGE), textOf(STAGE));
    plant(`${fileNameOf(STAGE)}.tmp`, '{"sch');
    using journal = await open();
    expect(journal.find(STAGE)).to.include({ state: 'intended', bootId: BOOT_ID });
    expect(files()).to.deep.equal([fileNameOf(STAGE)]);
  });

  it('a line that was cut off leaves the record as it was, and the next put replaces both', async () => {
    plant(fileNameOf(STAGE), `${textOf(STAGE)}${textOf({ ...STAGE, ...DONE }).slice(0, -9)}`);
    {
      using journal = await open();
      expect(journal.find(STAGE)).to.include({ state: 'intended', bootId: BOOT_ID });
      await journal.put({ ...STAGE, ...DONE });
    }
    expect(readFileSync(fileOf(STAGE), 'utf8')).to.equal(textOf({ ...STAGE, ...DONE }));
    expect(setAside).to.deep.equal([]);
  });

  for (const [what, text] of [
    ['empty', ''],
    ['of NULs', '\0'.repeat(300)],
  ] as const) {
    it(`a file that is ${what}, of which nothing came to the disk, is nothing`, async () => {
      plant(fileNameOf(STAGE), text);
      using journal = await open();
      expect([journal.find(STAGE), files(), setAside]).to.deep.equal([undefined, [], []]);
    });
  }

  it('reads what the first versions wrote, one document on many lines', async () => {
    const record = { schema: SCHEMA, ...STAGE, ...DONE, bootId: BOOT_ID };
    plant(fileNameOf(STAGE), `${JSON.stringify(record, null, 1)}\n`);
    using journal = await open();
    expect(journal.find(STAGE)).to.deep.include(DONE);
    expect(setAside).to.deep.equal([]);
  });

  it('of another boot knows what was meant: its mounts and devices are gone, its layer is not', async () => {
    const device = { image: '/image' };
    const record = { ...PUBLISH, ...DONE, device, layer: true };
    const file = plant(fileNameOf(PUBLISH), textOf(record, { bootId: 'of-another-boot' }));
    const before = readFileSync(file, 'utf8');
    using journal = await open();
    const { state, mount, device: left, layer, bootId, fingerprint } = journal.find(PUBLISH) ?? {};
    expect({ state, mount, left, layer, bootId, fingerprint }).to.deep.equal({
      ...{ state: 'intended', mount: undefined, left: undefined },
      ...{ layer: true, bootId: BOOT_ID, fingerprint: 'f00d' },
    });
    expect(readFileSync(file, 'utf8')).to.equal(before);
    expect(setAside).to.deep.equal([]);
  });

  it('of another boot: kubelet holds nothing for staged either', async () => {
    plant(fileNameOf(STAGE), textOf({ ...STAGE, ...DONE, letGo: true }, { bootId: 'of-another-boot' }));
    using journal = await open();
    expect(journal.find(STAGE)).to.include({ state: 'intended', letGo: undefined });
  });

  it('reads what the last version wrote', async () => {
    plant(fileNameOf(STAGE), JSON.stringify({ schema: 1, ...STAGE, ...DONE, bootId: BOOT_ID }));
    using journal = await open();
    expect(journal.find(STAGE)).to.deep.include({ ...DONE, schema: 1, fingerprint: 'f00d' });
    await journal.put({ ...STAGE, ...DONE });
    expect(journal.find(STAGE)).to.deep.include({ ...DONE, schema: SCHEMA });
    expect([setAside, later]).to.deep.equal([[], []]);
  });

  it('keeps what a later version wrote as it is, reports it, and knows its key', async () => {
    const text = JSON.stringify({
      ...PUBLISH,
      schema: 99,
      state: 'sleeping',
      mount: 7,
      layer: true,
      bootId: BOOT_ID,
    });
    const file = plant(fileNameOf(PUBLISH), text);
    {
      using journal = await open();
      expect(journal.at('/target')).to.have.length(1);
      expect(journal.find(PUBLISH)).to.deep.include({
        state: 'done',
        mount: undefined,
        layer: true,
        schema: 99,
      });
      expect(later).to.deep.equal([[file, 'schema 99: volume volume at /target']]);
      expect(readFileSync(file, 'utf8')).to.equal(text);
      await journal.remove(PUBLISH);
    }
    expect([setAside, files()]).to.deep.equal([[], []]);
  });

  it('leaves alone what a later version wrote in a way it cannot read', async () => {
    const text = JSON.stringify({ schema: 99, volume: { id: 'volume' } });
    const file = plant(fileNameOf(PUBLISH), text);
    using journal = await open();
    expect(journal.all()).to.deep.equal([]);
    expect(readFileSync(file, 'utf8')).to.equal(text);
    expect(later[0]?.[1]).to.match(/schema 99, this version reads 2: kind: /);
    expect(setAside).to.deep.equal([]);
  });

  it('sets aside what it cannot read, says so, and goes on with the rest', async () => {
    const text = '{"schema": 1, "kind": ';
    const damaged = plant(fileNameOf(STAGE), text);
    plant(fileNameOf(PUBLISH), textOf(PUBLISH));
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
    const text = textOf(STAGE);
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

  it('mentions what it has a record of, readable or not', async () => {
    plant(fileNameOf(STAGE), 'damaged');
    using journal = await open();
    await journal.put(PUBLISH);
    const mentions = (key: RecordKey) => journal.mentions(layerNameOf(key));
    expect([await mentions(STAGE), await mentions(PUBLISH), await mentions(OTHER)]).to.deep.equal([
      true,
      true,
      false,
    ]);
    rmSync(directory.at('state/records'), { recursive: true });
    expect([await mentions(STAGE), await mentions(PUBLISH)]).to.deep.equal([false, true]);
  });

  it('writes down no tokens', async () => {
    const volumeContext = { type: 'tmpfs', 'csi.storage.k8s.io/serviceAccount.tokens': 'SECRET' };
    const request = {
      ...{ volumeContext, mountFlags: [], fsType: '', accessMode: 'X' },
      ...{ readonly: false, block: false },
    };
    using journal = await open();
    await journal.put({ ...PUBLISH, state: 'waiting', request });
    expect(readFileSync(fileOf(PUBLISH), 'utf8')).to.not.contain('SECRET');
    expect(journal.find(PUBLISH)?.request?.volumeContext).to.deep.equal({ type: 'tmpfs' });
  });

  describe('that cannot be written', () => {
    before(function () {
      needRoot(this, 'a full or read-only filesystem is mounted for it');
    });

    /** With a filesystem of its own, which is taken away at the end. */
    async function on(options: string, work: (journal: Journal) => Promise<void>): Promise<void> {
      mkdirSync(directory.at('state'));
      mountCommand('-t', 'tmpfs', '-o', options, 'test', directory.at('state'));
      try {
        using journal = await open();
        await work(journal);
      } finally {
        unmountCommand(directory.at('state'));
      }
    }

    it('because the disk is full says so, and is as it was', () =>
      on('size=16k', async (journal) => {
        await journal.put(STAGE);
        const before = readFileSync(fileOf(STAGE), 'utf8');
        writeFileSync(directory.at('state/filler'), Buffer.alloc(4096));
        for (const record of [{ ...STAGE, ...DONE, fingerprint: 'x'.repeat(10_000) }, PUBLISH]) {
          const error = await journal
            .put({ ...record, accessMode: 'y'.repeat(20_000) })
            .catch((error) => error);
          expect(String(error)).to.match(
            /^StateError: nothing can be recorded in .*: the disk is full: make room/,
          );
        }
        expect(readFileSync(fileOf(STAGE), 'utf8')).to.equal(before);
        expect(journal.find(STAGE)).to.include({ state: 'intended' });
        expect(journal.find(PUBLISH)).to.equal(undefined);
        expect(files()).to.deep.equal([fileNameOf(STAGE)]);
      }));

    it('because it is read-only says so, for removing too', () =>
      on('size=1m', async (journal) => {
        await journal.put(STAGE);
        mountCommand('-o', 'remount,ro', directory.at('state'));
        for (const attempt of [() => journal.put(PUBLISH), () => journal.remove(STAGE)]) {
          const error = await attempt().catch((error: unknown) => error);
          expect(String(error)).to.match(/^StateError: .* is on a read-only filesystem/);
        }
        expect(journal.all()).to.have.length(1);
      }));

    it('is read all the same', async () => {
      mkdirSync(directory.at('state/records'), { recursive: true });
      mountCommand('-t', 'tmpfs', '-o', 'size=1m', 'test', directory.at('state'));
      try {
        plant(fileNameOf(STAGE), textOf(STAGE));
        plant(fileNameOf(PUBLISH), 'damaged');
        plant('x.json.tmp', '');
        mountCommand('-o', 'remount,ro', directory.at('state'));
        using journal = await open();
        expect(journal.all()).to.have.length(1);
        expect(setAside.map(([file]) => file)).to.deep.equal([fileOf(PUBLISH)]);
      } finally {
        unmountCommand(directory.at('state'));
      }
    });
  });
});
