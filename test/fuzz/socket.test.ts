// Bytes on the socket of the plugin that are no calls (bytes.ts).
import { connect } from '../../src/rpc/client.ts';
import { NodeService } from '../../src/rpc/generated/csi.ts';
import type { TestNode } from '../e2e/node.ts';
import { needRoot } from '../support/need.ts';
import { harmNobody } from './bytes.ts';
import { descriptorsOf, expectUnharmed, fuzzedNode } from './node.ts';

describe('damaged bytes', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await fuzzedNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  const fuzzed = () => ({
    socket: node.socket,
    snapshot() {
      const descriptors = descriptorsOf(node);
      return () => expectUnharmed(node, descriptors);
    },
  });

  harmNobody(fuzzed, {
    async speak(socket) {
      using client = connect(NodeService, socket);
      await client.nodeGetInfo({});
      await client.nodeGetCapabilities({}, { timeoutMs: 10_000 });
      const stats = { volumeId: 'volume', volumePath: '/var/lib/x', stagingTargetPath: '' };
      await client.nodeGetVolumeStats(stats).catch(() => undefined);
      await client.nodeUnpublishVolume({ volumeId: '', targetPath: '' }).catch(() => undefined);
    },
    paths: [NodeService.nodeGetInfo.path, NodeService.nodeGetVolumeStats.path, '/csi.v1.Node/No'],
    bodies: [Buffer.alloc(0), Buffer.from('0a017612012f', 'hex')],
  });
});
