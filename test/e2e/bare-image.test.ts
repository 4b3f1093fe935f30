// An image that is read-only by itself, of a driver in a mount namespace of its own, as the chart has it: no flags on the
// mount that the node sees, or no container with a user namespace starts on it (src/volume/publish.ts).
import { expect } from 'chai';
import { writeFiles } from '../support/fixtures.ts';
import { IMAGES } from '../support/images.ts';
import { needRoot, needTool } from '../support/need.ts';
import { theMountAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { startPluginBelow } from './serve.ts';
import { volumeOn } from './volume.ts';

describe('an image that cannot be written, with the driver in another mount namespace', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'mksquashfs', 'the image is made with it');
    const wrapper = ['unshare', '--mount', '--propagation', 'unchanged'];
    node = await startNode({ start: (directory) => startPluginBelow(wrapper, directory) });
    writeFiles(node.at('data'), { file: 'content' });
    IMAGES.squashfs.make(node.at('image'), node.at('data'));
  });
  after(() => node?.[Symbol.asyncDispose]());

  it('has no flags where the runtime looks', async () => {
    await using volume = volumeOn(node, { context: { type: 'image', source: node.at('image') } });
    expect(await volume.stage()).to.include({ message: '' });
    expect(await volume.publish()).to.include({ message: '' });
    const { type, options, superblock } = theMountAt(volume.target);
    expect(type).to.equal('squashfs');
    expect(superblock).to.include('ro');
    expect(options).to.include('rw').and.not.include.oneOf(['nosuid', 'nodev', 'noexec']);
  });
});
