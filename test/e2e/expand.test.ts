// NodeExpandVolume: images grow while they are in use; what has no size of its own has nothing to grow.
import { statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { CAP_SYS_RESOURCE } from '../../src/sys/constants.ts';
import { startPlugin } from '../sanity/plugin.ts';
import { needCapability, needRoot, needTool } from '../support/need.ts';
import { kindNamed, volumeOfKind } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { type Volume, volumeOn } from './volume.ts';

const MIB = 2n ** 20n;
const POLICY = `version: 1
rules:
  - class: persistent
    types: [image]
    fsTypes: [xfs]
    roots: [{ path: /, access: read-write }]
    mkfs: true
    size: { max: 400Mi }
`;
const FILESYSTEMS = { ext4: 16n * MIB, xfs: 300n * MIB, btrfs: 160n * MIB } as const;

describe('NodeExpandVolume', () => {
  let node: TestNode;
  let count = 0;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  function imageOf(fsType: keyof typeof FILESYSTEMS): Volume & { readonly image: string } {
    const image = node.at(`image-${++count}`);
    const context = { type: 'image', source: image, fsType, mkfs: 'true', size: String(FILESYSTEMS[fsType]) };
    return Object.assign(volumeOn(node, { context }), { image });
  }

  async function ready(volume: Volume, readonly = false): Promise<void> {
    expect(await volume.stage()).to.include({ code: 'OK' });
    expect(await volume.publish({ readonly })).to.include({ code: 'OK' });
  }

  for (const [fsType, size] of Object.entries(FILESYSTEMS) as [keyof typeof FILESYSTEMS, bigint][]) {
    it(`${fsType} is larger in the pod, with the files that it had, and again is OK`, async function () {
      needTool(this, `mkfs.${fsType}`, 'an image is made');
      if (fsType === 'ext4')
        needCapability(this, CAP_SYS_RESOURCE, 'the kernel wants it of who resizes ext4');
      await using volume = imageOf(fsType);
      await ready(volume);
      writeFileSync(join(volume.target, 'note'), 'kept');
      const before = totalOf(volume.target);
      const requiredBytes = 2n * size;
      for (const _ of ['first', 'again']) {
        const { code, message, response } = await volume.expand(volume.target, { requiredBytes });
        expect(code, message).to.equal('OK');
        expect(response?.capacityBytes).to.equal(requiredBytes);
      }
      expect(statSync(volume.image).size).to.equal(Number(requiredBytes));
      expect(totalOf(volume.target)).to.be.greaterThan(Number(size) * 1.5);
      expect(totalOf(volume.target)).to.be.greaterThan(before);
      // Kubelet may ask at the staging path first.
      expect(await volume.expand(volume.stagingPath, { requiredBytes })).to.include({ code: 'OK' });
    });
  }

  it('to more than policy gives is OUT_OF_RANGE and changes nothing, also after a restart', async () => {
    await using node = await startNode({
      start(directory) {
        const policy = join(directory, 'policy.yaml');
        writeFileSync(policy, POLICY);
        return startPlugin(directory, ['--policy', policy]);
      },
    });
    const image = node.at('image');
    const context = { type: 'image', source: image, fsType: 'xfs', mkfs: 'true', size: '300Mi' };
    await using volume = volumeOn(node, { context });
    await ready(volume);
    for (const path of [volume.target, volume.stagingPath, volume.target]) {
      const answer = await volume.expand(path, { requiredBytes: 400n * MIB + 1n });
      expect(answer.code).to.equal('OUT_OF_RANGE');
      expect(answer.message).to.match(
        /required_bytes 419430401: .* allows this volume 419430400 .*ask for less/,
      );
      expect(statSync(image).size).to.equal(Number(300n * MIB));
      await node.kill();
      await node.start();
    }
    expect(await volume.expand(volume.target, { requiredBytes: 400n * MIB })).to.include({ code: 'OK' });
  });

  it('to less than it has, changes nothing', async () => {
    await using volume = imageOf('ext4');
    await ready(volume);
    const { code, response } = await volume.expand(volume.target, { requiredBytes: MIB });
    expect(code).to.equal('OK');
    expect(response?.capacityBytes).to.equal(16n * MIB);
  });

  it('where the pod reads only, grows what is staged', async () => {
    await using volume = imageOf('xfs');
    await ready(volume, true);
    const before = totalOf(volume.target);
    expect(await volume.expand(volume.target, { requiredBytes: 600n * MIB })).to.include({ code: 'OK' });
    expect(totalOf(volume.target)).to.be.greaterThan(1.5 * before);
  });

  it('outside of what is allowed is OUT_OF_RANGE', async () => {
    await using volume = imageOf('ext4');
    await ready(volume);
    for (const range of [
      { requiredBytes: 32n * MIB, limitBytes: 24n * MIB },
      { requiredBytes: MIB, limitBytes: 8n * MIB },
      // No whole block fits.
      { requiredBytes: 16n * MIB + 1n, limitBytes: 16n * MIB + 1n },
      { requiredBytes: -1n },
      { requiredBytes: 2n ** 62n },
    ]) {
      expect(await volume.expand(volume.target, range)).to.include({ code: 'OUT_OF_RANGE' });
    }
    expect(statSync(volume.image).size).to.equal(Number(16n * MIB));
  });

  it('of an unknown volume, or where it is not, is NOT_FOUND', async () => {
    await using volume = imageOf('ext4');
    await ready(volume);
    for (const path of ['some/path', volume.targetOf('nobody'), '/']) {
      expect(await volume.expand(path, { requiredBytes: MIB }), path).to.include({ code: 'NOT_FOUND' });
    }
    const unknown = volumeOn(node, { context: {} });
    expect(await unknown.expand(volume.target, { requiredBytes: MIB })).to.include({ code: 'NOT_FOUND' });
    expect(await volume.expand('', { requiredBytes: MIB })).to.include({ code: 'INVALID_ARGUMENT' });
  });

  it('of a directory is OK: it has what the node has', async () => {
    await using volume = volumeOfKind(node, kindNamed('bind'));
    await ready(volume);
    expect(await volume.expand(volume.target, { requiredBytes: 2n ** 40n })).to.include({ code: 'OK' });
  });

  it('of a filesystem that nobody can write is refused', async function () {
    needTool(this, 'mksquashfs', 'an image is made');
    await using volume = volumeOfKind(node, kindNamed('image of squashfs'));
    await ready(volume);
    const answer = await volume.expand(volume.target, { requiredBytes: 2n ** 30n });
    expect(answer).to.include({ code: 'FAILED_PRECONDITION' });
  });
});

const totalOf = (path: string): number => {
  const { blocks, bsize } = statfsSync(path);
  return blocks * bsize;
};
