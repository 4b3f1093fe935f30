// Taking mounts away, finding out what is mounted, and how full it is.
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { fuseMount, mountCommand, mountPlace, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';
import { describeWithoutLayers, failureOf, mountAt, mountsIn } from './engines.ts';

const tmpfsNamed = (source: string): Mount => ({ type: 'tmpfs', source, options: ['size=1m'] });

describeWithoutLayers('unmount', (bench) => {
  it('of what is no mount, or is not there, finds nothing to do', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'directory/': '', file: '' });
    for (const name of ['directory', 'file', 'missing', 'missing/below', 'directory/missing']) {
      const target = { path: place.at(name) };
      expect(await bench.engine.unmount({ target }), name).to.equal(0);
      expect(await bench.engine.unmount({ target, all: true, lazy: true }), name).to.equal(0);
    }
  });

  it('takes the top of a stack, or all of it, and says how many', async () => {
    using place = mountPlace();
    for (const name of ['one', 'two', 'three']) await bench.mount(tmpfsNamed(name), place.at('target'));
    const target = { path: place.at('target') };
    expect(await bench.engine.unmount({ target })).to.equal(1);
    expect(mountAt(target.path).source).to.equal('two');
    expect(await bench.engine.unmount({ target, all: true })).to.equal(2);
    expect(await bench.engine.unmount({ target, all: true })).to.equal(0);
  });

  it('takes a whole stack lazily', async () => {
    using place = mountPlace();
    for (const name of ['one', 'two']) await bench.mount(tmpfsNamed(name), place.at('target'));
    const target = { path: place.at('target') };
    expect(await bench.engine.unmount({ target, all: true, lazy: true })).to.equal(2);
    expect(mountsIn(place.path)).to.equal(1);
  });

  it('of one in use fails as busy within the deadline, and the mount stays', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsNamed('used'), place.at('target'));
    const file = openSync(place.at('target/file'), 'w');
    const target = { path: place.at('target') };
    const error = await failureOf(bench.engine.unmount({ target }, { timeoutMs: 700 }), {
      reason: 'busy',
      errno: 'EBUSY',
    });
    expect(error.message).to.contain(`${target.path} is in use`);
    expect(mountAt(target.path).source).to.equal('used');
    closeSync(file);
    expect(await bench.engine.unmount({ target })).to.equal(1);
  });

  it('of one with another mounted below it is busy too', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsNamed('used'), place.at('target'));
    await bench.mount(tmpfsNamed('below'), place.at('target/sub'));
    const target = { path: place.at('target') };
    await failureOf(bench.engine.unmount({ target, all: true }, { timeoutMs: 700 }), { reason: 'busy' });
    expect(mountsIn(target.path)).to.equal(2);
    expect(await bench.unmount(place.at('target/sub'))).to.equal(1);
    expect(await bench.unmount(target.path)).to.equal(1);
  });

  it('succeeds as soon as the last user has gone', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsNamed('used'), place.at('target'));
    const file = openSync(place.at('target/file'), 'w');
    setTimeout(() => closeSync(file), 150);
    expect(
      await bench.engine.unmount({ target: { path: place.at('target') }, remove: 'directory' }),
    ).to.equal(1);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('counts all of a stack, also when it had to wait for the last', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsNamed('used'), place.at('target'));
    const file = openSync(place.at('target/file'), 'w');
    await bench.mount(tmpfsNamed('above'), place.at('target'));
    setTimeout(() => closeSync(file), 150);
    expect(await bench.unmount(place.at('target'))).to.equal(2);
  });

  it('lazily takes away one in use, and its user goes on', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsNamed('used'), place.at('target'));
    const file = openSync(place.at('target/file'), 'w');
    try {
      const target = { path: place.at('target') };
      expect(await bench.engine.unmount({ target, lazy: true, remove: 'directory' })).to.equal(1);
      writeFileSync(file, 'still');
      expect(readdirSync(place.path)).to.deep.equal([]);
    } finally {
      closeSync(file);
    }
  });

  it('never follows a symbolic link as the last component', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsNamed('kept'), place.at('target'));
    symlinkSync('target', place.at('link'));
    const target = { path: place.at('link') };
    expect(await bench.engine.unmount({ target })).to.equal(0);
    expect(await bench.engine.unmount({ target, lazy: true, all: true })).to.equal(0);
    expect(mountAt(place.at('target')).source).to.equal('kept');
    await failureOf(bench.engine.unmount({ target, remove: 'directory' }), { rolledBack: true });
    expect(existsSync(place.at('link'))).to.equal(true);
    await bench.unmount(place.at('target'));
  });

  it('removes the target where asked to, mounted or not, there or not', async () => {
    using place = mountPlace();
    const target = { path: place.at('target') };
    await bench.mount(tmpfsNamed('x'), target.path);
    expect(await bench.engine.unmount({ target, remove: 'directory' })).to.equal(1);
    expect(existsSync(target.path)).to.equal(false);
    writeFiles(place.path, { 'target/': '' });
    expect(await bench.engine.unmount({ target, remove: 'directory' })).to.equal(0);
    expect(await bench.engine.unmount({ target, remove: 'directory' })).to.equal(0);
    writeFiles(place.path, { target: 'a file' });
    expect(await bench.engine.unmount({ target, remove: 'file' })).to.equal(0);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('does not remove a directory with files that are none of its mount', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'target/precious': 'x' });
    await bench.mount(tmpfsNamed('x'), place.at('target'));
    const target = { path: place.at('target') };
    const error = await failureOf(bench.engine.unmount({ target, remove: 'directory' }), {
      reason: 'target-not-empty',
    });
    expect(error.message).to.contain(`target ${target.path}: has files in it that are not ours`);
    expect(readdirSync(target.path)).to.deep.equal(['precious']);
    expect(mountsIn(target.path)).to.equal(0);
  });

  it('does not remove a target on which another mount is left', async () => {
    using place = mountPlace();
    for (const name of ['one', 'two']) await bench.mount(tmpfsNamed(name), place.at('target'));
    const target = { path: place.at('target') };
    await failureOf(bench.engine.unmount({ target, remove: 'directory' }, { timeoutMs: 700 }), {
      reason: 'busy',
    });
    expect(existsSync(target.path)).to.equal(true);
    await bench.unmount(target.path);
  });

  it('takes away a mount whose FUSE server is dead', async function () {
    needTool(this, 'bindfs', 'a FUSE server is killed');
    using place = mountPlace();
    writeFiles(place.path, { 'source/': '', 'target/': '' });
    await using fuse = await fuseMount(place.at('source'), place.at('target'));
    await fuse.die();
    const target = { path: place.at('target') };
    expect(await bench.engine.lookup({ target }))
      .to.have.property('mount')
      .that.includes({ type: 'fuse', target: target.path });
    expect(await bench.engine.unmount({ target, remove: 'directory' })).to.equal(1);
    expect(await bench.engine.lookup({ target })).to.include({ is: 'not' });
    expect(readdirSync(place.path)).to.deep.equal(['source']);
  });
});

describeWithoutLayers('lookup', (bench) => {
  it('finds the top mount at exactly the path', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsNamed('below'), place.at('a b'));
    await bench.mount(tmpfsNamed('top'), place.at('a b'));
    const target = { path: place.at('a b') };
    expect(await bench.engine.lookup({ target })).to.deep.equal({
      is: 'mount-point',
      mount: mountAt(target.path),
    });
    expect(await bench.engine.lookup({ target }))
      .to.have.property('mount')
      .that.includes({ source: 'top', type: 'tmpfs', root: '/' });
    await bench.unmount(target.path);
    expect(await bench.engine.lookup({ target })).to.include({ is: 'not' });
  });

  it('finds nothing at a plain directory, a file, a link to a mount, or nothing, and tells what may be mounted at', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'directory/': '', file: '' });
    symlinkSync('/proc', place.at('link'));
    writeFiles(place.path, { 'full/file': '' });
    const free = ['directory', 'missing', 'missing/below', 'file/below'];
    for (const name of [...free, 'file', 'full', 'link']) {
      const found = await bench.engine.lookup({ target: { path: place.at(name) } });
      expect(found, name).to.deep.equal({ is: 'not', isFree: free.includes(name) });
    }
  });

  it('finds a bind of a directory within the same filesystem, and of a file', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/sub/': '', file: '', onto: '' });
    mountCommand('--bind', place.at('source'), place.at('source/sub'));
    mountCommand('--bind', place.at('file'), place.at('onto'));
    const { root } = mountAt(place.path);
    expect(await bench.engine.lookup({ target: { path: place.at('source/sub') } }))
      .to.have.property('mount')
      .that.includes({ root: join(root, 'source') });
    expect(await bench.engine.lookup({ target: { path: place.at('onto') } }))
      .to.have.property('mount')
      .that.includes({ root: join(root, 'file') });
    unmountCommand(place.at('source/sub'), place.at('onto'));
  });

  it('is not misled by the order of mountinfo: of two mounts at a path the visible one', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/b/': '' });
    mountCommand('-t', 'tmpfs', 'hidden', place.at('a/b'));
    mountCommand('-t', 'tmpfs', 'over', place.at('a'));
    writeFiles(place.path, { 'a/b/': '' });
    expect(await bench.engine.lookup({ target: { path: place.at('a/b') } })).to.include({ is: 'not' });
    unmountCommand(place.at('a'));
    expect(await bench.engine.lookup({ target: { path: place.at('a/b') } }))
      .to.have.property('mount')
      .that.includes({ source: 'hidden' });
    unmountCommand(place.at('a/b'));
  });
});

describeWithoutLayers('usage', (bench) => {
  it('is that of the filesystem, in bytes and files', async () => {
    using place = mountPlace();
    await bench.mount(
      { type: 'tmpfs', source: 'x', options: ['size=1m', 'nr_inodes=50'] },
      place.at('target'),
    );
    writeFileSync(place.at('target/file'), Buffer.alloc(100 * 1024));
    const usage = await bench.engine.usage({ target: { path: place.at('target') } });
    expect(usage.bytes).to.deep.equal({
      total: 1 << 20,
      used: 100 * 1024,
      available: (1 << 20) - 100 * 1024,
    });
    expect(usage.inodes).to.deep.equal({ total: 50, used: 2, available: 48 });
    await bench.unmount(place.at('target'));
  });

  it('agrees with statfs of any directory', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/': '' });
    const { blocks, bsize, files } = statfsSync(place.at('a'));
    const usage = await bench.engine.usage({ target: { path: place.at('a') } });
    expect([usage.bytes.total, usage.inodes?.total]).to.deep.equal([blocks * bsize, files]);
  });

  it('of nothing is an error', async () => {
    using place = mountPlace();
    await failureOf(bench.engine.usage({ target: { path: place.at('missing') } }), { reason: 'bad-target' });
    await failureOf(bench.engine.usage({ target: { path: place.at('missing/x') } }), {
      reason: 'bad-target',
    });
  });
});
