// Where a volume may be mounted: below the kubelet directory, without help from links, on nothing that is somebody
// else's. Whatever is refused, nothing outside is touched.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { mountCommand, unmountCommand, writeFiles } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { mountsAt, theMountAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { expectRefused } from './refusal.ts';
import { capability, type Volume, volumeOn } from './volume.ts';

const BAD = { code: 'INVALID_ARGUMENT', message: /^(target|target_path|staging_target_path) / } as const;

describe('the target', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    writeFiles(node.at('data'), { file: 'content' });
    writeFiles(node.at('outside'), { 'kept/file': 'kept', 'empty/': {} });
    mkdirSync(node.at('kubelet-of-another'));
    mkdirSync(node.at('kubelet/pods'));
  });
  after(() => node?.[Symbol.asyncDispose]());

  /** What nobody may touch, with all that is mounted there. */
  const outside = () => ({
    files: readdirSync(node.at('outside'), { recursive: true }).map(String).toSorted(),
    content: readFileSync(node.at('outside/kept/file'), 'utf8'),
    others: readdirSync(node.at('kubelet-of-another')),
  });

  /** A bind is not. */
  const mountedByStage = () => ({ type: 'overlay', lowerdir: node.at('data') });

  async function stagedVolume(
    context: Record<string, string> = { source: node.at('data') },
  ): Promise<Volume> {
    const volume = volumeOn(node, { context });
    expect(await volume.stage()).to.include({ code: 'OK' });
    mkdirSync(dirname(volume.target), { recursive: true });
    return volume;
  }

  describe('outside the kubelet directory', () => {
    const paths: readonly (readonly [what: string, path: () => string])[] = [
      ['a place of its own', () => node.at('outside/mount')],
      ['an empty directory', () => node.at('outside/empty')],
      ['a directory with files', () => node.at('outside/kept')],
      ['a name that begins alike', () => node.at('kubelet-of-another/mount')],
      ['the kubelet directory itself', () => node.kubeletDir],
      ['its parent', () => node.directory],
      ['the root', () => '/'],
      ['.. that leads out', () => `${node.kubeletDir}/../outside/empty`],
      ['.. that leads out from below', () => `${node.kubeletDir}/pods/../../outside/empty`],
      ['.. at the end', () => `${node.kubeletDir}/pods/..`],
    ];
    for (const [what, path] of paths) {
      it(`${what} is refused by every call`, async () => {
        const before = outside();
        await using volume = await stagedVolume();
        const [targetPath, stagingTargetPath] = [path(), path()];
        await expectRefused(node, () => volume.publish({ targetPath }), BAD);
        await expectRefused(node, () => volume.unpublish({ targetPath }), BAD);
        await expectRefused(node, () => volume.stage({ stagingTargetPath }), BAD);
        await expectRefused(node, () => volume.unstage({ stagingTargetPath }), BAD);
        expect(outside()).to.deep.equal(before);
      });
    }

    it('a mount there is not taken away', async () => {
      mountCommand('-t', 'tmpfs', 'tmpfs', node.at('outside/empty'));
      try {
        await using volume = await stagedVolume();
        const path = node.at('outside/empty');
        await expectRefused(node, () => volume.unpublish({ targetPath: path }), BAD);
        await expectRefused(node, () => volume.unstage({ stagingTargetPath: path }), BAD);
        await expectRefused(node, () => volume.publish({ targetPath: path }), BAD);
        expect(mountsAt(path)).to.have.length(1);
      } finally {
        unmountCommand(node.at('outside/empty'));
      }
    });
  });

  describe('a symbolic link', () => {
    it('on the way is not followed', async () => {
      const before = outside();
      await using volume = await stagedVolume();
      const link = node.at('kubelet/pods/link');
      for (const to of [node.at('outside'), '../../outside', node.at('kubelet/pods')]) {
        symlinkSync(to, link);
        const targetPath = join(link, 'empty');
        await expectRefused(node, () => volume.publish({ targetPath }), BAD);
        await expectRefused(node, () => volume.unpublish({ targetPath }), BAD);
        await expectRefused(node, () => volume.stage({ stagingTargetPath: targetPath }), BAD);
        unlinkSync(link);
      }
      expect(outside()).to.deep.equal(before);
    });

    for (const [what, to] of [
      ['to a directory', 'outside/empty'],
      ['to a directory with files', 'outside/kept'],
      ['to nothing', 'outside/absent'],
    ] as const) {
      it(`in place of the target, ${what}, is neither followed nor removed`, async () => {
        const before = outside();
        await using volume = await stagedVolume();
        symlinkSync(node.at(to), volume.target);
        await expectRefused(node, () => volume.publish(), BAD);
        await expectRefused(node, () => volume.unpublish(), BAD);
        expect(readlinkSync(volume.target)).to.equal(node.at(to));
        expect(outside()).to.deep.equal(before);
      });
    }

    it('in place of the staging path is not followed', async () => {
      const before = outside();
      await using volume = volumeOn(node, { context: mountedByStage() });
      mkdirSync(dirname(volume.stagingPath), { recursive: true });
      symlinkSync(node.at('outside/empty'), volume.stagingPath);
      await expectRefused(node, () => volume.stage({ stagingTargetPath: volume.stagingPath }), BAD);
      unlinkSync(volume.stagingPath);
      expect(outside()).to.deep.equal(before);
    });
  });

  it('that is a file is refused and kept', async () => {
    await using volume = await stagedVolume();
    writeFileSync(volume.target, 'kept');
    await expectRefused(node, () => volume.publish(), BAD);
    await expectRefused(node, () => volume.unpublish(), BAD);
    expect(readFileSync(volume.target, 'utf8')).to.equal('kept');
    unlinkSync(volume.target);
  });

  it('of a bind is a directory, as its source must be: a file is refused, and is had by subPath', async () => {
    await using volume = await stagedVolume({ source: node.at('data/file') });
    await expectRefused(node, () => volume.publish(), {
      code: 'INVALID_ARGUMENT',
      message: new RegExp(
        `^source: ${node.at('data/file')} is a file.* give ${node.at('data')},.* subPath: file$`,
      ),
      target: volume.target,
    });
  });

  it('with files in it is neither mounted over nor emptied: they are moved aside', async () => {
    await using volume = await stagedVolume();
    const aside = () => readdirSync(join(node.stateDir, 'set-aside')).toSorted();
    writeFiles(volume.target, { file: 'written before' });
    expect(await volume.publish()).to.include({ code: 'OK' });
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    writeFiles(volume.target, { file: 'written after' });
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(existsSync(volume.target)).to.equal(false);
    const texts = aside().map((name) => readFileSync(join(node.stateDir, 'set-aside', name, 'file'), 'utf8'));
    expect(texts).to.deep.equal(['written before', 'written after']);
    rmSync(join(node.stateDir, 'set-aside'), { recursive: true });
  });

  it('that is there already, empty, is used', async () => {
    await using volume = await stagedVolume();
    mkdirSync(volume.target);
    expect(await volume.publish()).to.include({ code: 'OK' });
    expect(existsSync(join(volume.target, 'file'))).to.equal(true);
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(existsSync(volume.target)).to.equal(false);
  });

  it('that shows the volume is left as it is, whatever would be refused by now', async () => {
    await using volume = await stagedVolume(mountedByStage());
    await volume.publish();
    const { id } = theMountAt(volume.target);
    unmountCommand(volume.stagingPath);
    expect(await volume.publish()).to.include({ message: '', code: 'OK' });
    expect(theMountAt(volume.target).id).to.equal(id);
    const refusal = { code: 'FAILED_PRECONDITION', message: /is not staged/ } as const;
    const mode = { volumeCapability: capability('MULTI_NODE_MULTI_WRITER') };
    await expectRefused(
      node,
      () => volume.publish({ targetPath: volume.targetOf('other'), ...mode }),
      refusal,
    );
  });

  it('that is there but not mounted is removed by unpublish', async () => {
    await using volume = await stagedVolume();
    mkdirSync(volume.target);
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(existsSync(volume.target)).to.equal(false);
  });

  it('whose parent the caller has not made is refused', async () => {
    await using volume = await stagedVolume();
    rmdirSync(dirname(volume.target));
    const request = {
      volumeId: volume.id,
      publishContext: {},
      stagingTargetPath: volume.stagingPath,
      targetPath: volume.target,
      volumeCapability: capability(),
      readonly: false,
      secrets: {},
      volumeContext: volume.context,
    };
    const publish = () => node.ask((rpc) => rpc.nodePublishVolume(request));
    await expectRefused(node, publish, { ...BAD, target: dirname(volume.target) });
    expect(await volume.unpublish(), 'unpublish').to.include({ code: 'OK' });
  });

  it('is made for the owner and the group alone', async () => {
    await using volume = await stagedVolume();
    await volume.publish();
    unmountCommand(volume.target);
    const { mode, uid } = lstatSync(volume.target);
    expect({ mode: mode & 0o777, uid }).to.deep.equal({ mode: 0o750, uid: 0 });
  });

  describe('of one place by two names', () => {
    const spellings: readonly (readonly [what: string, spell: (path: string) => string])[] = [
      ['a slash at the end', (path) => `${path}/`],
      ['two slashes', (path) => path.replace('/pods/', '/pods//')],
      ['a dot', (path) => path.replace('/pods/', '/pods/./')],
    ];
    for (const [what, spell] of spellings) {
      it(`${what}: the volume is mounted there once, and unpublished by either name`, async () => {
        await using volume = await stagedVolume();
        const volumeCapability = capability('MULTI_NODE_MULTI_WRITER');
        expect(await volume.publish({ volumeCapability })).to.include({ code: 'OK' });
        const { id } = theMountAt(volume.target);
        const again = await volume.publish({ volumeCapability, targetPath: spell(volume.target) });
        // Known as the same place, or refused as none: but not a second mount in place of the first.
        expect(again.code, again.message).to.be.oneOf(['OK', 'INVALID_ARGUMENT']);
        expect(theMountAt(volume.target).id).to.equal(id);
        await volume.unpublish();
        expect(mountsAt(volume.target)).to.deep.equal([]);
        expect(node.records()).to.have.length(1);
      });
    }
  });

  it('with .. in it that stays inside is refused too: nobody who means well writes that', async () => {
    await using volume = await stagedVolume();
    const targetPath = volume.target.replace('/pods/', '/pods/../pods/');
    await expectRefused(node, () => volume.publish({ targetPath }), BAD);
    await expectRefused(node, () => volume.unpublish({ targetPath }), BAD);
  });

  describe('of another volume', () => {
    it('is not taken over', async () => {
      await using first = await stagedVolume();
      await using second = await stagedVolume();
      await first.publish();
      const { id } = theMountAt(first.target);
      const { target: targetPath } = first;
      const refusal = { code: 'FAILED_PRECONDITION', message: new RegExp(first.id) } as const;
      await expectRefused(node, () => second.publish({ targetPath }), refusal);
      expect(theMountAt(first.target).id).to.equal(id);
      expect(await first.stats(first.target)).to.include({ code: 'OK' });
    });

    it('is not unpublished: the volume of the request is not there', async () => {
      await using first = await stagedVolume();
      await using second = await stagedVolume();
      await first.publish();
      const before = { mounts: node.mounts(), records: node.records() };
      expect(await second.unpublish({ targetPath: first.target })).to.include({ code: 'OK' });
      expect(await second.unstage({ stagingTargetPath: first.stagingPath })).to.include({ code: 'OK' });
      expect({ mounts: node.mounts(), records: node.records() }).to.deep.equal(before);
    });

    it('is free once that volume is gone from it', async () => {
      await using first = await stagedVolume();
      await using second = await stagedVolume();
      await first.publish();
      await first.unpublish();
      expect(await second.publish({ targetPath: first.target })).to.include({ code: 'OK' });
      expect(await second.unpublish({ targetPath: first.target })).to.include({ code: 'OK' });
    });
  });
});
