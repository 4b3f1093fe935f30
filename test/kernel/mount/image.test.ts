// Filesystems in image files.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { type CallOptions, type Engine, localEngine } from '../../../src/mount/engine.ts';
import { MountError } from '../../../src/mount/errors.ts';
import { loopDevicesOf } from '../../../src/mount/loop.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { type MountInfo, readMountinfo } from '../../../src/mount/mountinfo.ts';
import {
  mountCommand,
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  temporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import {
  copyImage,
  embed,
  expectNoLoops,
  garbageFile,
  IMAGE_TYPES,
  IMAGES,
  type ImageType,
  makeImage,
  makeTinyImage,
  sparseFile,
} from '../../support/images.ts';
import { kernelIsBefore } from '../../support/kernel-version.ts';
import { needMappedSquashfs, needRoot } from '../../support/need.ts';
import { scaled } from '../../support/time-scale.ts';

const SHIFT = ['uidmap=0:1000:100', 'gidmap=0:2000:100'];

const imageAt = (source: string, type: string, ...options: string[]): Mount => ({ type, source, options });

function mountedAt(target: string): MountInfo | undefined {
  return readMountinfo().findLast((mount) => mount.target === target);
}

async function failureOf(promise: Promise<unknown>): Promise<MountError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof MountError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

describe('a filesystem image', () => {
  let images: TemporaryDirectory;
  let engine: Engine;
  const made = new Map<ImageType, string>();
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    // Not on a tmpfs: erofs cannot be mounted from a file there, nor is direct I/O what it is on a disk.
    images = temporaryDirectory();
    writeFiles(images.at('content'), { file: 'of the image' });
    engine = localEngine();
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    images?.[Symbol.dispose]();
  });

  /** One image per type, which the tests leave as it is or copy. */
  function image(context: Mocha.Context, type: ImageType): string {
    const path = made.get(type) ?? makeImage(context, type, images.at(type), images.at('content'));
    made.set(type, path);
    return path;
  }
  const mount = (what: Mount, target: string, by = engine, options?: CallOptions) =>
    by.mountAll({ mounts: [what], target: { path: target }, create: 'directory' }, options);
  const unmount = (target: string) => engine.unmount({ target: { path: target }, remove: 'directory' });

  for (const type of IMAGE_TYPES) {
    const { writable } = IMAGES[type];

    it(`of ${type} is mounted, ${writable ? 'written to' : 'read-only by itself'}, and let go`, async function () {
      using place = mountPlace();
      const source = image(this, type);
      await mount(imageAt(source, type, 'loop'), place.at('m'));
      expect(mountedAt(place.at('m'))).to.include({ type });
      const write = () => writeFileSync(place.at('m/written'), 'kept');
      if (writable) write();
      else expect(write).to.throw('EROFS');
      expect(await unmount(place.at('m'))).to.equal(1);
      expectNoLoops(source);
      await mount(imageAt(source, type, 'loop', 'ro'), place.at('m'));
      const name = writable ? 'written' : 'file';
      expect(readFileSync(place.at('m', name), 'utf8')).to.equal(writable ? 'kept' : 'of the image');
      expect(() => writeFileSync(place.at('m/other'), '')).to.throw('EROFS');
      expect(mountedAt(place.at('m'))?.superblockOptions).to.include('ro');
      await unmount(place.at('m'));
      expectNoLoops(source);
    });

    it(`of ${type} is found to be one, with no option at all`, async function () {
      using place = mountPlace();
      const source = image(this, type);
      await mount(imageAt(source, 'auto'), place.at('m'));
      expect(mountedAt(place.at('m'))).to.include({ type });
      await unmount(place.at('m'));
      await mount(imageAt(source, type), place.at('m'));
      expect(mountedAt(place.at('m'))).to.include({ type });
      await unmount(place.at('m'));
    });

    it(`of ${type} is ID-mapped as a whole`, async function () {
      if (type === 'squashfs') needMappedSquashfs(this);
      using place = mountPlace();
      const source = image(this, type);
      await mount(imageAt(source, type, 'loop', ...SHIFT), place.at('m'));
      expect(ownerOf(place.at('m'))).to.equal('1000:2000');
      expect(mountedAt(place.at('m'))?.options).to.include('idmapped');
      if (writable) {
        // Not as root, who has no id on this mount.
        execFileSync('touch', [place.at('m/mine')], { uid: 1000, gid: 2000 });
        chownSync(place.at('m/mine'), 1007, 2007);
      }
      await unmount(place.at('m'));
      await mount(imageAt(source, type, 'loop', 'ro'), place.at('m'));
      expect(ownerOf(place.at('m'))).to.equal('0:0');
      if (writable) expect(ownerOf(place.at('m/mine'))).to.equal('7:7');
      await unmount(place.at('m'));
    });

    it(`of ${type} is mounted from a part of a file, and of that only`, async function () {
      using place = mountPlace();
      const source = image(this, type);
      const { size } = statSync(source);
      sparseFile(place.at('disk'), size + 2 ** 21);
      embed(source, place.at('disk'), 2 ** 20);
      const part = ['loop', 'ro', 'offset=1M', `sizelimit=${size}`];
      for (const as of [type, 'auto']) {
        await mount(imageAt(place.at('disk'), as, ...part), place.at('m'));
        expect(mountedAt(place.at('m'))).to.include({ type });
        expect(mountedAt(place.at('m'))?.source).to.match(/^\/dev\/loop/);
        await unmount(place.at('m'));
      }
    });

    it(`of ${type} in which there is garbage is refused in the words of the kernel`, async function () {
      image(this, type);
      using place = mountPlace();
      const source = garbageFile(place.at('garbage'));
      const error = await failureOf(mount(imageAt(source, type, 'loop'), place.at('m')));
      expect(error).to.include({ reason: 'bad-image', rolledBack: true });
      if (type !== 'btrfs' && type !== 'erofs') expect(error.message).to.match(/loop\d+/);
      expectNoLoops(source);
      expect(readdirSync(place.path)).to.deep.equal(['garbage']);
    });
  }

  it('of erofs needs no loop device on a disk, and gets one on a tmpfs', async function () {
    using place = mountPlace();
    const source = image(this, 'erofs');
    await mount(imageAt(source, 'erofs', 'loop'), place.at('m'));
    if (kernelIsBefore('6.12')) expect(mountedAt(place.at('m'))?.source).to.match(/^\/dev\/loop/);
    else {
      expect(mountedAt(place.at('m'))).to.include({ source });
      expectNoLoops(source);
    }
    await unmount(place.at('m'));
    const copy = copyImage(source, place.at('copy'));
    await mount(imageAt(copy, 'erofs', 'loop'), place.at('m'));
    expect(loopDevicesOf(copy)).to.deep.equal([mountedAt(place.at('m'))?.source]);
    await unmount(place.at('m'));
  });

  it('with direct I/O', async function () {
    using place = mountPlace();
    const source = image(this, 'ext4');
    await mount(imageAt(source, 'ext4', 'loop', 'direct-io'), place.at('m'));
    const device = mountedAt(place.at('m'))?.source.slice(5);
    expect(readFileSync(`/sys/block/${device}/loop/dio`, 'utf8')).to.equal('1\n');
    await unmount(place.at('m'));
  });

  it('of the wrong type is refused with what the kernel says of it', async function () {
    using place = mountPlace();
    const error = await failureOf(
      mount(imageAt(image(this, 'squashfs'), 'ext4', 'loop', 'ro'), place.at('m')),
    );
    expect(error).to.include({ reason: 'bad-image', errno: 'EINVAL' });
    expect(error.message).to.match(/EXT4-fs \(loop\d+\): VFS: Can't find ext4 filesystem/);
  });

  it('that is cut short is refused, and so is an empty one', async function () {
    using place = mountPlace();
    const source = copyImage(image(this, 'ext4'), place.at('short'));
    truncateSync(source, 2 ** 21);
    const error = await failureOf(mount(imageAt(source, 'ext4', 'loop'), place.at('m')));
    expect(error.reason).to.equal('bad-image');
    expect(error.message).to.include('exceeds size of device');
    truncateSync(source, 0);
    for (const type of ['ext4', 'auto']) {
      const { reason } = await failureOf(mount(imageAt(source, type, 'loop'), place.at('m')));
      expect(reason).to.equal('bad-image');
    }
  });

  const unknown: readonly [title: string, write: (path: string) => void, why: RegExp][] = [
    ['garbage', garbageFile, /blkid finds no filesystem/],
    ['nothing', (path) => writeFileSync(path, ''), /blkid finds no filesystem/],
    ['a partition table', partitionTable, /holds a partition table \(dos\).*offset=/],
    ['swap', swapSpace, /holds swap \(other\), not a filesystem/],
  ];
  for (const [title, write, why] of unknown) {
    it(`whose type is to be found, but holds ${title}`, async () => {
      using place = mountPlace();
      write(place.at('image'));
      const error = await failureOf(mount(imageAt(place.at('image'), 'auto'), place.at('m')));
      expect(error).to.include({ reason: 'bad-image', rolledBack: true });
      expect(error.message).to.match(why);
    });
  }

  const missing: readonly [type: string, options: readonly string[]][] = [
    ['ext4', ['loop']],
    ['ext4', []],
    ['erofs', ['loop']],
    ['auto', []],
  ];
  for (const [type, options] of missing) {
    it(`that is not there, as ${[type, ...options]}`, async () => {
      using place = mountPlace();
      const error = await failureOf(mount(imageAt(place.at('none'), type, ...options), place.at('m')));
      expect(error).to.include({ reason: 'source-not-found', rolledBack: true });
    });
  }

  it('of a type that the kernel does not have is not attached at all', async function () {
    using place = mountPlace();
    const error = await failureOf(mount(imageAt(image(this, 'ext4'), 'nosuchfs', 'loop'), place.at('m')));
    expect(error).to.include({ reason: 'kernel-unsupported', errno: 'ENODEV' });
  });

  it('that is a directory, with a word about bind', async () => {
    using place = mountPlace();
    const error = await failureOf(mount(imageAt(place.path, 'auto'), place.at('m')));
    expect(error.message).to.include('bind it');
  });

  it('goes on working when it is deleted, and is let go in the end', async function () {
    using place = mountPlace();
    const source = copyImage(image(this, 'ext4'), place.at('deleted'));
    await mount(imageAt(source, 'ext4', 'loop'), place.at('m'));
    const device = mountedAt(place.at('m'))?.source.slice(5);
    unlinkSync(source);
    writeFileSync(place.at('m/written'), '');
    await engine.unmount({ target: { path: place.at('m') }, image: source });
    expect(() => readFileSync(`/sys/block/${device}/loop/backing_file`)).to.throw('ENOENT');
  });

  it('is refused read-only while it is mounted writable, and the other way round', async function () {
    using place = mountPlace();
    const source = image(this, 'ext4');
    for (const [first, second] of [
      ['rw', 'ro'],
      ['ro', 'rw'],
    ] as const) {
      await mount(imageAt(source, 'ext4', 'loop', first), place.at('m'));
      const error = await failureOf(mount(imageAt(source, 'ext4', 'loop', second), place.at('n')));
      expect(error).to.include({ reason: 'image-in-use', rolledBack: true });
      await unmount(place.at('m'));
    }
  });

  it('whose UUID is mounted already: xfs read-only by itself, writable with nouuid; btrfs by itself', async function () {
    using place = mountPlace();
    for (const type of ['xfs', 'btrfs'] as const) {
      const source = image(this, type);
      const copy = copyImage(source, place.at(type));
      await mount(imageAt(source, type, 'loop'), place.at('m'));
      const again = mount(imageAt(copy, type, 'loop', 'ro'), place.at('n'));
      if (type === 'btrfs' && kernelIsBefore('6.7')) {
        expect(await failureOf(again)).to.include({ reason: 'image-in-use', rolledBack: true });
      } else {
        await again;
        await unmount(place.at('n'));
      }
      if (type === 'xfs') {
        const error = await failureOf(mount(imageAt(copy, type, 'loop'), place.at('n')));
        expect(error).to.include({ reason: 'image-in-use', rolledBack: true });
        expect(error.message).to.match(/duplicate UUID.*add the option nouuid/);
        await mount(imageAt(copy, type, 'loop', 'nouuid'), place.at('n'));
        await unmount(place.at('n'));
      }
      await unmount(place.at('m'));
    }
  });

  const dirty: readonly [type: ImageType, remedy: string][] = [
    ['ext4', 'noload'],
    ['xfs', 'norecovery'],
  ];
  for (const [type, remedy] of dirty) {
    it(`of ${type} that was not unmounted is mounted read-only with ${remedy} only`, async function () {
      using place = mountPlace();
      const source = copyImage(image(this, type), place.at('image'));
      await mount(imageAt(source, type, 'loop'), place.at('m'));
      writeFileSync(place.at('m/unfinished'), '', { flush: true });
      // As it would be found after a power cut.
      const copy = copyImage(source, place.at('copy'));
      await unmount(place.at('m'));
      const error = await failureOf(mount(imageAt(copy, type, 'loop', 'ro'), place.at('m')));
      expect(error).to.include({ reason: 'not-writable', rolledBack: true });
      expect(error.message).to.include(`add the option ${remedy}`);
      await mount(imageAt(copy, type, 'loop', 'ro', remedy), place.at('m'));
      await unmount(place.at('m'));
    });
  }

  it('that a mount namespace keeps is not let go: the unmount says so, and says it again', async function () {
    using place = mountPlace();
    writeFiles(place.path, { 'memory/': '', 'bound/': '' });
    mountCommand('-t', 'tmpfs', 'memory', place.at('memory'));
    const source = image(this, 'btrfs');
    for (const [type, path] of [
      ['ext4', image(this, 'ext4')],
      ['btrfs', source],
    ] as const) {
      await mount(imageAt(path, type, 'loop'), place.at('m'));
      // Is not the device, whatever it is called.
      const name = basename(loopDevicesOf(path)[0] ?? '');
      mkdirSync(place.at('memory', name), { recursive: true });
      mountCommand('--bind', place.at('memory', name), place.at('bound'));
      const keeper = spawn('unshare', ['--mount', '--propagation', 'private', 'sleep', '600'], {
        stdio: 'ignore',
      });
      const ended = once(keeper, 'exit');
      while (namespaceOf(keeper.pid) === namespaceOf(process.pid)) await sleep(5);
      while (!readFileSync(`/proc/${keeper.pid}/comm`, 'utf8').startsWith('sleep')) await sleep(5);
      try {
        for (let tries = 0; tries < 2; tries++) {
          const error = await failureOf(engine.unmount({ target: { path: place.at('m') }, image: path }));
          expect(error).to.include({ reason: 'busy', rolledBack: false });
          expect(error.message).to.include(`mount namespace of process ${keeper.pid}`);
          expect(mountedAt(place.at('m'))).to.equal(undefined);
        }
      } finally {
        keeper.kill('SIGKILL');
        await ended;
      }
      expect(await engine.unmount({ target: { path: place.at('m') }, image: path })).to.equal(0);
      expectNoLoops(path);
      unmountCommand(place.at('bound'));
    }
    unmountCommand(place.at('memory'));
  });

  it('that is mounted twice is let go with the second', async function () {
    using place = mountPlace();
    const source = image(this, 'ext4');
    await mount(imageAt(source, 'ext4', 'loop'), place.at('m'));
    await mount(imageAt(source, 'ext4', 'loop'), place.at('n'));
    expect(mountedAt(place.at('m'))?.source).to.equal(mountedAt(place.at('n'))?.source);
    await engine.unmount({ target: { path: place.at('m') }, image: source });
    expect(loopDevicesOf(source)).to.have.length(1);
    await engine.unmount({ target: { path: place.at('n') }, image: source });
    expectNoLoops(source);
  });

  it('in 200 copies at once: each has its device, and none is left', async function () {
    using place = mountPlace();
    const template = makeTinyImage(this, images.at('tiny'));
    const names = Array.from({ length: 200 }, (_, i) => String(i));
    mkdirSync(place.at('images'));
    for (const name of names) copyImage(template, place.at('images', name));
    await using four = processEngine({ processes: 4 });
    // The last waits for all others.
    const options = { timeoutMs: scaled(60_000) };
    const since = performance.now();
    await Promise.all(
      names.map((name) =>
        mount(imageAt(place.at('images', name), 'ext4', 'loop'), place.at(name), four, options),
      ),
    );
    const mounted = performance.now();
    const devices = names.map((name) => mountedAt(place.at(name))?.source);
    expect(new Set(devices).size).to.equal(200);
    await Promise.all(
      names.map((name) =>
        four.unmount(
          { target: { path: place.at(name) }, image: place.at('images', name), remove: 'directory' },
          options,
        ),
      ),
    );
    const unmounted = performance.now();
    console.log(
      `      200 mounted in ${Math.round(mounted - since)} ms, unmounted in ${Math.round(unmounted - mounted)} ms`,
    );
    for (const name of names) expectNoLoops(place.at('images', name));
  });

  it('for 20 callers at once has one device', async function () {
    using place = mountPlace();
    const source = image(this, 'ext4');
    const targets = Array.from({ length: 20 }, (_, i) => place.at(String(i)));
    await using four = processEngine({ processes: 4 });
    for (let round = 0; round < 3; round++) {
      await Promise.all(targets.map((target) => mount(imageAt(source, 'ext4', 'loop'), target, four)));
      expect(new Set(targets.map((target) => mountedAt(target)?.source)).size).to.equal(1);
      expect(loopDevicesOf(source)).to.have.length(1);
      await Promise.all(targets.map((target) => four.unmount({ target: { path: target }, image: source })));
      expectNoLoops(source);
    }
  });
});

const namespaceOf = (pid: number | undefined): string => readlinkSync(`/proc/${pid}/ns/mnt`);

function partitionTable(path: string): void {
  const sector = Buffer.alloc(2 ** 20);
  // One Linux partition from sector 8 on, and the signature.
  sector.set([0, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0, 4, 0, 0], 446);
  sector.set([0x55, 0xaa], 510);
  writeFileSync(path, sector);
}

function swapSpace(path: string): void {
  const pages = Buffer.alloc(10 * 4096);
  pages.writeUInt32LE(1, 1024);
  pages.writeUInt32LE(9, 1028);
  pages.write('SWAPSPACE2', 4096 - 10);
  writeFileSync(path, pages);
}
