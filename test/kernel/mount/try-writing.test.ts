// Whether a directory can be written to, also where a file must have a name.
import { mkdirSync, openSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import { tryWriting } from '../../../src/mount/thread/try-writing.ts';
import { Fd } from '../../../src/sys/fd.ts';
import { fuseMount, mountCommand, mountPlace, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { needRoot, needTool } from '../../support/need.ts';

const ROOT = { uid: 0, gid: 0 };

describe('tryWriting', () => {
  before(function () {
    needRoot(this, 'another user takes CAP_SETUID');
  });

  function tryIn(directory: string): void {
    using fd = new Fd(openSync(directory, 'r'));
    tryWriting({ directory: fd.number, user: ROOT });
  }

  it('leaves nothing, on a filesystem with nameless files or without', async function () {
    needTool(this, 'bindfs', 'it has no nameless files');
    using place = mountPlace();
    writeFiles(place.path, { 'source/': '', 'target/': '' });
    tryIn(place.at('source'));
    await using fuse = await fuseMount(place.at('source'), place.at('target'));
    tryIn(fuse.path);
    expect(readdirSync(place.at('source'))).to.deep.equal([]);
  });

  it('says why not', () => {
    using place = mountPlace();
    mkdirSync(place.at('target'));
    mountCommand('-t', 'tmpfs', '-o', 'ro', 'tmpfs', place.at('target'));
    expect(() => tryIn(place.at('target'))).to.throw(/= EROFS/);
    unmountCommand(place.at('target'));
  });

  it('takes a full disk for one that can be written to', () => {
    using place = mountPlace();
    mkdirSync(place.at('target'));
    mountCommand('-t', 'tmpfs', '-o', 'nr_inodes=1', 'tmpfs', place.at('target'));
    tryIn(place.at('target'));
    unmountCommand(place.at('target'));
  });
});
