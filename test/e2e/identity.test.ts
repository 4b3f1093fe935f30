// What the plugin says of itself.
import { lstatSync } from 'node:fs';
import { expect } from 'chai';
import { type Client, connect } from '../../src/rpc/client.ts';
import { IdentityService, NodeServiceCapability_RPC_Type as Type } from '../../src/rpc/generated/csi.ts';
import { VERSION } from '../../src/version.ts';
import { needRoot } from '../support/need.ts';
import { startNode, type TestNode } from './node.ts';

describe('what the plugin says of itself', () => {
  let node: TestNode;
  let identity: Client<typeof IdentityService>;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    identity = connect(IdentityService, node.socket);
  });
  after(async () => {
    identity?.close();
    await node?.[Symbol.asyncDispose]();
  });

  it('Probe: ready', async () => {
    expect(await identity.probe({})).to.deep.equal({ ready: true });
  });

  it('GetPluginInfo: a name that starts and ends with a letter, and the version of the package', async () => {
    const { name, vendorVersion, manifest } = await identity.getPluginInfo({});
    expect(name).to.equal('idmap.csi.dev');
    expect(vendorVersion).to.equal(VERSION);
    expect(vendorVersion).to.match(/^\d+\.\d+\.\d+/);
    expect(manifest).to.deep.equal({});
  });

  it('GetPluginCapabilities: no controller, no topology', async () => {
    expect((await identity.getPluginCapabilities({})).capabilities).to.deep.equal([]);
  });

  it('NodeGetInfo: the configured node, no limit, no topology', async () => {
    const { response } = await node.ask((rpc) => rpc.nodeGetInfo({}));
    expect(response).to.deep.equal({
      nodeId: 'sanity',
      maxVolumesPerNode: 0n,
      accessibleTopology: undefined,
    });
  });

  it('NodeGetCapabilities: what the methods do', async () => {
    const { response } = await node.ask((rpc) => rpc.nodeGetCapabilities({}));
    const types = response?.capabilities.map(({ type }) => type?.value.type);
    expect(types?.toSorted()).to.deep.equal(
      [
        Type.STAGE_UNSTAGE_VOLUME,
        Type.GET_VOLUME_STATS,
        Type.EXPAND_VOLUME,
        Type.SINGLE_NODE_MULTI_WRITER,
        Type.VOLUME_MOUNT_GROUP,
      ].toSorted(),
    );
  });

  it('its socket is for its owner alone', () => {
    expect(lstatSync(node.socket).mode & 0o777).to.equal(0o600);
  });
});
