// Two volumes that show the same image: kubelet does not unstage one while it sees the other mounted anywhere. So the driver
// unmounts what no pod uses any longer, and mounts it again should a pod come before kubelet asks.
import { closeSync, openSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, writeFiles } from '../support/fixtures.ts';
import { IMAGES } from '../support/images.ts';
import { needRoot, needTool } from '../support/need.ts';
import { crashSwitch } from './crash-switch.ts';
import { mountsAt, mountsBelow } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { engineProcesses, isAlive } from './serve.ts';
import { type Context, capability, type Volume, volumeOn } from './volume.ts';

interface Row {
  readonly title: string;
  readonly context: (node: TestNode) => Readonly<Record<string, string>>;
  /** At each staging path. */
  readonly mounts: number;
  /** At which of the things that the last unpublish does, once the target is unmounted, removed and forgotten. */
  readonly killed: readonly (readonly [n: number, what: string])[];
}

const ROWS: readonly Row[] = [
  {
    title: 'an image',
    context: (node) => ({ type: 'image', source: node.at('image') }),
    mounts: 1,
    killed: [[4, 'before it is unmounted']],
  },
  {
    title: 'a tree of mounts',
    context: (node) => ({
      mounts: JSON.stringify([{ source: node.at('data') }, { type: 'tmpfs', target: 'sub' }]),
    }),
    mounts: 2,
    killed: [
      [5, 'before it is unmounted'],
      [6, 'with half of it unmounted'],
    ],
  },
];

describe('two volumes of one source', () => {
  let node: TestNode;
  const crash = crashSwitch();

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'mkfs.ext4', 'an image is made');
    needTool(this, 'unshare', 'a plugin starts in a mount namespace of its own');
    node = await startNode({ start: (directory) => crash.start(directory) });
    writeFiles(node.at('data'), { file: 'content', 'sub/': '' });
    IMAGES.ext4.make(node.at('image'), node.at('data'));
  });
  after(() => node?.[Symbol.asyncDispose]());

  const volumeCapability = capability('MULTI_NODE_MULTI_WRITER');
  const staged = ({ stagingPath }: Volume) => mountsAt(stagingPath).length + mountsBelow(stagingPath).length;
  const ok = { code: 'OK', message: '' };

  /** Both staged, and of one pod each. */
  async function bothPublished(context: Context): Promise<AsyncDisposableStack & { both: [Volume, Volume] }> {
    await using stack = new AsyncDisposableStack();
    const both = [stack.use(volumeOn(node, { context })), stack.use(volumeOn(node, { context }))] as [
      Volume,
      Volume,
    ];
    for (const volume of both) {
      expect(await volume.stage({ volumeCapability })).to.include(ok);
      expect(await volume.publish({ volumeCapability })).to.include(ok);
    }
    return Object.assign(stack.move(), { both });
  }

  for (const { title, context, mounts, killed } of ROWS) {
    it(`${title}: that of the last pod is unmounted, and there again for the next`, async () => {
      await using published = await bothPublished(context(node));
      const [first, second] = published.both;
      const another = first.targetOf('another');
      expect(await first.publish({ volumeCapability, targetPath: another })).to.include(ok);
      await first.unpublish();
      expect(staged(first), 'another pod has it').to.equal(mounts);
      await first.unpublish({ targetPath: another });
      expect([staged(first), staged(second)]).to.deep.equal([0, mounts]);

      // Kubelet has not asked yet, nor does it know; and the driver may be another by now.
      await node.kill();
      await node.start();
      expect(await first.publish({ volumeCapability })).to.include(ok);
      expect(staged(first)).to.equal(mounts);
      expect(readFileSync(join(first.target, 'file'), 'utf8')).to.equal('content');
      await first.unpublish();
      expect(staged(first)).to.equal(0);
      expect(await first.stage({ volumeCapability }), 'as after a restart of kubelet').to.include(ok);
      expect(staged(first)).to.equal(mounts);
      expect(await first.unstage()).to.include(ok);

      await second.unpublish();
      expect(staged(second), 'it is alone').to.equal(mounts);
      expect(await first.publish({ volumeCapability })).to.include({ code: 'FAILED_PRECONDITION' });
    });

    it(`${title}: held open when the last pod goes, it is not in the way of the other for ever`, async () => {
      await using published = await bothPublished(context(node));
      const [first, second] = published.both;
      const held = openSync(join(first.stagingPath, 'file'), 'r');
      try {
        expect(await first.unpublish()).to.include(ok);
        expect(mountsAt(first.stagingPath), 'it is in use').to.have.length(1);
      } finally {
        closeSync(held);
      }
      expect(await second.unpublish()).to.include(ok);
      expect([staged(first), staged(second)]).to.include(0);
      expect(await first.publish({ volumeCapability })).to.include(ok);
      expect(staged(first), 'all of it').to.equal(mounts);
    });

    for (const [n, what] of killed) {
      it(`${title}: nor when the plugin is killed ${what}`, async () => {
        await using published = await bothPublished(context(node));
        const [first, second] = published.both;
        await killedAt(n, () => first.unpublish());
        expect(staged(first), 'not all of it is gone').to.be.greaterThan(0);
        await node.start();
        expect(await second.unpublish()).to.include(ok);
        expect([staged(first), staged(second)]).to.include(0);
        expect(await first.unpublish(), 'again').to.include(ok);
        expect(await first.publish({ volumeCapability })).to.include(ok);
        expect(staged(first), 'all of it').to.equal(mounts);
      });
    }
  }

  describe('one of which cannot be mounted again at once', () => {
    const context = () => ({ type: 'image', source: node.at('image') });

    it('has it with a later publish, also from another plugin', async () => {
      await using published = await bothPublished(context());
      const [first] = published.both;
      expect(await first.unpublish()).to.include(ok);
      expect(staged(first)).to.equal(0);
      renameSync(node.at('image'), node.at('elsewhere'));
      try {
        expect(await first.publish({ volumeCapability })).to.include({ code: 'NOT_FOUND' });
        await node.kill();
        await node.start();
        expect(await first.publish({ volumeCapability }), 'again').to.include({ code: 'NOT_FOUND' });
      } finally {
        renameSync(node.at('elsewhere'), node.at('image'));
      }
      expect(await first.publish({ volumeCapability })).to.include(ok);
      expect(readFileSync(join(first.target, 'file'), 'utf8')).to.equal('content');
    });

    for (const [n, what] of [
      [1, 'when that was written down'],
      [2, 'when it was mounted'],
    ] as const) {
      it(`because the plugin was killed ${what}, has it with the next publish`, async () => {
        await using published = await bothPublished(context());
        const [first] = published.both;
        expect(await first.unpublish()).to.include(ok);
        await killedAt(n, () => first.publish({ volumeCapability }));
        expect(staged(first)).to.equal(n - 1);
        await node.start();
        expect(await first.publish({ volumeCapability })).to.include(ok);
        expect(readFileSync(join(first.target, 'file'), 'utf8')).to.equal('content');
      });
    }
  });

  /** The plugin is killed at the nth thing that it does in the call. */
  async function killedAt(n: number, call: () => Promise<unknown>): Promise<void> {
    const engines = engineProcesses(node.directory);
    crash.arm(n);
    await call();
    expect(crash.disarm()).to.have.length(n);
    await node.kill();
    await eventually('its engine is gone', () => !engines.some(isAlive));
  }
});
