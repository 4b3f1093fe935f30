// Images that are made where there are none.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { type Engine, localEngine } from '../../../src/mount/engine.ts';
import type { MadeFilesystem } from '../../../src/mount/image/make.ts';
import { LOCK } from '../../../src/sys/constants.ts';
import { Fd } from '../../../src/sys/fd.ts';
import { flock } from '../../../src/sys/syscalls.ts';
import { mountPlace, ownerOf, temporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { injecting } from '../../support/strace.ts';
import { describeEngines, failureOf } from './engines.ts';
import { allGone, scripts } from './helpers.ts';

const MIB = 2 ** 20;
/** How much each takes at least, and what says that nothing is wrong with it. */
const FILESYSTEMS: Readonly<Record<MadeFilesystem, { smallest: number; check: readonly string[] }>> = {
  ext4: { smallest: 2 * MIB, check: ['e2fsck', '-fn'] },
  xfs: { smallest: 300 * MIB, check: ['xfs_repair', '-n'] },
  btrfs: { smallest: 109 * MIB, check: ['btrfs', 'check'] },
};
const filesystems = Object.entries(FILESYSTEMS) as [MadeFilesystem, (typeof FILESYSTEMS)['ext4']][];

const ROOT = { uid: 1000, gid: 2000, mode: 0o2775 };

const makeFixture = fileURLToPath(new URL('./make-image.fixture.ts', import.meta.url));

describeEngines('an image that is made', (bench) => {
  for (const [filesystem, { smallest, check }] of filesystems) {
    it(`has an ${filesystem} that is whole and can be written, and takes little space`, async function () {
      needTool(this, `mkfs.${filesystem}`, 'the engine makes images with it');
      using place = temporaryDirectory();
      const path = place.at('image');
      const result = await bench.engine.makeImage({ path, bytes: smallest + 1, filesystem });
      expect(result).to.deep.equal({ made: true });
      const { size, blocks, mode } = statSync(path);
      expect({ size, mode: mode & 0o777 }).to.deep.equal({ size: smallest + 4096, mode: 0o600 });
      expect(blocks * 512).to.be.lessThan(80 * MIB);
      expect(readdirSync(place.path)).to.deep.equal(['image']);
      const [program = '', ...args] = check;
      execFileSync(program, [...args, path], { stdio: 'ignore' });
      await bench.mount({ type: filesystem, source: path, options: ['loop'] }, place.at('target'));
      expect(ownerOf(place.at('target'))).to.equal('0:0');
      writeFiles(place.at('target'), { file: 'written' });
      await bench.unmount(place.at('target'));
    });
  }

  it('has a root of the owner and mode asked for, where mounts need not be seen', async function () {
    needTool(this, 'mkfs.ext4', 'the engine makes images with it');
    using place = temporaryDirectory();
    const request = { path: place.at('image'), bytes: 8 * MIB, filesystem: 'ext4', root: ROOT } as const;
    if (bench.tier === 'host') {
      await failureOf(bench.engine.makeImage(request), { reason: 'kernel-unsupported', rolledBack: true });
      expect(readdirSync(place.path)).to.deep.equal([]);
      return;
    }
    expect(await bench.engine.makeImage(request)).to.deep.equal({ made: true });
    await bench.mount({ type: 'ext4', source: place.at('image'), options: ['loop'] }, place.at('target'));
    expect(ownerOf(place.at('target'))).to.equal('1000:2000');
    expect(statSync(place.at('target')).mode & 0o7777).to.equal(0o2775);
    await bench.unmount(place.at('target'));
  });
});

describe('making an image', () => {
  let engine: Engine;
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    needTool(this, 'mkfs.ext4', 'images are made with it');
    engine = localEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const ext4 = (path: string) => ({ path, bytes: 8 * MIB, filesystem: 'ext4' }) as const;

  for (const [filesystem, { check, smallest }] of filesystems) {
    it(`gives the root of ${filesystem} its owner, and leaves it clean`, async function () {
      needTool(this, `mkfs.${filesystem}`, 'images are made with it');
      using place = temporaryDirectory();
      const path = place.at('image');
      await engine.makeImage({ path, bytes: smallest, filesystem, root: ROOT });
      const [program = '', ...args] = check;
      execFileSync(program, [...args, path], { stdio: 'ignore' });
      const target = place.at('target');
      await engine.mountAll({
        mounts: [{ type: filesystem, source: path, options: ['loop', 'ro'] }],
        target: { path: target },
        create: 'directory',
      });
      expect([ownerOf(target), statSync(target).mode & 0o7777]).to.deep.equal(['1000:2000', 0o2775]);
      await engine.unmount({ target: { path: target } });
    });

    it(`refuses a size that is too small for ${filesystem}, and names the smallest`, async () => {
      using place = temporaryDirectory();
      const request = { path: place.at('image'), bytes: smallest - 1, filesystem };
      const { message } = await failureOf(engine.makeImage(request), {
        reason: 'invalid-mount',
        rolledBack: true,
      });
      expect(message).to.include(String(smallest));
      expect(readdirSync(place.path)).to.deep.equal([]);
    });
  }

  it('is not led astray by a mount whose source is called as a descriptor', function () {
    needTool(this, 'unshare', 'a mount namespace for that mount');
    using place = temporaryDirectory();
    writeFiles(place.path, { 'seen/': '' });
    const mounts = [3, 4, 5].map((fd) => `mount -t tmpfs /proc/self/fd/${fd} ${place.at('seen')}`);
    for (const [filesystem, { smallest }] of filesystems) {
      const make = [process.execPath, makeFixture, place.at(filesystem), filesystem, smallest];
      execFileSync('unshare', ['--mount', 'sh', '-c', [...mounts, `exec ${make.join(' ')}`].join(' && ')]);
    }
  });

  it('leaves what is there as it is, whatever it is', async () => {
    using place = temporaryDirectory();
    writeFiles(place.path, { file: 'of somebody', 'directory/': '' });
    symlinkSync('nowhere', place.at('link'));
    for (const name of ['file', 'directory', 'link']) {
      expect(await engine.makeImage(ext4(place.at(name)))).to.deep.equal({ made: false });
    }
    expect(readFileSync(place.at('file'), 'utf8')).to.equal('of somebody');
    expect(readdirSync(place.path)).to.have.members(['file', 'directory', 'link']);
  });

  it('is done once, by however many at the same time', async () => {
    using place = temporaryDirectory();
    await using processes = processEngine({ processes: 4 });
    const results = await Promise.all(
      Array.from({ length: 8 }, () => processes.makeImage(ext4(place.at('image')))),
    );
    expect(results.filter(({ made }) => made)).to.have.length(1);
    expect(readdirSync(place.path)).to.deep.equal(['image']);
    execFileSync('e2fsck', ['-fn', place.at('image')], { stdio: 'ignore' });
  });

  it('removes what a dead one left, and not what another is making, nor what is called otherwise', async () => {
    using place = temporaryDirectory();
    const [dead, living] = ['.image.0123456789ab.new', '.image.ba9876543210.new'];
    const others = ['.image.0123456789ab.new.gz', '.image2.0123456789ab.new', '.image.new', 'image.new'];
    writeFiles(place.path, { [dead]: '', [living]: '' });
    writeFiles(place.path, Object.fromEntries(others.map((name) => [name, ''])));
    const no = (digit: string) => `.image.00000000000${digit}.new`;
    mkdirSync(place.at(no('a')));
    symlinkSync('image.new', place.at(no('b')));
    // Of a device that is not there: opening it fails.
    execFileSync('mknod', [place.at(no('c')), 'c', '10', '5']);
    execFileSync('mkfifo', [place.at(no('d'))]);
    const stay = [living, ...others, ...['a', 'b', 'c', 'd'].map(no)];
    const number = openSync(place.at(living), 'r+');
    try {
      const held = new Fd(number);
      flock(held, LOCK.LOCK_EX);
      held.release();
      await engine.makeImage(ext4(place.at('image')));
      expect(readdirSync(place.path)).to.have.members(['image', ...stay]);
    } finally {
      closeSync(number);
    }
  });

  it('does not fail for a name that the image does not have any more', function () {
    needTool(this, 'strace', 'it makes system calls fail');
    using place = temporaryDirectory();
    const inject = injecting('unlinkat', 'error=EPERM');
    const made = spawnSync('strace', [...inject, process.execPath, makeFixture, place.at('image')]);
    expect(made.status, made.stderr.toString()).to.equal(0);
    expect(readdirSync(place.path)).to.deep.equal(['image']);
  });

  it('leaves nothing when the disk is full', async () => {
    using place = mountPlace();
    const target = place.at('small');
    await engine.mountAll({
      mounts: [{ type: 'tmpfs', source: 'tmpfs', options: ['size=256k'] }],
      target: { path: target },
      create: 'directory',
    });
    const path = `${target}/image`;
    const request = { path, bytes: 64 * MIB, filesystem: 'ext4', root: ROOT } as const;
    await failureOf(engine.makeImage(request), { rolledBack: true });
    expect(readdirSync(target)).to.deep.equal([]);
    await engine.unmount({ target: { path: target } });
  });

  it('leaves nothing when mkfs fails, and says its last words', async () => {
    using place = temporaryDirectory();
    const programs = scripts(place, { 'mkfs.ext4': 'echo the disk is made of cheese >&2; exit 3' });
    const request = { ...ext4(place.at('image')), programs };
    const { message } = await failureOf(engine.makeImage(request), {
      reason: 'program-failed',
      rolledBack: true,
    });
    expect(message).to.include('mkfs.ext4 ended with status 3: the disk is made of cheese');
    expect(readdirSync(place.path)).to.deep.equal(['programs']);
  });

  it('ends a mkfs that takes too long', async () => {
    using place = temporaryDirectory();
    const programs = { ...scripts(place, { 'mkfs.ext4': `exec sleep 4711` }), timeoutMs: 200 };
    const request = { ...ext4(place.at('image')), programs };
    await failureOf(engine.makeImage(request), { reason: 'timeout', rolledBack: true });
    await allGone('4711');
    expect(readdirSync(place.path)).to.deep.equal(['programs']);
  });

  const wrong: readonly [title: string, change: object, reason: string][] = [
    ['a directory that is not there', { path: '/nowhere/image' }, 'source-not-found'],
    ['a program that is not there', { programs: { directories: ['/proc'] } }, 'program-missing'],
    ['a filesystem that is not made', { filesystem: 'squashfs' }, 'invalid-mount'],
    ['a path that names no file', { path: '/tmp/..' }, 'invalid-mount'],
    ['a name that is too long', { path: `/tmp/${'n'.repeat(240)}` }, 'invalid-mount'],
    ['an owner that is none', { root: { ...ROOT, uid: -1 } }, 'invalid-mount'],
    ['a mode that is none', { root: { ...ROOT, mode: 0o100755 } }, 'invalid-mount'],
  ];
  for (const [title, change, reason] of wrong) {
    it(`is refused: ${title}`, async () => {
      using place = temporaryDirectory();
      const request = { ...ext4(place.at('image')), ...change };
      await failureOf(engine.makeImage(request), { rolledBack: true, reason: reason as 'invalid-mount' });
      expect(readdirSync(place.path)).to.deep.equal([]);
    });
  }
});

describe('a process that makes an image and is killed', () => {
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    needTool(this, 'strace', 'it kills the process at a system call');
    needTool(this, 'mkfs.ext4', 'images are made with it');
  });

  const calls = [
    ...['flock', 'ftruncate', 'execve', 'fsopen', 'fsconfig', 'fsmount', 'fchown', 'fchmod'],
    ...['fsync', 'renameat2'],
  ];
  for (const call of calls) {
    it(`at ${call} leaves the whole image, or what the next call removes`, async () => {
      await using engine = localEngine();
      let kills = 0;
      for (let nth = 1; ; nth++) {
        using place = temporaryDirectory();
        const path = place.at('image');
        const strace = injecting(call, `signal=SIGKILL:when=${nth}`);
        const { status } = spawnSync('strace', [...strace, process.execPath, makeFixture, path]);
        const left = readdirSync(place.path);
        if (status === 0) {
          expect(left).to.deep.equal(['image']);
          break;
        }
        kills++;
        const others = left.filter((name) => !/^\.image\.[0-9a-f]{12}\.new$/.test(name));
        expect(others).to.deep.equal(left.includes('image') ? ['image'] : []);
        const { made } = await engine.makeImage({ path, bytes: 8 * MIB, filesystem: 'ext4', root: ROOT });
        expect(made).to.equal(!left.includes('image'));
        expect(readdirSync(place.path)).to.deep.equal(['image']);
        execFileSync('e2fsck', ['-fn', path], { stdio: 'ignore' });
      }
      expect(kills).to.be.greaterThan(0);
    });
  }
});
