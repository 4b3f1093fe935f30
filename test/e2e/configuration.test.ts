// Flags and variables that change what the plugin does: that they reach what they are for.
import { expect } from 'chai';
import { needRoot } from '../support/need.ts';
import { kindNamed, volumeOfKind } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { flagsOf, serve, startPluginBelow } from './serve.ts';

const ENVIRONMENT = {
  CSI_IDMAP_MAX_VOLUMES: '110',
  CSI_IDMAP_DISABLE_KERNEL_FEATURE: 'mount-setattr,statmount',
};

describe('the configuration of the plugin', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    const wrapper = ['env', ...Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`)];
    node = await startNode({ start: (directory) => startPluginBelow(wrapper, directory) });
  });
  after(() => node?.[Symbol.asyncDispose]());

  it('the largest number of volumes is what NodeGetInfo says', async () => {
    const { response } = await node.ask((rpc) => rpc.nodeGetInfo({}));
    expect(response?.maxVolumesPerNode).to.equal(110n);
  });

  it('a kernel feature that is switched off is done without, and an ID map is refused for want of it', async () => {
    await using plain = volumeOfKind(node, kindNamed('bind'));
    expect(await plain.stage()).to.include({ code: 'OK' });
    expect(await plain.publish()).to.include({ code: 'OK' });
    await using mapped = volumeOfKind(node, kindNamed('bind, idmapped'));
    const answers = [await mapped.stage(), await mapped.publish()];
    const refused = answers.find(({ code }) => code !== 'OK');
    expect(refused?.code).to.equal('FAILED_PRECONDITION');
    expect(refused?.message).to.contain('mount_setattr(2)');
  });

  it('a flag whose value is a list may be given several times', async () => {
    const names = ['fsopen', 'teleport', 'statmount'];
    const flags = names.flatMap((name) => ['--disable-kernel-feature', name]);
    const { said, ended } = serve([...flagsOf(node.directory), ...flags]);
    expect(await ended).to.equal(1);
    expect(said.at(-1)).to.contain('--disable-kernel-feature "fsopen,teleport,statmount": the features are ');
  });
});
