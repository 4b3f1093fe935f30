// Directories that root of the host has made in a volume are given to who owns it; what has been there before is not.
import { chmodSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { expect } from 'chai';
import { mountPlace, ownerOf, writeFiles } from '../../support/fixtures.ts';
import { describeWithoutLayers } from './engines.ts';

const TO = { uid: 5000, gid: 6000 };

describeWithoutLayers('handOver', (bench) => {
  const given = async (path: string, below: string) =>
    (await bench.engine.handOver({ target: { path }, below, to: TO })).given;

  it('gives an empty directory, and those on the way that hold nothing else', async () => {
    using place = mountPlace();
    writeFiles(place.at('v'), { 'a/b/c/': {} });
    expect(await given(place.at('v'), 'a/b/c')).to.deep.equal(['a', 'a/b', 'a/b/c']);
    for (const name of ['a', 'a/b', 'a/b/c']) expect(ownerOf(place.at('v', name))).to.equal('5000:6000');
    expect(ownerOf(place.at('v'))).to.equal('0:0');
  });

  it('leaves what is in use, or has another owner', async () => {
    using place = mountPlace();
    writeFiles(place.at('v'), {
      'full/file': '',
      'shared/new/': {},
      'shared/old': '',
      'theirs/': { uid: 7, gid: 0 },
    });
    for (const name of ['full', 'theirs', 'missing', 'full/file']) {
      expect(await given(place.at('v'), name), name).to.deep.equal([]);
    }
    expect(await given(place.at('v'), 'shared/new')).to.deep.equal(['shared/new']);
    expect(ownerOf(place.at('v/shared'))).to.equal('0:0');
    expect(readdirSync(place.at('v/full'))).to.deep.equal(['file']);
  });

  it('keeps the group of a directory whose files have that group', async () => {
    using place = mountPlace();
    writeFiles(place.at('v'), { '.keep': '' });
    writeFiles(place.at('v'), { 'group/': { uid: 0, gid: 77 } });
    chmodSync(place.at('v/group'), 0o2775);
    mkdirSync(place.at('v/group/new'));
    expect(await given(place.at('v'), 'group/new')).to.deep.equal(['group', 'group/new']);
    expect(ownerOf(place.at('v/group/new'))).to.equal('5000:77');
  });

  it('follows no link', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'v/': {}, 'outside/': {} });
    symlinkSync('../outside', place.at('v/link'));
    for (const name of ['link', '../outside', 'link/..']) {
      expect(await given(place.at('v'), name), name).to.deep.equal([]);
    }
    expect(ownerOf(place.at('outside'))).to.equal('0:0');
  });
});
