// Files that are whole after any crash, and what is synced for it: the calls of Node are watched.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { expect } from 'chai';
import { type DurableDirectory, durableDirectory } from '../../../src/journal/durable.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';

describe('a durable directory', () => {
  const { open, rename } = promises;
  let place: TemporaryDirectory;
  let directory: DurableDirectory;
  /** `renamed`, and `synced` when a sync of the directory ends that had not begun before. */
  let seen: string[];

  beforeEach(() => {
    place = temporaryDirectory();
    directory = durableDirectory(place.path);
    seen = [];
    promises.rename = async (from, to) => {
      await rename(from, to);
      seen.push('renamed');
    };
    promises.open = async (file, ...more) => {
      const handle = await open(file, ...more);
      if (file !== place.path) return handle;
      const { sync } = handle;
      handle.sync = async () => {
        seen.push('sync');
        await sync.call(handle);
        seen.push('synced');
      };
      return handle;
    };
    syncBuiltinESMExports();
  });
  afterEach(() => {
    Object.assign(promises, { open, rename });
    syncBuiltinESMExports();
    place[Symbol.dispose]();
  });

  it('is synced after what has to survive the machine', async () => {
    await directory.write('a', 'text', 'machine');
    expect(seen).to.deep.equal(['renamed', 'sync', 'synced']);
    expect(readFileSync(place.at('a'), 'utf8')).to.equal('text');
  });

  it('is not synced after what has to survive the driver alone, nor after a removal', async () => {
    await directory.write('a', 'text', 'driver');
    await directory.remove('a');
    await directory.remove('a');
    expect(seen).to.deep.equal(['renamed']);
    expect(existsSync(place.at('a'))).to.equal(false);
  });

  it('is synced for all who come at the same time, for each after its own change', async () => {
    const names = Array.from({ length: 40 }, (_, i) => `file-${i}`);
    await Promise.all(
      names.map(async (name) => {
        await directory.write(name, name, 'machine');
        seen.push(`done ${name}`);
      }),
    );
    const syncs = seen.filter((what) => what === 'synced').length;
    expect(syncs).to.be.at.least(1).and.below(names.length);
    // Whoever is done was renamed before a sync began that has ended.
    for (const [at, what] of seen.entries()) {
      if (!what.startsWith('done')) continue;
      const done = seen.slice(0, at).filter((one) => one.startsWith('done')).length + 1;
      const begun = seen.lastIndexOf('sync', seen.lastIndexOf('synced', at));
      expect(seen.slice(0, begun).filter((one) => one === 'renamed').length).to.be.at.least(done);
    }
  });

  it('is made again where it was removed', async () => {
    rmSync(place.path, { recursive: true });
    await directory.remove('a');
    await directory.write('a', 'text', 'machine');
    expect(readFileSync(place.at('a'), 'utf8')).to.equal('text');
  });
});
