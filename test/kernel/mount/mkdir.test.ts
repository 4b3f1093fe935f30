// A tmpfs with directories in it from the start, read-only or not: a place for another mount.
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { AT_FDCWD, MOUNT_ATTR, MOVE_MOUNT, OPEN_TREE, PROPAGATION } from '../../../src/sys/constants.ts';
import { mountSetattr, moveMount, openTree } from '../../../src/sys/syscalls.ts';
import { createUserNamespace } from '../../../src/userns/create.ts';
import {
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { maskedCalls, needMappedTmpfs, skipMasked } from '../../support/need.ts';
import { codeOf, describeEngines, failureOf, mountAt, SHIFT_UP } from './engines.ts';

const tmpfsOf = (...options: string[]): Mount => ({ type: 'tmpfs', source: 'tmpfs', options });

/** Owner and mode. */
function shape(path: string): string {
  return `${ownerOf(path)} ${(statSync(path).mode & 0o7777).toString(8)}`;
}

describeEngines('mkdir of a tmpfs', (bench) => {
  it('makes directories of the owner of the root, whatever the umask', async () => {
    using place = mountPlace();
    const umask = process.umask(0o077);
    try {
      const options = ['mkdir=data', 'mkdir=b', 'mkdir=data', 'uid=7', 'gid=8', 'mode=2770', 'nosuid'];
      await bench.mount(tmpfsOf(...options), place.at('target'));
    } finally {
      process.umask(umask);
    }
    expect(readdirSync(place.at('target')).toSorted()).to.deep.equal(['b', 'data']);
    expect([shape(place.at('target')), shape(place.at('target/data'))]).to.deep.equal([
      '7:8 2770',
      '7:8 755',
    ]);
    writeFileSync(place.at('target/data/x'), '');
    await bench.unmount(place.at('target'));
  });

  it('comes before read-only, which its superblock is in the end, and its mount is not', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsOf('ro', 'mkdir=data', 'size=1m', 'noexec', 'sync'), place.at('target'));
    const { options, superblockOptions } = mountAt(place.at('target'));
    // A container in a user namespace does not start on a mount that is read-only by itself (test/kernel/runc).
    expect(options).to.include.members(['rw', 'noexec']);
    expect(superblockOptions).to.include.members(['ro', 'sync', 'size=1024k']);
    for (const name of ['target/x', 'target/data/x']) {
      expect(codeOf(() => writeFileSync(place.at(name), ''))).to.equal('EROFS');
    }
    // Not even a mount of it that asks to be writable.
    const bind: Mount = { type: 'bind', source: place.at('target'), options: ['rw'] };
    await bench.mount(bind, place.at('again'));
    expect(codeOf(() => writeFileSync(place.at('again/x'), ''))).to.equal('EROFS');
    for (const name of ['again', 'target']) await bench.unmount(place.at(name));
  });

  it('is idmapped with it', async function () {
    needMappedTmpfs(this);
    using place = mountPlace();
    await bench.mount(tmpfsOf('ro', 'mkdir=data', ...SHIFT_UP), place.at('target'));
    expect(shape(place.at('target/data'))).to.equal('100000:100000 755');
    await bench.unmount(place.at('target'));
  });

  it('gives the next mount of a set its target, read-only as it is', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { file: '' });
    const mounts: Mount[] = [
      tmpfsOf('ro', 'mkdir=data'),
      { type: 'bind', source: place.at('source'), target: 'data', options: [] },
    ];
    await bench.engine.mountAll({ mounts, target: { path: place.at('target') }, create: 'directory' });
    expect(readdirSync(place.at('target/data'))).to.deep.equal(['file']);
    writeFileSync(place.at('target/data/new'), '');
    await bench.engine.unmountRecursive({ target: { path: place.at('target') } });
  });

  it('that fails leaves nothing', async () => {
    using place = mountPlace();
    const error = await failureOf(bench.mount(tmpfsOf('mkdir=data', 'nr_inodes=1'), place.at('target')), {
      reason: 'invalid-mount',
      errno: 'ENOSPC',
      rolledBack: true,
    });
    expect(error.message).to.include('nr_inodes');
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  for (const mount of [
    { type: 'overlay', source: 'o', options: ['lowerdir=/a', 'mkdir=x'] },
    { type: 'bind', source: '/', options: ['mkdir=x'] },
    tmpfsOf('remount', 'mkdir=x'),
  ]) {
    it(`is refused for ${mount.type} ${mount.options.join()}`, async () => {
      using place = mountPlace();
      await failureOf(bench.mount(mount, place.at('target')), { reason: 'invalid-mount', rolledBack: true });
    });
  }
});

/** What a container runtime does to a volume of a pod with a user namespace, as crun and runc do it. */
function runtimeMount(source: string, target: string): void {
  using tree = openTree(
    AT_FDCWD,
    source,
    OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC | OPEN_TREE.AT_RECURSIVE,
  );
  using userns = createUserNamespace({ uid: POD, gid: POD });
  const slave = PROPAGATION.MS_SLAVE;
  mountSetattr(tree, OPEN_TREE.AT_RECURSIVE, { set: 0, clear: 0, propagation: slave, usernsFd: 0 });
  const set = MOUNT_ATTR.MOUNT_ATTR_IDMAP;
  mountSetattr(tree, 0, { set, clear: 0, propagation: 0, usernsFd: userns.number });
  mkdirSync(target);
  moveMount(tree, '', AT_FDCWD, target, MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
}
const POD = [{ container: 0, host: 100_000, size: 65_536 }];

/** An overlay as a pod with that mapping needs it: lower layers mapped, and an upper layer that its root owns. */
function podOverlay(place: TemporaryDirectory, target: string): Mount {
  writeFiles(place.path, { 'lower/file': 'lower', 'upper/': '', 'work/': '' });
  chownSync(place.at('upper'), 100_000, 100_000);
  const [upperdir, workdir] = [`upperdir=${place.at('upper')}`, `workdir=${place.at('work')}`];
  const options = [`lowerdir=${place.at('lower')}`, upperdir, workdir, ...SHIFT_UP];
  return { type: 'overlay', source: 'overlay', target, options };
}

describeEngines('a mount below a tmpfs that a runtime maps', (bench) => {
  before(function () {
    const needed = ['open_tree', 'mount_setattr', 'move_mount'].filter((call) => maskedCalls.includes(call));
    if (needed.length > 0) skipMasked(this, 'a runtime needs them');
    needMappedTmpfs(this);
  });

  const expectNested = (place: TemporaryDirectory): void => {
    // The tmpfs is the pod's, and the overlay as it was made: its lower layers were mapped once, not twice.
    const shown = ['copy', 'copy/data', 'copy/data/file'].map((name) => ownerOf(place.at(name)));
    expect(shown).to.deep.equal(['100000:100000', '100000:100000', '100000:100000']);
    expect(mountAt(place.at('copy')).options).to.include('idmapped');
    expect(mountAt(place.at('copy/data'))).to.have.property('type', 'overlay');
    expect(mountAt(place.at('copy/data')).options).not.to.include('idmapped');
    execFileSync('touch', [place.at('copy/data/new'), place.at('copy/data/file')], {
      uid: 100_000,
      gid: 100_000,
    });
    expect(ownerOf(place.at('upper/new'))).to.equal('100000:100000');
    expect(readFileSync(place.at('upper/file'), 'utf8')).to.equal('lower');
    expect(codeOf(() => writeFileSync(place.at('copy/x'), ''))).to.equal('EROFS');
  };

  it('is left as it is, when it is there before', async () => {
    using place = mountPlace();
    const mounts = [tmpfsOf('ro', 'mkdir=data', 'shared'), podOverlay(place, 'data')];
    await bench.engine.mountAll({ mounts, target: { path: place.at('target') }, create: 'directory' });
    runtimeMount(place.at('target'), place.at('copy'));
    expectNested(place);
    unmountCommand('-R', place.at('copy'));
    await bench.engine.unmountRecursive({ target: { path: place.at('target') } });
  });

  it('arrives in the copy, when it comes after', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsOf('ro', 'mkdir=data', 'shared'), place.at('target'));
    runtimeMount(place.at('target'), place.at('copy'));
    expect(readdirSync(place.at('copy/data'))).to.deep.equal([]);
    const { target: _, ...overlay } = podOverlay(place, 'data');
    await bench.mount(overlay, place.at('target/data'));
    expectNested(place);
    // And it goes there with the one below the tmpfs.
    await bench.engine.unmountRecursive({ target: { path: place.at('target/data') } });
    expect(mountAt(place.at('copy'))).to.have.property('type', 'tmpfs');
    expect(readdirSync(place.at('copy/data'))).to.deep.equal([]);
    unmountCommand(place.at('copy'));
    await bench.engine.unmountRecursive({ target: { path: place.at('target') } });
  });
});
