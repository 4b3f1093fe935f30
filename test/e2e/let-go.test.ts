// Two volumes that show the same image: kubelet does not unstage one while it sees the other mounted anywhere. So the driver
// unmounts what no pod uses any longer, and mounts it again should a pod come before kubelet asks.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { writeFiles } from '../support/fixtures.ts';
import { IMAGES } from '../support/images.ts';
import { needRoot, needTool } from '../support/need.ts';
import { mountsAt, mountsBelow } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { capability, type Volume, volumeOn } from './volume.ts';

interface Row {
  readonly title: string;
  readonly context: (node: TestNode) => Readonly<Record<string, string>>;
  /** At each staging path. */
  readonly mounts: number;
}

const ROWS: readonly Row[] = [
  { title: 'an image', context: (node) => ({ type: 'image', source: node.at('image') }), mounts: 1 },
  {
    title: 'a tree of mounts',
    context: (node) => ({
      mounts: JSON.stringify([{ source: node.at('data') }, { type: 'tmpfs', target: 'sub' }]),
    }),
    mounts: 2,
  },
];

describe('two volumes of one source', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'mkfs.ext4', 'an image is made');
    node = await startNode();
    writeFiles(node.at('data'), { file: 'content', 'sub/': '' });
    IMAGES.ext4.make(node.at('image'), node.at('data'));
  });
  after(() => node?.[Symbol.asyncDispose]());

  const volumeCapability = capability('MULTI_NODE_MULTI_WRITER');
  const staged = ({ stagingPath }: Volume) => mountsAt(stagingPath).length + mountsBelow(stagingPath).length;
  const ok = { code: 'OK', message: '' };

  for (const { title, context, mounts } of ROWS) {
    it(`${title}: that of the last pod is unmounted, and there again for the next`, async () => {
      await using first = volumeOn(node, { context: context(node) });
      await using second = volumeOn(node, { context: context(node) });
      for (const volume of [first, second]) {
        expect(await volume.stage({ volumeCapability })).to.include(ok);
        expect(await volume.publish({ volumeCapability })).to.include(ok);
      }
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
  }
});
