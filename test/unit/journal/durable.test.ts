// Files of which the last whole line counts after any crash, and what is synced for it: the calls of Node are watched.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { expect } from 'chai';
import { type DurableDirectory, durableDirectory } from '../../../src/journal/durable.ts';
import {
  mountCommand,
  type TemporaryDirectory,
  temporaryDirectory,
  unmountCommand,
} from '../../support/fixtures.ts';
import { needRoot } from '../../support/need.ts';

describe('a durable directory', () => {
  const { open, rename } = promises;
  let place: TemporaryDirectory;
  let directory: DurableDirectory;
  /** `opened` for each file; `data` when a sync of one ends; `sync`, `synced` when one of the directory begins and ends. */
  let seen: string[];

  beforeEach(() => {
    place = temporaryDirectory();
    directory = durableDirectory(place.at('files'));
    mkdirSync(place.at('files'));
    seen = [];
    promises.rename = async (from, to) => {
      await rename(from, to);
      seen.push('renamed');
    };
    promises.open = async (file, ...more) => {
      const handle = await open(file, ...more);
      const { sync, datasync } = handle;
      handle.sync = async () => {
        seen.push('sync');
        await sync.call(handle);
        seen.push('synced');
      };
      handle.datasync = async () => {
        await datasync.call(handle);
        seen.push('data');
      };
      if (file !== place.at('files')) seen.push('opened');
      return handle;
    };
    syncBuiltinESMExports();
  });
  afterEach(() => {
    Object.assign(promises, { open, rename });
    syncBuiltinESMExports();
    place[Symbol.dispose]();
  });

  const text = (name: string) => readFileSync(place.at('files', name), 'utf8');

  it('has a new file and its name on disk, where it has to survive the machine', async () => {
    await directory.write('a', 'one\n', 'machine');
    expect(seen.toSorted()).to.deep.equal(['data', 'opened', 'sync', 'synced']);
    expect(text('a')).to.equal('one\n');
  });

  it('syncs nothing for what has to survive the driver alone, nor for a removal', async () => {
    await directory.write('a', 'one\n', 'driver');
    await directory.write('a', 'two\n', 'driver');
    expect(text('a')).to.equal('one\ntwo\n');
    await directory.remove('a');
    await directory.remove('a');
    expect(seen).to.deep.equal(['opened', 'opened']);
    expect(existsSync(place.at('files/a'))).to.equal(false);
  });

  it('syncs a name once, and each line that has to survive the machine', async () => {
    await directory.write('a', 'one\n', 'driver');
    expect(seen).to.deep.equal(['opened']);
    for (const line of ['two\n', 'three\n']) await directory.write('a', line, 'machine');
    expect(seen.filter((what) => what === 'synced')).to.have.length(1);
    expect(seen.filter((what) => what === 'data')).to.have.length(2);
  });

  it('syncs names for all who come at the same time, for each after its own was made', async () => {
    const names = Array.from({ length: 40 }, (_, i) => `file-${i}`);
    await Promise.all(
      names.map(async (name) => {
        await directory.write(name, `${name}\n`, 'machine');
        seen.push(`done ${name}`);
      }),
    );
    const syncs = seen.filter((what) => what === 'synced').length;
    expect(syncs).to.be.at.least(1).and.below(names.length);
    // Whoever is done was made before a sync began that has ended.
    for (const [at, what] of seen.entries()) {
      if (!what.startsWith('done')) continue;
      const done = seen.slice(0, at).filter((one) => one.startsWith('done')).length + 1;
      const begun = seen.lastIndexOf('sync', seen.lastIndexOf('synced', at));
      expect(seen.slice(0, begun).filter((one) => one === 'opened').length).to.be.at.least(done);
    }
  });

  it('replaces whole what it has not begun itself, and adds to that', async () => {
    writeFileSync(place.at('files/a'), 'of another process\nhalf a li');
    await directory.write('a', 'one\n', 'machine');
    expect(text('a')).to.equal('one\n');
    await directory.write('a', 'two\n', 'driver');
    expect(text('a')).to.equal('one\ntwo\n');
    expect(seen.filter((what) => what === 'renamed')).to.have.length(1);
  });

  it('does not grow without end', async () => {
    for (let i = 0; i < 250; i++) await directory.write('a', `${i}\n`, 'driver');
    expect(text('a').split('\n').length).to.be.below(102);
    expect(text('a')).to.match(/\n249\n$/);
    expect(readdirSync(place.at('files'))).to.deep.equal(['a']);
  });

  it('is made again where it was removed, by us or with another in its place', async () => {
    await directory.write('a', 'one\n', 'machine');
    for (const again of [() => undefined, () => mkdirSync(place.at('files'))]) {
      rmSync(place.at('files'), { recursive: true });
      again();
      await directory.remove('b');
      seen = [];
      await directory.write('a', 'two\n', 'machine');
      expect(text('a')).to.equal('two\n');
      expect(seen).to.include('synced');
    }
  });

  it('has no part of a line for which there was no room, and takes the next', async function () {
    needRoot(this, 'a filesystem is mounted for it');
    mountCommand('-t', 'tmpfs', '-o', 'size=16k', 'test', place.at('files'));
    try {
      await directory.write('a', 'one\n', 'driver');
      const error = await directory.write('a', `${'x'.repeat(20_000)}\n`, 'driver').catch(String);
      expect(error).to.match(/StateError: .*the disk is full/);
      expect(text('a')).to.equal('one\n');
      await directory.write('a', 'two\n', 'driver');
      expect(text('a')).to.match(/^(one\n)?two\n$/);
    } finally {
      unmountCommand(place.at('files'));
    }
  });
});
