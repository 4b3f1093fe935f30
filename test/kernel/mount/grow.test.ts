// What is mounted made larger while it is in use.
import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync, statSync, truncateSync } from 'node:fs';
import { expect } from 'chai';
import type { MadeFilesystem } from '../../../src/mount/image/make.ts';
import { attachLoop, detachLoop } from '../../../src/mount/loop.ts';
import { AT_FDCWD, CAP_SYS_RESOURCE, O, RESIZE } from '../../../src/sys/constants.ts';
import { openat, resizeIoctl } from '../../../src/sys/syscalls.ts';
import {
  mountPlace,
  PLACE_TYPE,
  type TemporaryDirectory,
  temporaryDirectory,
  writeFiles,
} from '../../support/fixtures.ts';
import { copyImage, makeImage, sparseFile } from '../../support/images.ts';
import { hasCapability, needCapability, needTool } from '../../support/need.ts';
import { type Bench, describeEngines, failureOf } from './engines.ts';

const MIB = 2 ** 20;
/** From the smallest sizes that are made, to what the kernel takes. */
const SIZES: Readonly<Record<MadeFilesystem, readonly [from: number, to: number]>> = {
  ext4: [16 * MIB, 48 * MIB],
  xfs: [300 * MIB, 400 * MIB],
  btrfs: [128 * MIB, 300 * MIB],
};

describeEngines('growing', (bench) => {
  for (const [type, [from, to]] of Object.entries(SIZES) as [MadeFilesystem, readonly [number, number]][]) {
    it(`${type} makes the image, the device and the filesystem larger, once`, async function () {
      if (type === 'ext4') needCapability(this, CAP_SYS_RESOURCE, 'the kernel wants it of who resizes ext4');
      using mounted = await mountedImage(this, bench, type, from);
      const { image, target } = mounted;
      writeFiles(target.path, { file: 'there before' });
      const before = sizeOf(target.path);
      expect(await bench.engine.grow({ target, bytes: to, image })).to.deep.equal({ bytes: to });
      expect(statSync(image).size).to.equal(to);
      const after = sizeOf(target.path);
      expect(after - before).to.be.greaterThan(0.9 * (to - from));
      expect(readFileSync(`${target.path}/file`, 'utf8')).to.equal('there before');
      // Large enough: by its own name of the file, and for less.
      expect(await bench.engine.grow({ target, bytes: to })).to.deep.equal({ bytes: to });
      expect(await bench.engine.grow({ target, bytes: from, image })).to.deep.equal({ bytes: to });
      expect([statSync(image).size, sizeOf(target.path)]).to.deep.equal([to, after]);
      await mounted.unmount();
      // And it is still one that can be mounted.
      await bench.mount({ type, source: image, options: ['loop'] }, target.path);
      expect(readFileSync(`${target.path}/file`, 'utf8')).to.equal('there before');
      expect(sizeOf(target.path)).to.equal(after);
      await bench.engine.unmount({ target, image });
    });
  }

  if (!hasCapability(CAP_SYS_RESOURCE)) {
    it('ext4 without the capability that it takes is refused before anything has changed', async function () {
      using mounted = await mountedImage(this, bench, 'ext4', 16 * MIB);
      const { image, target } = mounted;
      const { message } = await failureOf(bench.engine.grow({ target, bytes: 48 * MIB, image }), {
        reason: 'not-permitted',
        rolledBack: true,
      });
      expect(message).to.include('CAP_SYS_RESOURCE');
      expect(statSync(image).size).to.equal(16 * MIB);
      // That the kernel would say the same: it knows the call, and refuses it.
      expect(() => resizeExt4(target.path)).to.throw('EPERM');
      await mounted.unmount();
    });
  }

  it('goes on where a call was cut short: the file has grown, the device has not', async function () {
    using mounted = await mountedImage(this, bench, 'xfs', 300 * MIB);
    const { image, target } = mounted;
    truncateSync(image, 350 * MIB);
    const before = sizeOf(target.path);
    expect(await bench.engine.grow({ target, bytes: 320 * MIB, image })).to.deep.equal({ bytes: 350 * MIB });
    expect(sizeOf(target.path) - before).to.be.greaterThan(40 * MIB);
    await mounted.unmount();
  });

  it('reaches every view of the filesystem, by any of them', async function () {
    using mounted = await mountedImage(this, bench, 'xfs', 300 * MIB);
    const { image, target } = mounted;
    const view = `${target.path}-view`;
    await bench.mount({ type: 'bind', source: target.path, options: [] }, view);
    const before = sizeOf(target.path);
    await bench.engine.grow({ target: { path: view }, bytes: 400 * MIB, image });
    expect(sizeOf(target.path) - before).to.be.greaterThan(90 * MIB);
    await bench.unmount(view);
    await mounted.unmount();
  });

  it('by many at the same time ends at the largest size', async function () {
    using mounted = await mountedImage(this, bench, 'xfs', 300 * MIB);
    const { image, target } = mounted;
    const sizes = [340, 400, 320, 380].map((size) => size * MIB);
    const results = await Promise.allSettled(
      sizes.map((bytes) => bench.engine.grow({ target, bytes, image })),
    );
    // xfs lets one resize at a time: the others may be told to come again.
    for (const one of results) {
      if (one.status === 'rejected') expect(one.reason).to.include({ reason: 'busy' });
    }
    expect(await bench.engine.grow({ target, bytes: 400 * MIB, image })).to.deep.equal({ bytes: 400 * MIB });
    expect(statSync(image).size).to.equal(400 * MIB);
    await mounted.unmount();
  });

  it('a device that is shown without a filesystem grows with its file', async () => {
    using place = temporaryDirectory();
    const [image, target] = [place.at('image'), { path: place.at('target') }];
    sparseFile(image, MIB);
    await bench.engine.attachDevice({ image, target, readOnly: false, create: true });
    expect(await bench.engine.grow({ target, bytes: 3 * MIB + 1 })).to.deep.equal({ bytes: 3 * MIB + 4096 });
    expect(readFileSync(target.path)).to.have.length(3 * MIB + 4096);
    expect(await bench.engine.grow({ target, bytes: MIB, image })).to.deep.equal({ bytes: 3 * MIB + 4096 });
    await bench.engine.unmount({ target, image });
  });

  it('a filesystem on a disk grows as far as its disk has grown, and no further', async function () {
    needTool(this, 'addpart', 'a partition stands for the disk');
    using place = temporaryDirectory();
    sparseFile(place.at('disk'), 410 * MIB);
    using attached = new DisposableStack();
    const whole = attachLoop(place.at('disk'), { autoclear: false });
    attached.defer(() => detachLoop(whole.number, whole.image));
    whole[Symbol.dispose]();
    const sectors = (mebibytes: number) => String((mebibytes * MIB) / 512);
    execFileSync('addpart', [whole.path, '1', '2048', sectors(300)]);
    attached.defer(() => execFileSync('delpart', [whole.path, '1']));
    const disk = `${whole.path}p1`;
    const target = { path: place.at('target') };
    execFileSync('mkfs.xfs', ['-q', disk]);
    await bench.mount({ type: 'xfs', source: disk, options: [] }, target.path);
    const grow = (bytes: number, image = disk) => bench.engine.grow({ target, bytes, image });
    const refused = { reason: 'cannot-grow', rolledBack: true } as const;
    const { message } = await failureOf(grow(400 * MIB), refused);
    expect(message).to.include(`has ${300 * MIB} bytes, ${400 * MIB} are asked for`);
    expect(await grow(300 * MIB)).to.deep.equal({ bytes: 300 * MIB });
    execFileSync('resizepart', [whole.path, '1', sectors(400)]);
    await failureOf(grow(400 * MIB, whole.path), refused);
    const before = sizeOf(target.path);
    expect(await grow(400 * MIB)).to.deep.equal({ bytes: 400 * MIB });
    expect(sizeOf(target.path) - before).to.be.greaterThan(90 * MIB);
    await bench.unmount(target.path);
  });

  it('is refused with the image of another', async function () {
    using mounted = await mountedImage(this, bench, 'xfs', 300 * MIB);
    const { image, target } = mounted;
    const other = copyImage(image, `${image}-other`);
    await failureOf(bench.engine.grow({ target, bytes: 400 * MIB, image: other }), {
      reason: 'cannot-grow',
      rolledBack: true,
    });
    expect([statSync(image).size, statSync(other).size]).to.deep.equal([300 * MIB, 300 * MIB]);
    await mounted.unmount();
  });

  it('is refused for a btrfs to less than the kernel takes, unless it is as large', async function () {
    using mounted = await mountedImage(this, bench, 'btrfs', 128 * MIB);
    const { image, target } = mounted;
    const { message } = await failureOf(bench.engine.grow({ target, bytes: 200 * MIB, image }), {
      reason: 'cannot-grow',
      rolledBack: true,
    });
    expect(message).to.include('256 MiB');
    expect(statSync(image).size).to.equal(128 * MIB);
    expect(await bench.engine.grow({ target, bytes: 100 * MIB, image })).to.deep.equal({ bytes: 128 * MIB });
    await mounted.unmount();
  });

  it('is refused for what cannot grow, with the reason why', async function () {
    using place = mountPlace();
    writeFiles(place.path, { 'source/file': '', 'directory/': '', file: '' });
    const refused = async (path: string, why: RegExp) => {
      const target = { path: place.at(path) };
      const { message } = await failureOf(bench.engine.grow({ target, bytes: MIB }), {
        reason: 'cannot-grow',
        rolledBack: true,
      });
      expect(message).to.match(why);
    };
    await bench.mount({ type: 'tmpfs', source: 'tmpfs', options: ['size=64k'] }, place.at('tmpfs'));
    await refused('tmpfs', /size=/);
    await bench.mount({ type: 'bind', source: place.at('source'), options: [] }, place.at('bind'));
    await refused('bind', new RegExp(PLACE_TYPE));
    const options = [`lowerdir=${place.at('source')}`];
    await bench.mount({ type: 'overlay', source: 'overlay', options }, place.at('overlay'));
    await refused('overlay', /upperdir/);
    const image = makeImage(this, 'squashfs', place.at('squashfs'), place.at('source'));
    await bench.mount({ type: 'squashfs', source: image, options: ['loop'] }, place.at('mounted'));
    await refused('mounted', /never written/);
    for (const path of ['mounted', 'overlay', 'bind', 'tmpfs']) await bench.unmount(place.at(path));
    for (const path of ['directory', 'missing']) {
      await failureOf(bench.engine.grow({ target: { path: place.at(path) }, bytes: MIB }), {
        reason: 'bad-target',
        rolledBack: true,
      });
    }
  });

  it('is refused for a directory of a filesystem, and for one that is read-only', async function () {
    using mounted = await mountedImage(this, bench, 'xfs', 300 * MIB);
    const { image, target } = mounted;
    writeFiles(target.path, { 'directory/': '' });
    const part = `${target.path}-part`;
    await bench.mount({ type: 'bind', source: `${target.path}/directory`, options: [] }, part);
    const refused = { reason: 'cannot-grow', rolledBack: true } as const;
    await failureOf(bench.engine.grow({ target: { path: part }, bytes: 400 * MIB, image }), refused);
    await bench.unmount(part);
    await mounted.unmount();
    await bench.mount({ type: 'xfs', source: image, options: ['loop', 'ro'] }, target.path);
    await failureOf(bench.engine.grow({ target, bytes: 400 * MIB, image }), refused);
    expect(statSync(image).size).to.equal(300 * MIB);
    await bench.engine.unmount({ target, image });
  });
});

interface MountedImage extends Disposable {
  readonly image: string;
  readonly target: { readonly path: string };
  unmount(): Promise<number>;
}

/** A fresh image that is mounted. */
async function mountedImage(
  context: Mocha.Context,
  bench: Bench,
  type: MadeFilesystem,
  bytes: number,
): Promise<MountedImage> {
  needTool(context, `mkfs.${type}`, 'images are made with it');
  const place: TemporaryDirectory = temporaryDirectory();
  const [image, target] = [place.at('image'), { path: place.at('target') }];
  try {
    await bench.engine.makeImage({ path: image, bytes, filesystem: type });
    await bench.mount({ type, source: image, options: ['loop'] }, target.path);
  } catch (error) {
    using _place = place;
    throw error;
  }
  return {
    image,
    target,
    unmount: () => bench.engine.unmount({ target, image }),
    [Symbol.dispose]: () => place[Symbol.dispose](),
  };
}

function resizeExt4(path: string): void {
  using top = openat(AT_FDCWD, path, O.O_DIRECTORY | O.O_CLOEXEC, 0);
  resizeIoctl(top, RESIZE.EXT4_IOC_RESIZE_FS, Buffer.alloc(8));
}

const sizeOf = (path: string): number => {
  const { blocks, bsize } = statfsSync(path);
  return blocks * bsize;
};
