// rootuid and rootgid: the owner of the source's root is shown as somebody else, and somebody else as him.
import { execFileSync } from 'node:child_process';
import { chownSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import {
  mountCommand,
  mountPlace,
  ownerOf,
  temporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { makeImage } from '../../support/images.ts';
import { maskedCalls, needMappedTmpfs, needSecondMap, skipMasked } from '../../support/need.ts';
import { describeEngines, failureOf, mountAt, SHIFT_UP } from './engines.ts';

/** 1000:1001 on disk is shown as 2000:2001. */
const FIRST = ['uidmap=1000:2000:1,0:0:1', 'gidmap=1001:2001:1,0:0:1'];
const AS = ['rootuid=5000', 'rootgid=6000'] as const;

const bindOf = (source: string, ...options: string[]): Mount => ({ type: 'bind', source, options });
const tmpfsOf = (...options: string[]): Mount => ({ type: 'tmpfs', source: 'tmpfs', options });

/** A source whose root is 1000:1001, with a file of everybody that a swap concerns, and of one that it does not. */
function writeSource(directory: string): void {
  writeFiles(directory, {
    root: { uid: 1000, gid: 1001 },
    other: { uid: 5000, gid: 6000 },
    third: { uid: 7, gid: 8 },
  });
  chownSync(directory, 1000, 1001);
}

/** Makes a file as this user. */
function touchAs(uid: number, gid: number, file: string): void {
  execFileSync('touch', [file], { uid, gid, stdio: 'ignore' });
}

describeEngines('a root shown as somebody else', (bench) => {
  it('changes places with him, and leaves all others: a bind', async () => {
    using place = mountPlace();
    writeSource(place.at('source'));
    await bench.mount(bindOf(place.at('source'), ...AS, 'nosuid'), place.at('target'));
    const shown = ['', 'root', 'other', 'third'].map((name) => ownerOf(place.at('target', name)));
    expect(shown).to.deep.equal(['5000:6000', '5000:6000', '1000:1001', '7:8']);
    touchAs(5000, 6000, place.at('target/new'));
    expect(ownerOf(place.at('source/new'))).to.equal('1000:1001');
    expect(mountAt(place.at('target')).options).to.include.members(['nosuid', 'idmapped']);
    await bench.unmount(place.at('target'));
  });

  it('is a matter of users or of groups alone, where only that is asked for', async () => {
    using place = mountPlace();
    writeSource(place.at('source'));
    for (const [option, root, other] of [
      ['rootuid=5000', '5000:1001', '1000:6000'],
      ['rootgid=6000', '1000:6000', '5000:1001'],
    ] as const) {
      await bench.mount(bindOf(place.at('source'), option), place.at('target'));
      expect([ownerOf(place.at('target')), ownerOf(place.at('target/other'))]).to.deep.equal([root, other]);
      await bench.unmount(place.at('target'));
    }
  });

  it('comes after a mapping: what that shows is swapped', async () => {
    using place = mountPlace();
    writeSource(place.at('source'));
    await bench.mount(bindOf(place.at('source'), ...SHIFT_UP, 'rootuid=105000'), place.at('target'));
    const shown = ['', 'other', 'third'].map((name) => ownerOf(place.at('target', name)));
    expect(shown).to.deep.equal(['105000:101001', '101000:106000', '100007:100008']);
    await bench.unmount(place.at('target'));
  });

  it('takes the place of who is shown so, where the mapping leaves it without an id', async () => {
    using place = mountPlace();
    writeSource(place.at('source'));
    const mapping = ['uidmap=0:100000:1000', 'gidmap=0:100000:1000'];
    const options = [...mapping, 'rootuid=100007', 'rootgid=100008'];
    await bench.mount(bindOf(place.at('source'), ...options), place.at('target'));
    const shown = ['', 'third'].map((name) => ownerOf(place.at('target', name)));
    expect(shown).to.deep.equal(['100007:100008', '65534:65534']);
    await bench.unmount(place.at('target'));
  });

  it('needs an id in that mapping', async () => {
    using place = mountPlace();
    writeSource(place.at('source'));
    const options = ['uidmap=0:0:1000', 'gidmap=0:0:65536', 'rootuid=5000', 'rootgid=6'];
    const error = await failureOf(bench.mount(bindOf(place.at('source'), ...options), place.at('target')), {
      reason: 'invalid-mount',
      rolledBack: true,
    });
    expect(error.message).to.equal(
      'rootuid=5000: the root of the source has uid 1000, which uidmap=0:0:1000 does not map, and nothing is shown as 5000; map it too, or leave rootuid out',
    );
    expect(readdirSync(place.path)).to.deep.equal(['source']);
  });

  it('makes no ID map where it is theirs already, and so on any filesystem', async () => {
    using place = mountPlace();
    writeSource(place.at('source'));
    const theirs: readonly Mount[] = [
      bindOf(place.at('source'), 'rootuid=1000', 'rootgid=1001', 'nodev'),
      tmpfsOf('uid=3', 'gid=4', 'rootuid=3', 'rootgid=4'),
      { type: 'proc', source: 'proc', options: ['rootuid=0', 'rootgid=0'] },
      { type: 'overlay', source: 'o', options: [`lowerdir=${place.at('source')}`, 'rootuid=1000'] },
    ];
    for (const mount of theirs) {
      await bench.mount(mount, place.at('target'));
      expect(mountAt(place.at('target')).options).not.to.include('idmapped');
      await bench.unmount(place.at('target'));
    }
    await failureOf(
      bench.mount({ type: 'proc', source: 'proc', options: ['rootuid=1'] }, place.at('target')),
      { reason: 'idmap-unsupported', rolledBack: true },
    );
  });

  it('of a tmpfs is who will own what it makes', async function () {
    needMappedTmpfs(this);
    using place = mountPlace();
    await bench.mount(tmpfsOf('uid=3', 'gid=4', 'mode=2775', ...AS), place.at('target'));
    expect(ownerOf(place.at('target'))).to.equal('5000:6000');
    touchAs(5000, 99, place.at('target/made'));
    expect(ownerOf(place.at('target/made'))).to.equal('5000:6000');
    await bench.unmount(place.at('target'));
  });

  for (const type of ['ext4', 'auto'] as const) {
    it(`of an image is that of the filesystem in it: ${type}`, async function () {
      using place = mountPlace();
      using disk = temporaryDirectory();
      writeFiles(disk.path, { 'content/third': { uid: 7, gid: 8 } });
      const source = makeImage(this, 'ext4', disk.at('image'), disk.at('content'));
      await bench.mount({ type, source, options: ['loop', 'ro', ...AS] }, place.at('target'));
      const shown = ['', 'lost+found', 'third'].map((name) => ownerOf(place.at('target', name)));
      expect(shown).to.deep.equal(['5000:6000', '5000:6000', '7:8']);
      await bench.unmount(place.at('target'));
    });
  }

  it('of a tree of mounts is that of its top, and holds for all of it', async () => {
    using place = mountPlace();
    writeSource(place.at('source'));
    writeFiles(place.path, { 'source/sub/': '', 'other/': { uid: 1000, gid: 6000 } });
    mountCommand('--bind', place.at('other'), place.at('source/sub'));
    await bench.mount({ type: 'rbind', source: place.at('source'), options: [...AS] }, place.at('target'));
    expect(ownerOf(place.at('target/sub'))).to.equal('5000:1001');
    await bench.engine.unmount({ target: { path: place.at('target') }, lazy: true });
    unmountCommand(place.at('source/sub'));
  });

  it('of an overlay is that of the top lowerdir, and all lowerdirs get the one mapping', async () => {
    using place = mountPlace();
    writeSource(place.at('top'));
    writeFiles(place.path, { 'bottom/of-bottom': { uid: 5000, gid: 1001 } });
    const lowerdir = `lowerdir=${place.at('top')}:${place.at('bottom')}`;
    await bench.mount({ type: 'overlay', source: 'o', options: [lowerdir, ...AS] }, place.at('target'));
    const shown = ['', 'other', 'third', 'of-bottom'].map((name) => ownerOf(place.at('target', name)));
    expect(shown).to.deep.equal(['5000:6000', '1000:1001', '7:8', '1000:6000']);
    await bench.unmount(place.at('target'));
  });

  it('goes with a writable layer that belongs to him, as it is', async () => {
    using place = mountPlace();
    writeSource(place.at('lower'));
    writeFiles(place.path, { 'upper/': '', 'work/': '' });
    chownSync(place.at('upper'), 105_000, 106_000);
    const options = [
      `lowerdir=${place.at('lower')}`,
      `upperdir=${place.at('upper')}`,
      `workdir=${place.at('work')}`,
      ...[...SHIFT_UP, 'rootuid=105000', 'rootgid=106000'],
    ];
    await bench.mount({ type: 'overlay', source: 'o', options }, place.at('target'));
    const shown = ['', 'root', 'other', 'third'].map((name) => ownerOf(place.at('target', name)));
    expect(shown).to.deep.equal(['105000:106000', '105000:106000', '101000:101001', '100007:100008']);
    touchAs(105_000, 106_000, place.at('target/new'));
    touchAs(105_000, 106_000, place.at('target/root'));
    expect([ownerOf(place.at('upper/new')), ownerOf(place.at('upper/root'))]).to.deep.equal([
      '105000:106000',
      '105000:106000',
    ]);
    await bench.unmount(place.at('target'));
  });

  it('of a source that is ID-mapped already is the one that it shows', async function () {
    needSecondMap(this);
    if (maskedCalls.includes('statmount')) skipMasked(this, 'the map of the source is asked by it');
    using place = mountPlace();
    writeSource(place.at('source'));
    await bench.mount(bindOf(place.at('source'), ...FIRST), place.at('mapped'));
    await bench.mount(bindOf(place.at('mapped'), ...AS), place.at('target'));
    expect(ownerOf(place.at('target'))).to.equal('5000:6000');
    touchAs(5000, 6000, place.at('target/new'));
    expect(ownerOf(place.at('source/new'))).to.equal('1000:1001');
    for (const name of ['target', 'mapped']) await bench.unmount(place.at(name));
  });

  it('of such a source must have an id in its map', async function () {
    needSecondMap(this);
    if (maskedCalls.includes('statmount')) skipMasked(this, 'the map of the source is asked by it');
    using place = mountPlace();
    writeSource(place.at('source'));
    chownSync(place.at('source'), 7, 8);
    await bench.mount(bindOf(place.at('source'), ...FIRST), place.at('mapped'));
    const error = await failureOf(
      bench.mount(bindOf(place.at('mapped'), 'rootuid=5000'), place.at('target')),
      { reason: 'invalid-mount', rolledBack: true },
    );
    expect(error.message).to.match(/shown as uid 65534, gid 65534, not as uid 5000.*has no id/);
    await bench.unmount(place.at('mapped'));
  });
});
