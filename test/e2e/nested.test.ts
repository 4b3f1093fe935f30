// Overlays and FUSE for pods with user namespaces, without NRI: a read-only cover at once, the volume below it as soon as
// kubelet has recorded the pod's mapping.
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { runInPod } from '../../src/cli/demo/pod.ts';
import { eventually, ownerOf, unmountCommand, writeFiles } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { mountsAt, theMountAt } from './kernel.ts';
import { filesIn } from './kinds.ts';
import { retried, startNode, type TestNode } from './node.ts';
import { POD_MAPPING, type Pod, podOn } from './pod.ts';
import { expectRefused } from './refusal.ts';
import { type Context, capability, groupCapability, type Volume, volumeOn } from './volume.ts';

describe('a volume for a pod whose user namespace is not known yet', () => {
  let node: TestNode;
  let count = 0;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'nsenter', 'a process in the user namespace of a pod');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  interface Case {
    readonly pod: Pod;
    readonly volume: Volume;
    readonly target: string;
    readonly data: string;
  }

  /** Staged and published for a pod of its own. */
  async function publish(
    stack: AsyncDisposableStack,
    context: (at: (name: string) => string) => Context,
    changes: object = {},
  ): Promise<Case> {
    const data = node.at(`nested-${++count}`);
    writeFiles(data, {
      'base/of-root': { content: 'root', uid: 0, gid: 0 },
      'base/of-service': { content: 'service', uid: 33, gid: 33 },
      'top/of-user': { content: 'user', uid: 1000, gid: 1001 },
      'upper/': {},
      'work/': {},
    });
    const pod = stack.use(podOn(node));
    const volume = stack.use(
      volumeOn(node, { context: { ...context((name) => join(data, name)), idmap: 'pod', ...pod.info } }),
    );
    const target = pod.targetOf('data');
    const request = { targetPath: target, ...changes };
    const { volumeCapability } = request as { volumeCapability?: ReturnType<typeof capability> };
    expect(await volume.stage(volumeCapability && { volumeCapability })).to.include({ code: 'OK' });
    expect(await volume.publish(request)).to.include({ code: 'OK' });
    return { pod, volume, target, data };
  }

  const overlay =
    (more: Context = {}) =>
    (at: (name: string) => string) => ({
      type: 'overlay',
      lowerdir: `${at('top')}:${at('base')}`,
      ...more,
    });
  const persistent = (at: (name: string) => string) => ({
    ...overlay()(at),
    upperdir: at('upper'),
    workdir: at('work'),
  });

  const shown = (id: number) => 131_072 + id;
  const SHOWN = {
    'of-root': `${shown(0)}:${shown(0)} root`,
    'of-service': `${shown(33)}:${shown(33)} service`,
    'of-user': `${shown(1000)}:${shown(1001)} user`,
  };

  /** From then on; the completion may hold the lock for a moment longer (retried). */
  const complete = (target: string, name = 'data') =>
    eventually('the volume is complete', () => mountsAt(join(target, name)).length === 1);

  const write = (directory: string) => runInPod(POD_MAPPING, `printf note > '${join(directory, 'note')}'`);

  it('is a read-only cover until the record comes, and then the volume with the ids of the pod', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, target } = await publish(stack, overlay());
    expect(theMountAt(target)).to.include({ type: 'tmpfs' });
    expect(theMountAt(target).superblock).to.include('ro');
    expect(readdirSync(join(target, 'data'))).to.deep.equal([]);
    expect(() => writeFileSync(join(target, 'data', 'early'), '')).to.throw(/EROFS/);
    pod.record();
    await complete(target);
    expect(theMountAt(join(target, 'data'))).to.include({ type: 'overlay' });
    expect(filesIn(join(target, 'data'))).to.deep.equal(SHOWN);
    expect(() => writeFileSync(join(target, 'late'), '')).to.throw(/EROFS/);
    expect(() => write(join(target, 'data'))).to.throw(/Read-only/);
  });

  it('is complete at once where the record is there, and publish again changes nothing', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, volume, target } = await publish(stack, overlay());
    pod.record();
    await complete(target);
    const { id } = theMountAt(join(target, 'data'));
    expect(await retried(() => volume.publish({ targetPath: target }))).to.include({ code: 'OK' });
    expect(theMountAt(join(target, 'data')).id).to.equal(id);
    const second = pod.targetOf('second');
    const mode = { volumeCapability: capability('MULTI_NODE_MULTI_WRITER') };
    expect(await retried(() => volume.publish({ targetPath: second, ...mode }))).to.include({ code: 'OK' });
    await complete(second);
  });

  it('an ephemeral layer is written by the pod, and goes with it', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, volume, target, data } = await publish(
      stack,
      overlay({ writable: 'ephemeral', sizeLimit: '16Mi' }),
    );
    pod.record();
    await complete(target);
    write(join(target, 'data'));
    expect(ownerOf(join(target, 'data/note'))).to.equal(`${shown(0)}:${shown(0)}`);
    expect(await retried(() => volume.unpublish({ targetPath: target }))).to.include({ code: 'OK' });
    expect(existsSync(target)).to.equal(false);
    expect(existsSync(join(data, 'top/note'))).to.equal(false);
    expect(
      readdirSync(join(node.stateDir, 'layers')).filter((name) => !name.startsWith('removed-')),
    ).to.deep.equal([]);
  });

  it('a persistent layer keeps what is written with the ids of the disk, for a pod with another mapping too', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, volume, target, data } = await publish(stack, persistent);
    pod.record();
    await complete(target);
    write(join(target, 'data'));
    expect(ownerOf(join(target, 'data/note'))).to.equal(`${shown(0)}:${shown(0)}`);
    expect(ownerOf(join(data, 'upper/note'))).to.equal('0:0');
    await retried(() => volume.unpublish({ targetPath: target }));
    using next = podOn(node);
    const again = next.targetOf('data');
    const volumeContext = { ...volume.context, ...next.info };
    expect(await retried(() => volume.publish({ targetPath: again, volumeContext }))).to.include({
      code: 'OK',
    });
    next.record('0:655360:65536');
    await complete(again);
    expect(ownerOf(join(again, 'data/note'))).to.equal('655360:655360');
    expect(await retried(() => volume.unpublish({ targetPath: again }))).to.include({ code: 'OK' });
  });

  it('a FUSE volume is completed too', async function () {
    needTool(this, 'bindfs', 'a FUSE helper');
    await using stack = new AsyncDisposableStack();
    const { pod, target } = await publish(stack, (at) => ({ type: 'fuse.bindfs', source: at('base') }));
    pod.record();
    await complete(target);
    expect(readFileSync(join(target, 'data/of-root'), 'utf8')).to.equal('root');
    expect(filesIn(join(target, 'data'))).to.deep.equal({
      'of-root': `${shown(0)}:${shown(0)} root`,
      'of-service': `${shown(33)}:${shown(33)} service`,
    });
    write(join(target, 'data'));
  });

  it('fsGroup is composed with the mapping of the pod', async () => {
    await using stack = new AsyncDisposableStack();
    const volumeCapability = groupCapability('2000');
    const { pod, target } = await publish(stack, overlay(), { volumeCapability });
    pod.record();
    await complete(target);
    expect(statSync(join(target, 'data')).gid).to.equal(shown(2000));
  });

  it('nestedDir names the directory', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, target } = await publish(stack, overlay({ nestedDir: 'model' }));
    expect(readdirSync(target)).to.deep.equal(['model']);
    pod.record();
    await complete(target, 'model');
  });

  it('a driver that is killed in between completes it when it is back', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, target } = await publish(stack, overlay({ writable: 'ephemeral' }));
    await node.kill();
    pod.record();
    await node.start();
    await complete(target);
    write(join(target, 'data'));
  });

  it('one whose cover is gone when the driver is back waits to be published again', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, volume, target } = await publish(stack, overlay());
    await node.kill();
    unmountCommand(target);
    // As a pod could, that was started meanwhile: nothing is mounted over it.
    writeFiles(target, { 'data/note': 'of the pod' });
    pod.record();
    await node.start();
    expect(await volume.stats(target)).to.include({ code: 'NOT_FOUND' });
    expect(mountsAt(join(target, 'data'))).to.deep.equal([]);
    expect(await retried(() => volume.publish({ targetPath: target }))).to.include({ code: 'OK' });
    await complete(target);
    expect(theMountAt(target)).to.include({ type: 'tmpfs' });
    rmSync(join(node.stateDir, 'set-aside'), { recursive: true });
  });

  for (const [when, prepare] of [
    ['before the record comes', async () => undefined],
    [
      'when it is complete',
      async ({ pod, target }: Case) => {
        pod.record();
        await complete(target);
      },
    ],
    [
      'after a restart in between',
      async () => {
        await node.kill();
        await node.start();
      },
    ],
  ] as const) {
    it(`unpublish ${when} leaves nothing`, async () => {
      await using stack = new AsyncDisposableStack();
      const made = await publish(stack, overlay({ writable: 'ephemeral' }));
      await prepare(made);
      const { volume, target } = made;
      expect(await retried(() => volume.unpublish({ targetPath: target }))).to.include({ code: 'OK' });
      expect(mountsAt(target)).to.deep.equal([]);
      expect(existsSync(target)).to.equal(false);
      expect(node.mounts()).to.deep.equal([]);
    });
  }

  it('a record that is not one of a pod is refused, and the volume stays covered', async () => {
    await using stack = new AsyncDisposableStack();
    const { pod, volume, target } = await publish(stack, overlay());
    pod.record('0:1000:5');
    await eventually('it is reported', () =>
      node.plugin.log.some(
        ({ text }) => text.includes('a volume that waited') && text.includes(`"${volume.id}"`),
      ),
    );
    expect(mountsAt(join(target, 'data'))).to.deep.equal([]);
    expect(lstatSync(join(target, 'data')).isDirectory()).to.equal(true);
  });

  it("another pod's target, and a volume without a pod, are INVALID_ARGUMENT", async () => {
    await using stack = new AsyncDisposableStack();
    const { volume } = await publish(stack, overlay());
    using other = podOn(node, 'other');
    const targetPath = other.targetOf('data');
    await expectRefused(
      node,
      () => volume.publish({ targetPath, volumeCapability: capability('MULTI_NODE_MULTI_WRITER') }),
      {
        ...{ code: 'INVALID_ARGUMENT', message: /is not in the directory of pod/, target: targetPath },
      },
    );
    const { 'csi.storage.k8s.io/pod.uid': _, ...volumeContext } = volume.context;
    await expectRefused(node, () => volume.publish({ targetPath, volumeContext }), {
      ...{ code: 'INVALID_ARGUMENT', message: /podInfoOnMount: true/, target: targetPath },
    });
  });
});
