// An ID map on a source that is ID-mapped already: both, one after the other.
import { writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { localEngine } from '../../../src/mount/engine.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountPlace, ownerOf, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { needSecondMap } from '../../support/need.ts';
import { codeOf, describeEngines, failureOf, mountAt, mountsIn } from './engines.ts';

const FIRST = ['uidmap=0:1000:10', 'gidmap=0:1000:10'];
const SECOND = ['uidmap=1000:5000:5', 'gidmap=1000:6000:5'];

describeEngines('an ID map on a mapped source', (bench) => {
  it('is composed with that of the source, for a bind', async function () {
    needSecondMap(this);
    using place = mountPlace();
    writeFiles(place.path, { 'source/zero': '' });
    await bench.mount({ type: 'bind', source: place.at('source'), options: FIRST }, place.at('mapped'));
    const options = [...SECOND, 'ro', 'nosuid'];
    await bench.mount({ type: 'bind', source: place.at('mapped'), options }, place.at('twice'));
    expect(ownerOf(place.at('mapped/zero'))).to.equal('1000:1000');
    expect(ownerOf(place.at('twice/zero'))).to.equal('5000:6000');
    for (const name of ['twice', 'mapped']) await bench.unmount(place.at(name));
  });

  it('is composed for each lowerdir of an overlay', async function () {
    needSecondMap(this);
    using place = mountPlace();
    writeFiles(place.path, { 'source/zero': '', 'plain/own': '' });
    await bench.mount({ type: 'bind', source: place.at('source'), options: FIRST }, place.at('mapped'));
    const lowerdir = `lowerdir=${place.at('mapped')}:${place.at('plain')}`;
    await bench.mount(
      { type: 'overlay', source: 'overlay', options: [lowerdir, ...SECOND] },
      place.at('merged'),
    );
    expect(ownerOf(place.at('merged/zero'))).to.equal('5000:6000');
    // Not mapped by the second, and seen by no first: nobody's.
    expect(ownerOf(place.at('merged/own'))).to.equal('65534:65534');
    for (const name of ['merged', 'mapped']) await bench.unmount(place.at(name));
  });

  it('is composed for lowerdirs side by side on a mapped mount', async function () {
    needSecondMap(this);
    using place = mountPlace();
    writeFiles(place.path, { 'source/a/zero': '', 'source/b/one': { uid: 1, gid: 1 } });
    await bench.mount({ type: 'bind', source: place.at('source'), options: FIRST }, place.at('mapped'));
    const lowerdir = `lowerdir=${place.at('mapped/a')}:${place.at('mapped/b')}`;
    const mount = { type: 'overlay', source: 'overlay', options: [lowerdir, ...SECOND] };
    await bench.mount(mount, place.at('merged'));
    expect(ownerOf(place.at('merged/zero'))).to.equal('5000:6000');
    expect(ownerOf(place.at('merged/one'))).to.equal('5001:6001');
    for (const name of ['merged', 'mapped']) await bench.unmount(place.at(name));
  });

  for (const [title, below, refused] of [
    ['not mapped', [], true],
    ['mapped otherwise', ['uidmap=0:2000:10', 'gidmap=0:2000:10'], true],
    ['mapped alike', FIRST, false],
  ] as const) {
    it(`is ${refused ? 'refused' : 'composed'} for a tree in which a mount below is ${title}`, async function () {
      needSecondMap(this);
      using place = mountPlace();
      writeFiles(place.path, { 'source/sub/': '', 'source/zero': '', 'other/zero': '', 'twice/': '' });
      await bench.mount({ type: 'bind', source: place.at('source'), options: FIRST }, place.at('mapped'));
      const other: Mount = { type: 'bind', source: place.at('other'), options: below };
      await bench.mount(other, place.at('mapped/sub'));
      const request = bench.mount(
        { type: 'rbind', source: place.at('mapped'), options: SECOND },
        place.at('twice'),
      );
      if (refused) {
        const error = await failureOf(request, { reason: 'idmap-unsupported', rolledBack: true });
        expect(error.message).to.include(place.at('mapped/sub'));
        expect(mountsIn(place.at('twice'))).to.equal(0);
      } else {
        await request;
        for (const file of ['zero', 'sub/zero'])
          expect(ownerOf(place.at('twice', file))).to.equal('5000:6000');
        unmountCommand('--recursive', place.at('twice'));
      }
      for (const name of ['mapped/sub', 'mapped']) await bench.unmount(place.at(name));
    });
  }

  it('keeps what is asked of a tree, for a bind', async function () {
    needSecondMap(this);
    using place = mountPlace();
    writeFiles(place.path, { 'source/zero': '' });
    await bench.mount({ type: 'bind', source: place.at('source'), options: FIRST }, place.at('mapped'));
    const options = [...SECOND, 'rro', 'rnosuid', 'rnodev'];
    await bench.mount({ type: 'bind', source: place.at('mapped'), options }, place.at('twice'));
    expect(ownerOf(place.at('twice/zero'))).to.equal('5000:6000');
    expect(mountAt(place.at('twice')).options).to.include.members(['ro', 'nosuid', 'nodev']);
    expect(codeOf(() => writeFileSync(place.at('twice/zero'), 'x'))).to.equal('EROFS');
    for (const name of ['twice', 'mapped']) await bench.unmount(place.at(name));
  });

  it('is refused where it maps nothing that the source shows', async function () {
    needSecondMap(this);
    using place = mountPlace();
    writeFiles(place.path, { 'source/zero': '' });
    await bench.mount({ type: 'bind', source: place.at('source'), options: FIRST }, place.at('mapped'));
    const options = ['uidmap=0:5000:5', 'gidmap=0:5000:5'];
    const error = await failureOf(
      bench.mount({ type: 'bind', source: place.at('mapped'), options }, place.at('twice')),
      { reason: 'invalid-mount', rolledBack: true },
    );
    expect(error.message).to.include('0:1000:10');
    await bench.unmount(place.at('mapped'));
  });

  it('is refused where the kernel cannot, by name of what it lacks', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/zero': '', 'twice/': '' });
    await bench.mount({ type: 'bind', source: place.at('source'), options: FIRST }, place.at('mapped'));
    await using older = localEngine({ disabled: ['open-tree-attr'] });
    const mounts = [{ type: 'bind', source: place.at('mapped'), options: SECOND }];
    const error = await failureOf(older.mountAll({ mounts, target: { path: place.at('twice') } }), {
      reason: 'idmap-unsupported',
      rolledBack: true,
    });
    expect(error.message).to.include('open-tree-attr');
    await bench.unmount(place.at('mapped'));
  });
});
