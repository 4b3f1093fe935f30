// Images as block devices (volumeMode: Block): a loop device at the target file, which the last pod's end lets go.

import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { VolumeUsage_Unit as Unit } from '../../src/rpc/generated/csi.ts';
import { mountCommand, unmountCommand } from '../support/fixtures.ts';
import { sparseFile } from '../support/images.ts';
import { needRoot } from '../support/need.ts';
import { theMountAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { expectRefused } from './refusal.ts';
import { type AccessMode, blockCapability, type Context, type Volume, volumeOn } from './volume.ts';

const SIZE = 8 * 2 ** 20;

describe('an image as a block device', () => {
  let node: TestNode;
  let count = 0;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  function blockVolume(more: Context = {}): Volume & { readonly image: string } {
    const image = node.at(`image-${++count}`);
    sparseFile(image, SIZE);
    return Object.assign(volumeOn(node, { context: { type: 'image', source: image, ...more } }), { image });
  }

  const block = (mode?: AccessMode) => ({ volumeCapability: blockCapability(mode) });

  async function ready(volume: Volume, mode?: AccessMode, readonly = false): Promise<void> {
    expect(await volume.stage(block(mode))).to.include({ code: 'OK' });
    expect(await volume.publish({ ...block(mode), readonly })).to.include({ code: 'OK' });
  }

  it('the target is a block device of the size of the image; what is written is in the image', async () => {
    await using volume = blockVolume();
    await ready(volume);
    expect(lstatSync(volume.target).isBlockDevice()).to.equal(true);
    write(volume.target, 'hello');
    execFileSync('sync', [volume.target]);
    expect(readFileSync(volume.image).subarray(0, 5).toString()).to.equal('hello');
    expect(loopsOf(volume.image)).to.have.length(1);
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(existsSync(volume.target)).to.equal(false);
    expect(loopsOf(volume.image)).to.deep.equal([]);
    expect(await volume.unpublish(), 'again').to.include({ code: 'OK' });
  });

  it('publish again is OK, and has one device', async () => {
    await using volume = blockVolume();
    await ready(volume);
    const { id } = theMountAt(volume.target);
    expect(await volume.publish(block())).to.include({ code: 'OK' });
    expect(await volume.publish({ ...block(), readonly: true })).to.include({ code: 'ALREADY_EXISTS' });
    expect(theMountAt(volume.target).id).to.equal(id);
    expect(loopsOf(volume.image)).to.have.length(1);
  });

  it('two pods have one device, until both are gone', async () => {
    await using volume = blockVolume();
    await ready(volume, 'MULTI_NODE_MULTI_WRITER');
    const second = volume.targetOf('second');
    expect(await volume.publish({ ...block('MULTI_NODE_MULTI_WRITER'), targetPath: second })).to.include({
      code: 'OK',
    });
    expect(statSync(second).rdev).to.equal(statSync(volume.target).rdev);
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(loopsOf(volume.image)).to.have.length(1);
    write(second, 'still');
    expect(await volume.unpublish({ targetPath: second })).to.include({ code: 'OK' });
    expect(loopsOf(volume.image)).to.deep.equal([]);
  });

  it('read-only is a device that cannot be written', async () => {
    await using volume = blockVolume();
    await ready(volume, 'MULTI_NODE_READER_ONLY');
    expect(() => write(volume.target, 'x')).to.throw(/EPERM|EACCES|EROFS/);
  });

  it('stats: its size', async () => {
    await using volume = blockVolume();
    await ready(volume);
    const { response } = await volume.stats(volume.target);
    expect(response?.usage).to.have.length(1);
    // What is used of it nobody knows here: one that is told to be full sets off alerts.
    expect(response?.usage[0]).to.include({
      ...{ unit: Unit.BYTES, total: BigInt(SIZE) },
      ...{ used: 0n, available: 0n },
    });
  });

  it('stats and expand where kubelet binds the device for itself, and asks', async () => {
    await using volume = blockVolume();
    await using other = blockVolume();
    await ready(volume);
    await ready(other);
    using bound = deviceOf(volume.target);
    const { message, code, response } = await volume.stats(bound.path);
    expect(code, message).to.equal('OK');
    expect(response?.usage[0]).to.include({ total: BigInt(SIZE), used: 0n });
    const requiredBytes = BigInt(2 * SIZE);
    expect(await volume.expand(bound.path, { requiredBytes })).to.include({ code: 'OK' });
    expect((await volume.stats(bound.path)).response?.usage[0]?.total).to.equal(requiredBytes);
    using unrelated = deviceOf(other.target);
    for (const call of [
      () => volume.stats(unrelated.path),
      () => volume.expand(unrelated.path, { requiredBytes }),
      () => volume.stats(`${bound.path}-of-nobody`),
    ]) {
      expect(await call()).to.include({ code: 'NOT_FOUND' });
    }
    expect(statSync(other.image).size).to.equal(SIZE);
  });

  /** As kubelet's MapBlockVolume() does, which names it by volume and pod. */
  function deviceOf(target: string): Disposable & { readonly path: string } {
    const directory = join(node.kubeletDir, `plugins/kubernetes.io/csi/volumeDevices/pv-of-${++count}/dev`);
    const path = join(directory, randomUUID());
    mkdirSync(directory, { recursive: true });
    writeFileSync(path, '');
    mountCommand('--bind', target, path);
    return { path, [Symbol.dispose]: () => unmountCommand(path) };
  }

  it('expand: device and image are larger at once', async () => {
    await using volume = blockVolume();
    await ready(volume);
    const requiredBytes = BigInt(2 * SIZE);
    const { code, response } = await volume.expand(volume.target, { requiredBytes });
    expect(code).to.equal('OK');
    expect(response?.capacityBytes).to.equal(requiredBytes);
    expect(statSync(volume.image).size).to.equal(2 * SIZE);
    expect((await volume.stats(volume.target)).response?.usage[0]?.total).to.equal(requiredBytes);
  });

  for (const [what, context, message] of [
    ['a bind', { type: 'bind', source: '/srv' }, /^type: bind cannot be a block device; .* use type image/],
    [
      'a key of filesystems',
      { type: 'image', source: '/i', fsType: 'ext4' },
      /^fsType: has no meaning for volumeMode: Block/,
    ],
    [
      'an ID mapping',
      { type: 'image', source: '/i', owner: '1:1' },
      /^owner: has no meaning for volumeMode: Block/,
    ],
  ] as const) {
    it(`${what} is INVALID_ARGUMENT`, async () => {
      const volume = volumeOn(node, { context });
      await expectRefused(node, () => volume.stage(block()), { code: 'INVALID_ARGUMENT', message });
    });
  }

  it('an image that is not there is NOT_FOUND, and no target is made', async () => {
    const volume = volumeOn(node, { context: { type: 'image', source: node.at('absent') } });
    await volume.stage(block());
    await expectRefused(node, () => volume.publish(block()), {
      ...{ code: 'NOT_FOUND', message: /absent/, target: volume.target },
    });
    await volume.unstage();
  });
});

function write(device: string, text: string): void {
  const fd = openSync(device, 'r+');
  try {
    writeSync(fd, text, 0);
    readSync(fd, Buffer.alloc(1), 0, 1, 0);
  } finally {
    closeSync(fd);
  }
}

/** As losetup says. */
function loopsOf(image: string): string[] {
  return execFileSync('losetup', ['-j', image, '-n', '-O', 'NAME'], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean);
}
