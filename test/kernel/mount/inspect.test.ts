// What can be asked about sources and targets: whether they can be ID-mapped, and whose their root is.
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { expect } from 'chai';
import type { CanIdmapRequest } from '../../../src/mount/inspect.ts';
import {
  fuseMount,
  mountCommand,
  mountPlace,
  temporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { makeImage } from '../../support/images.ts';
import { maskedCalls, needMappedSquashfs, needTool, skipMasked } from '../../support/need.ts';
import { describeEngines, failureOf, mountsIn, SHIFT_UP } from './engines.ts';

describeEngines('canIdmap', (bench) => {
  before(function () {
    const needed = ['open_tree', 'mount_setattr'].filter((call) => maskedCalls.includes(call));
    if (needed.length > 0) skipMasked(this, 'it is tried by them');
  });

  /** Asked of it as a source and as a target: alike. */
  async function answersOf(path: string): Promise<string> {
    const requests: CanIdmapRequest[] = [{ source: path }, { target: { path } }];
    const answers = await Promise.all(requests.map((request) => bench.engine.canIdmap(request)));
    const [one, other] = answers.map((answer) => (answer.can ? 'yes' : answer.because));
    expect(one).to.equal(other);
    return one ?? '';
  }

  it('is so of a directory and of a file on a filesystem that the kernel maps', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'directory/': '', file: '' });
    for (const name of ['', 'directory', 'file']) expect(await answersOf(place.at(name))).to.equal('yes');
    expect(mountsIn(place.path)).to.equal(1);
  });

  for (const type of ['ext4', 'squashfs'] as const) {
    it(`is so of an image: ${type}`, async function () {
      if (type === 'squashfs') needMappedSquashfs(this);
      using place = mountPlace();
      using disk = temporaryDirectory();
      writeFiles(disk.path, { 'content/': '' });
      const source = makeImage(this, type, disk.at('image'), disk.at('content'));
      await bench.mount({ type, source, options: ['loop', 'ro'] }, place.at('target'));
      expect(await answersOf(place.at('target'))).to.equal('yes');
      await bench.unmount(place.at('target'));
    });
  }

  it('is not so of an overlay', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'lower/': '' });
    const options = [`lowerdir=${place.at('lower')}`];
    await bench.mount({ type: 'overlay', source: 'overlay', options }, place.at('target'));
    expect(await answersOf(place.at('target'))).to.equal(
      `${place.at('target')}: its filesystem cannot be ID-mapped on this kernel`,
    );
    await bench.unmount(place.at('target'));
  });

  it('is not so of FUSE whose server does not offer it', async function () {
    needTool(this, 'bindfs', 'it is the server');
    using place = mountPlace();
    writeFiles(place.path, { 'source/': '', 'target/': '' });
    await using fuse = await fuseMount(place.at('source'), place.at('target'));
    expect(await answersOf(fuse.path)).to.match(/cannot be ID-mapped/);
  });

  it('is not so of what is mapped already', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/': '' });
    await bench.mount({ type: 'bind', source: place.at('source'), options: SHIFT_UP }, place.at('target'));
    expect(await answersOf(place.at('target'))).to.equal(
      `${place.at('target')}: it is an ID-mapped mount already`,
    );
    await bench.unmount(place.at('target'));
  });

  it('is a matter of the top mount, not of those below', async () => {
    using place = mountPlace();
    mkdirSync(place.at('proc'));
    mountCommand('-t', 'proc', 'proc', place.at('proc'));
    expect([await answersOf(place.path), await answersOf(place.at('proc'))]).to.deep.equal([
      'yes',
      `${place.at('proc')}: its filesystem cannot be ID-mapped on this kernel`,
    ]);
    unmountCommand(place.at('proc'));
  });

  it('is not so of what cannot be copied', async () => {
    using place = mountPlace();
    mkdirSync(place.at('target'));
    mountCommand('-t', 'tmpfs', 'tmpfs', place.at('target'));
    mountCommand('--make-unbindable', place.at('target'));
    expect(await answersOf(place.at('target'))).to.match(/unbindable/);
    unmountCommand(place.at('target'));
  });

  it('is refused for what is not there', async () => {
    using place = mountPlace();
    await failureOf(bench.engine.canIdmap({ source: place.at('none') }), { reason: 'source-not-found' });
    await failureOf(bench.engine.canIdmap({ target: { path: place.at('none') } }), { reason: 'bad-target' });
  });
});

describeEngines('rootOf', (bench) => {
  it('is owner, group and mode of a directory, as its mount shows them', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/': '' });
    chownSync(place.at('source'), 7, 8);
    chmodSync(place.at('source'), 0o2770);
    expect(await bench.engine.rootOf({ source: place.at('source') })).to.deep.equal({
      uid: 7,
      gid: 8,
      mode: 0o2770,
      isDirectory: true,
    });
    writeFiles(place.path, { 'source/file': '' });
    expect(await bench.engine.rootOf({ source: place.at('source/file') })).to.include({ isDirectory: false });
    await bench.mount({ type: 'bind', source: place.at('source'), options: SHIFT_UP }, place.at('target'));
    const { uid, gid } = await bench.engine.rootOf({ source: place.at('target') });
    expect([uid, gid]).to.deep.equal([100_007, 100_008]);
    await bench.unmount(place.at('target'));
  });

  it('is refused for what is not there', async () => {
    using place = mountPlace();
    const error = await failureOf(bench.engine.rootOf({ source: place.at('none') }), {
      reason: 'source-not-found',
      errno: 'ENOENT',
    });
    expect(error.message).to.include(place.at('none'));
  });
});
