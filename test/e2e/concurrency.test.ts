// Calls at the same time. One volume: each call is served or told to come again (ABORTED), and nothing is ever
// mounted twice. Several volumes: none waits for the other's sake, all are served.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { startPlugin } from '../sanity/plugin.ts';
import { writeFiles } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { mountsAt } from './kernel.ts';
import { filesIn, KINDS_HERE, volumeOfKind } from './kinds.ts';
import { type Answer, retried, startNode, type TestNode } from './node.ts';
import { capability, type Volume, volumeOn } from './volume.ts';

const ROUNDS = 5;
const AT_ONCE = 8;

describe('calls at the same time', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    writeFiles(node.at('data'), { 'a/file': 'a', 'b/file': 'b' });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const volumeCapability = capability('MULTI_NODE_MULTI_WRITER');
  const makeVolume = () =>
    volumeOn(node, { context: { type: 'overlay', lowerdir: `${node.at('data/a')}:${node.at('data/b')}` } });

  const together = (count: number, call: (i: number) => Promise<Answer>): Promise<Answer[]> =>
    Promise.all(Array.from({ length: count }, (_, i) => call(i)));

  function expectServedOrAborted(answers: readonly Answer[]): void {
    for (const { code, message } of answers) expect(code, message).to.be.oneOf(['OK', 'ABORTED']);
    expect(
      answers.some(({ code }) => code === 'OK'),
      'one was served',
    ).to.equal(true);
  }

  describe('on one volume', () => {
    it('stage: one mount', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        await using volume = makeVolume();
        expectServedOrAborted(await together(AT_ONCE, () => volume.stage({ volumeCapability })));
        expect(mountsAt(volume.stagingPath)).to.have.length(1);
        expect(await volume.stage({ volumeCapability })).to.include({ code: 'OK' });
      }
    });

    it('stage with different arguments: one of them, and ALREADY_EXISTS or ABORTED for the others', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        await using volume = makeVolume();
        const options = ['noatime', 'noexec', 'nosymfollow'];
        const answers = await together(options.length, (i) =>
          volume.stage({ volumeContext: { ...volume.context, options: options[i] ?? '' } }),
        );
        const codes = answers.map(({ code }) => code);
        expect(codes.filter((code) => code === 'OK')).to.have.length(1);
        for (const code of codes) expect(code).to.be.oneOf(['OK', 'ALREADY_EXISTS', 'ABORTED']);
        const [mount, ...more] = mountsAt(volume.stagingPath);
        expect(more).to.deep.equal([]);
        expect(mount?.options).to.include(options[codes.indexOf('OK')]);
      }
    });

    it('publish at one target: one mount', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        await using volume = makeVolume();
        await volume.stage({ volumeCapability });
        expectServedOrAborted(await together(AT_ONCE, () => volume.publish({ volumeCapability })));
        expect(mountsAt(volume.target)).to.have.length(1);
        expect(await volume.publish({ volumeCapability })).to.include({ code: 'OK' });
      }
    });

    it('publish at several targets: a mount where it was served, no target elsewhere', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        await using volume = makeVolume();
        await volume.stage({ volumeCapability });
        const targets = Array.from({ length: AT_ONCE }, (_, i) => volume.targetOf(`pod-${i}`));
        const publish = (i: number) => volume.publish({ volumeCapability, targetPath: targets[i] ?? '' });
        const answers = await together(AT_ONCE, publish);
        expectServedOrAborted(answers);
        for (const [i, { code }] of answers.entries()) {
          const target = targets[i] ?? '';
          expect(mountsAt(target)).to.have.length(code === 'OK' ? 1 : 0);
          expect(existsSync(target)).to.equal(code === 'OK');
          expect(await retried(() => publish(i))).to.include({ code: 'OK' });
          expect(mountsAt(target)).to.have.length(1);
        }
      }
    });

    it('SINGLE_NODE_SINGLE_WRITER at several targets: one target', async () => {
      const single = { volumeCapability: capability('SINGLE_NODE_SINGLE_WRITER') };
      for (let round = 0; round < ROUNDS; round++) {
        await using volume = makeVolume();
        await volume.stage(single);
        const targets = Array.from({ length: AT_ONCE }, (_, i) => volume.targetOf(`pod-${i}`));
        const publish = (i: number) => volume.publish({ ...single, targetPath: targets[i] ?? '' });
        const answers = await together(AT_ONCE, (i) => retried(() => publish(i)));
        expect(answers.filter(({ code }) => code === 'OK')).to.have.length(1);
        expect(answers.filter(({ code }) => code === 'FAILED_PRECONDITION')).to.have.length(AT_ONCE - 1);
        expect(targets.filter((target) => existsSync(target))).to.have.length(1);
      }
    });

    it('unpublish: gone, with its target', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        await using volume = makeVolume();
        await volume.stage({ volumeCapability });
        await volume.publish({ volumeCapability });
        expectServedOrAborted(await together(AT_ONCE, () => volume.unpublish()));
        expect(existsSync(volume.target)).to.equal(false);
      }
    });

    it('publish and unpublish: what was answered last holds', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        await using volume = makeVolume();
        await volume.stage({ volumeCapability });
        const answers = await together(AT_ONCE, (i) =>
          i % 2 === 0 ? volume.publish({ volumeCapability }) : volume.unpublish(),
        );
        expectServedOrAborted(answers);
        expect(mountsAt(volume.target).length).to.be.at.most(1);
        expect(await retried(() => volume.publish({ volumeCapability }))).to.include({ code: 'OK' });
        expect(mountsAt(volume.target)).to.have.length(1);
      }
    });

    it('everything at once, over and over: nothing twice, nothing left', async () => {
      await using volume = makeVolume();
      const calls = [
        () => volume.stage({ volumeCapability }),
        () => volume.publish({ volumeCapability }),
        () => volume.stats(volume.target),
        () => volume.unpublish(),
        () => volume.unstage(),
      ];
      const allowed = ['OK', 'ABORTED', 'FAILED_PRECONDITION', 'NOT_FOUND'];
      for (let round = 0; round < 2 * ROUNDS; round++) {
        const answers = await together(
          2 * calls.length,
          (i) => calls[(i * 3 + round) % calls.length]?.() ?? volume.stage(),
        );
        for (const { code, message } of answers) expect(code, message).to.be.oneOf(allowed);
        expect(mountsAt(volume.target).length).to.be.at.most(1);
        expect(mountsAt(volume.stagingPath).length).to.be.at.most(1);
      }
    });
  });

  it('20 volumes of all kinds: each is served, once, with its own files', async () => {
    await using volumes = new AsyncDisposableStack();
    const all = Array.from({ length: 20 }, (_, i) => {
      const kind = KINDS_HERE[i % KINDS_HERE.length];
      if (kind === undefined) throw new Error('no kind');
      return { kind, volume: volumes.use(volumeOfKind(node, kind)) };
    });
    const forAll = async (call: (volume: Volume) => Promise<Answer>) => {
      const answers = await Promise.all(all.map(({ volume }) => call(volume)));
      expect(answers.filter(({ code }) => code !== 'OK')).to.deep.equal([]);
    };
    const isInline = ({ context }: Volume) => 'csi.storage.k8s.io/ephemeral' in context;
    const ok: Answer = { code: 'OK', message: '' };

    await forAll((volume) => (isInline(volume) ? Promise.resolve(ok) : volume.stage()));
    await forAll((volume) => volume.publish());
    for (const { kind, volume } of all) {
      expect(mountsAt(volume.target)).to.have.length(1);
      expect(filesIn(volume.target), kind.title).to.deep.equal(kind.files);
    }
    await forAll((volume) => volume.stats(volume.target));
    await forAll((volume) => volume.unpublish());
    await forAll((volume) => (isInline(volume) ? Promise.resolve(ok) : volume.unstage()));
    expect(node.mounts()).to.deep.equal([]);
    expect(node.records()).to.deep.equal([]);
  });
});

describe('pods that ask at the same time for more volumes than their namespace may have', () => {
  const MOST = 3;
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode({
      start(directory) {
        const policy = join(directory, 'policy.yaml');
        writeFileSync(
          policy,
          `version: 1\nrules: [{ class: inline, types: [tmpfs], sizeLimit: { default: 1Mi }, maxVolumes: ${MOST} }]\n`,
        );
        return startPlugin(directory, ['--policy', policy]);
      },
    });
  });
  after(() => node?.[Symbol.asyncDispose]());

  it('get as many as it may, and those that are there are not refused for the sake of the others', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await using stack = new AsyncDisposableStack();
      const inlineOf = (namespace: string) =>
        stack.use(volumeOn(node, { context: { type: 'tmpfs' }, inline: true, namespace }));
      const volumes = Array.from({ length: AT_ONCE }, () => inlineOf('crowded'));
      const elsewhere = inlineOf('elsewhere');
      const [other, ...answers] = await Promise.all(
        [elsewhere, ...volumes].map((volume) => volume.publish()),
      );
      expect(other, 'of another namespace').to.include({ code: 'OK' });
      const codes = answers.map(({ code }) => code).toSorted();
      const refused = Array(AT_ONCE - MOST).fill('PERMISSION_DENIED');
      expect(codes).to.deep.equal([...Array(MOST).fill('OK'), ...refused]);
      expect(answers.find(({ code }) => code !== 'OK')?.message).to.match(/namespace crowded has 3 volumes/);
      const again = await Promise.all(volumes.map((volume) => volume.publish()));
      expect(again.map(({ code }) => code)).to.deep.equal(answers.map(({ code }) => code));
      // Whose place is free goes to another.
      const [first, refusedOne] = ['OK', 'PERMISSION_DENIED'].map(
        (code) => volumes[answers.findIndex((answer) => answer.code === code)],
      );
      expect(await first?.unpublish()).to.include({ code: 'OK' });
      expect(await refusedOne?.publish()).to.include({ code: 'OK' });
    }
  });
});
