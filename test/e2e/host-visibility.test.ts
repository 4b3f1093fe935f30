// A driver whose mounts nobody else would see says so, and serves nobody.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { IdentityService, NodeService } from '../../src/rpc/generated/csi.ts';
import { StatusError } from '../../src/rpc/status.ts';
import { eventually, mountPlace } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { flagsOf, serve } from './serve.ts';
import { capability } from './volume.ts';

describe('a plugin whose kubelet directory is not shared with the node', () => {
  before(function () {
    needRoot(this, 'mount namespaces');
    needTool(this, 'unshare', 'a mount namespace for the plugin');
  });

  for (const propagation of ['private', 'slave']) {
    it(`${propagation}: is not ready, does not register, and refuses volumes with the remedy`, async () => {
      using place = mountPlace();
      mkdirSync(place.at('kubelet/plugins_registry'), { recursive: true });
      const wrapper = ['unshare', '--mount', '--propagation', propagation, '--'];
      const { child, said, ended } = serve([...flagsOf(place.path), '--registration', 'on'], wrapper);
      try {
        await eventually('it has started', () => said.some((line) => line.includes('not ready')));
        expect(said.join()).to.contain('mountPropagation: Bidirectional');
        const socket = join(place.path, 'csi.sock');
        using identity = connect(IdentityService, socket);
        expect((await identity.probe({})).ready).to.equal(false);
        using node = connect(NodeService, socket);
        const request = {
          ...{
            volumeId: 'v',
            publishContext: {},
            stagingTargetPath: place.at('kubelet/staging'),
            secrets: {},
          },
          ...{ volumeCapability: capability(), volumeContext: { type: 'tmpfs' } },
        };
        const refused = await node.nodeStageVolume(request).catch((error: unknown) => error);
        expect(refused).to.be.instanceOf(StatusError).and.include({ code: 'UNAVAILABLE' });
        expect(said.some((line) => line.includes('registered'))).to.equal(
          said.some((line) => line.includes('not registered')),
        );
      } finally {
        child.kill('SIGTERM');
        await ended;
      }
    });
  }
});
