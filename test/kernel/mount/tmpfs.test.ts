// A filesystem of its own: tmpfs, and what any type shares with it.
import { execFileSync } from 'node:child_process';
import { readdirSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountPlace, ownerOf, temporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { needFile, needMappedTmpfs, needTool } from '../../support/need.ts';
import { codeOf, describeEngines, failureOf, mountAt, SHIFT_UP, spoken } from './engines.ts';

const tmpfsOf = (...options: string[]): Mount => ({ type: 'tmpfs', source: 'tmpfs', options });

describeEngines('a tmpfs', (bench) => {
  it('has the size and mode asked for', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsOf('size=1m', 'mode=0751', 'nr_inodes=100'), place.at('target'));
    const { blocks, bsize, files } = statfsSync(place.at('target'));
    expect([blocks * bsize, files]).to.deep.equal([1 << 20, 100]);
    expect(statSync(place.at('target')).mode & 0o7777).to.equal(0o751);
    expect(codeOf(() => writeFileSync(place.at('target/big'), Buffer.alloc(2 << 20)))).to.equal('ENOSPC');
    await bench.unmount(place.at('target'));
  });

  it('read-only is so in its superblock too, where no bind of it can be written', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsOf('ro'), place.at('target'));
    expect(codeOf(() => writeFileSync(place.at('target/x'), ''))).to.equal('EROFS');
    expect(mountAt(place.at('target')).superblockOptions).to.include('ro');
    const bind: Mount = { type: 'bind', source: place.at('target'), options: ['rw'] };
    await bench.mount(bind, place.at('again'));
    expect(codeOf(() => writeFileSync(place.at('again/x'), ''))).to.equal('EROFS');
    await bench.unmount(place.at('again'));
    await bench.unmount(place.at('target'));
  });

  it('takes flags of the superblock and of the mount, each to its own', async () => {
    using place = mountPlace();
    await bench.mount(tmpfsOf('sync', 'dirsync', 'lazytime', 'nodev', 'noexec'), place.at('target'));
    const { options, superblockOptions, source } = mountAt(place.at('target'));
    expect(superblockOptions).to.include.members(['sync', 'dirsync', 'lazytime']);
    expect(options).to.include.members(['rw', 'nodev', 'noexec', 'relatime']);
    expect(source).to.equal('tmpfs');
    await bench.unmount(place.at('target'));
  });

  it('idmapped shows its root mapped, and takes files of the mapped ids', async function () {
    needMappedTmpfs(this);
    using place = mountPlace();
    await bench.mount(tmpfsOf('mode=0777', ...SHIFT_UP), place.at('target'));
    expect(ownerOf(place.at('target'))).to.equal('100000:100000');
    execFileSync('touch', [place.at('target/made')], { uid: 100_005, gid: 100_006 });
    expect(ownerOf(place.at('target/made'))).to.equal('100005:100006');
    expect(mountAt(place.at('target')).options).to.include('idmapped');
    // The host's root has no id there.
    expect(codeOf(() => writeFileSync(place.at('target/root'), ''))).to.equal('EOVERFLOW');
    await bench.unmount(place.at('target'));
  });

  it('takes a list of memory nodes, commas and all', async function () {
    needFile(this, '/sys/devices/system/node', 'the kernel knows no memory nodes');
    using place = mountPlace();
    await bench.mount(tmpfsOf('mpol=bind:0,0', 'size=1m'), place.at('target'));
    expect(mountAt(place.at('target')).superblockOptions).to.include.members(['mpol=bind:0', 'size=1024k']);
    await bench.unmount(place.at('target'));
  });

  it('is a new one each time', async () => {
    using place = mountPlace();
    const mount = Object.freeze(tmpfsOf('size=1m'));
    await bench.mount(mount, place.at('a'));
    writeFileSync(place.at('a/x'), '');
    await bench.mount(mount, place.at('b'));
    expect(readdirSync(place.at('b'))).to.deep.equal([]);
    expect([await bench.unmount(place.at('a')), await bench.unmount(place.at('b'))]).to.deep.equal([1, 1]);
  });

  // mount(2) answers with an errno and no words; and its data is not limited to 255 bytes a value.
  const noWords = /tmpfs does not take one of the options/;
  const refused: readonly [title: string, options: readonly string[], modern: RegExp, classic?: RegExp][] = [
    ['an unknown option', ['nonsense=1'], /nonsense.*: tmpfs: Unknown parameter 'nonsense'/, noWords],
    [
      'a value that cannot be',
      ['size=much'],
      /"size", "much".*= EINVAL: tmpfs: Bad value for 'size'/,
      noWords,
    ],
    ['a value that is too long', [`size=${'1'.repeat(300)}`], /= EINVAL/],
  ];
  for (const [title, options, modern, classic] of refused) {
    const message = spoken(bench) ? modern : classic;
    if (message === undefined) continue;
    it(`with ${title} is refused with the kernel's words`, async () => {
      using place = mountPlace();
      const error = await failureOf(bench.mount(tmpfsOf(...options), place.at('target')), {
        reason: 'invalid-mount',
        rolledBack: true,
        errno: 'EINVAL',
      });
      expect(error.message).to.match(message);
      expect(readdirSync(place.path)).to.deep.equal([]);
    });
  }

  it('of a type that the kernel does not have is refused as such', async () => {
    using place = mountPlace();
    const mount: Mount = { type: 'nosuchfs', source: 'x', options: [] };
    const error = await failureOf(bench.mount(mount, place.at('target')), {
      reason: 'kernel-unsupported',
      rolledBack: true,
      errno: 'ENODEV',
    });
    expect(error.message).to.contain('this kernel has no filesystem nosuchfs');
  });
});

describeEngines('any other filesystem', (bench) => {
  it('is mounted from its file: erofs', async function () {
    needTool(this, 'mkfs.erofs', 'the image is made with it');
    using place = mountPlace();
    // On a disk: the kernel does not mount an image that is on a tmpfs without a loop device.
    using disk = temporaryDirectory();
    writeFiles(disk.at('content'), { file: { uid: 7, gid: 8 } });
    execFileSync('mkfs.erofs', [disk.at('image'), disk.at('content')], { stdio: 'ignore' });
    const mount: Mount = { type: 'erofs', source: disk.at('image'), options: ['ro', ...SHIFT_UP] };
    await bench.mount(mount, place.at('target'));
    expect(ownerOf(place.at('target/file'))).to.equal('100007:100008');
    await bench.unmount(place.at('target'));
  });

  it('of nothing is mounted by its type: proc', async () => {
    using place = mountPlace();
    await bench.mount({ type: 'proc', source: 'proc', options: ['nosuid'] }, place.at('target'));
    expect(readdirSync(place.at('target'))).to.include('self');
    await bench.unmount(place.at('target'));
  });
});
