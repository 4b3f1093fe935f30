// Damaged requests over gRPC, to every method, some at a time: valid ones with a damaged text in them, and their bytes with
// changes. What is served all the same is taken back by the calls that take such a thing back, and then nothing is left.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { type Client, connect } from '../../src/rpc/client.ts';
import {
  IdentityService,
  NodeExpandVolumeRequest,
  NodeGetVolumeStatsRequest,
  NodePublishVolumeRequest,
  NodeService,
  NodeStageVolumeRequest,
  NodeUnpublishVolumeRequest,
  NodeUnstageVolumeRequest,
  ProbeRequest,
} from '../../src/rpc/generated/csi.ts';
import type { TestNode } from '../e2e/node.ts';
import { blockCapability, capability, groupCapability, podInfo } from '../e2e/volume.ts';
import { cases } from '../support/cases.ts';
import { needRoot } from '../support/need.ts';
import { dataOf, descriptorsOf, expectUnharmed, fuzzedNode } from './node.ts';
import {
  damagedRequest,
  NEVER,
  rawClient,
  requestsTo,
  type Sent,
  sentOf,
  TIMEOUT_MS,
  type Valid,
} from './requests.ts';

type NodeMethod = Exclude<keyof Client<typeof NodeService>, 'close' | symbol>;

describe('damaged messages', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await fuzzedNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  it('of every method are refused or served, and nothing is left', async function () {
    this.timeout(0);
    const before = descriptorsOf(node);
    await sendDamaged();
    await expectUnharmed(node, before);
  });

  async function sendDamaged(): Promise<void> {
    using raw = rawClient({ ...IdentityService, ...NodeService }, node.socket);
    using client = connect(NodeService, node.socket);
    const corpus = requestsOf(node);
    const one = fc.constantFrom(...corpus).chain(damagedRequest);
    const list = fc.array(one, { minLength: 1, maxLength: 4 });
    const [valid] = corpus.filter(({ method }) => method === 'nodeStageVolume').map(sentOf);
    await fc.assert(
      fc.asyncProperty(list, fc.boolean(), async (sent, isStaged) => {
        makePlaces(node);
        if (isStaged && valid) expect(await raw.send(valid)).to.include({ code: 'OK' });
        const answers = await Promise.all(sent.map((each) => raw.send(each)));
        for (const [i, { code, message }] of answers.entries()) {
          expect(code, `${sent[i]?.method}: ${message}`).to.not.be.oneOf(NEVER);
        }
        const served = sent.filter((_, i) => answers[i]?.code === 'OK');
        for (const each of isStaged && valid ? [...served, valid] : served) await takeBack(client, each);
      }),
      { numRuns: cases(80) },
    );
  }
});

/** As kubelet does, which knows what it asked for. */
async function takeBack(client: Client<typeof NodeService>, sent: Sent | undefined): Promise<void> {
  const options = { timeoutMs: TIMEOUT_MS };
  switch (sent?.method as NodeMethod | undefined) {
    case 'nodePublishVolume': {
      const { volumeId, targetPath } = NodePublishVolumeRequest.decode(sent?.bytes ?? new Uint8Array());
      await client.nodeUnpublishVolume({ volumeId, targetPath }, options);
      break;
    }
    case 'nodeStageVolume': {
      const { volumeId, stagingTargetPath } = NodeStageVolumeRequest.decode(sent?.bytes ?? new Uint8Array());
      await client.nodeUnstageVolume({ volumeId, stagingTargetPath }, options);
      break;
    }
    default:
  }
}

const stagingPathOf = ({ kubeletDir }: TestNode): string =>
  `${kubeletDir}/plugins/kubernetes.io/csi/idmap.csi.dev/0f/globalmount`;
const UID = '0aa2c1f8-7d2c-4c5e-8d3f-8c6f2b7a1e11';
const targetPathOf = ({ kubeletDir }: TestNode): string =>
  `${kubeletDir}/pods/${UID}/volumes/kubernetes.io~csi/data/mount`;

/** What kubelet makes before it calls. */
function makePlaces(node: TestNode): void {
  mkdirSync(stagingPathOf(node), { recursive: true });
  mkdirSync(dirname(targetPathOf(node)), { recursive: true });
}

/** Valid requests of every method. */
function requestsOf(node: TestNode): Valid[] {
  const data = (...names: string[]) => dataOf(node, ...names);
  const ids = { uidmap: '0:100000:65536', gidmap: '0:100000:65536' };
  const contexts: readonly Record<string, string>[] = [
    { source: data('a'), ...ids },
    { type: 'tmpfs', sizeLimit: '1Mi', options: 'mode=0750,noatime' },
    { type: 'overlay', lowerdir: `${data('a')}:${data('b')}` },
    { type: 'overlay', lowerdir: data('a'), writable: 'ephemeral', ...ids },
    { type: 'overlay', lowerdir: data('a'), upperdir: data('upper'), workdir: data('work') },
    { type: 'image', source: data('new-image'), mkfs: 'true', size: '2Mi', fsType: 'ext4' },
    { type: 'image', source: data('image') },
    { mounts: JSON.stringify([{ source: data('a') }, { type: 'tmpfs', target: 'x', options: ['size=1m'] }]) },
  ];
  const [stagingTargetPath, targetPath] = [stagingPathOf(node), targetPathOf(node)];
  const volumeId = 'volume';
  const pod = { ...podInfo(volumeId), 'csi.storage.k8s.io/pod.uid': UID };
  const secrets = { password: 'hunter2' };
  const capabilities = [
    capability(),
    capability('MULTI_NODE_MULTI_WRITER', ['noexec']),
    groupCapability('1000'),
  ];
  const stages = contexts.flatMap((volumeContext) =>
    [...capabilities, blockCapability()].map((volumeCapability) =>
      NodeStageVolumeRequest.create({
        volumeId,
        stagingTargetPath,
        volumeCapability,
        volumeContext,
        secrets,
      }),
    ),
  );
  const publishes = contexts.flatMap((context) =>
    capabilities.flatMap((volumeCapability) => {
      const inline = { ...context, ...pod, 'csi.storage.k8s.io/ephemeral': 'true' };
      const common = {
        volumeId,
        targetPath,
        volumeCapability,
        secrets,
        readonly: context.type === 'overlay',
      };
      return [
        NodePublishVolumeRequest.create({
          ...common,
          stagingTargetPath,
          volumeContext: { ...context, ...pod },
        }),
        NodePublishVolumeRequest.create({ ...common, volumeContext: inline }),
      ];
    }),
  );
  const volumePath = targetPath;
  const capacityRange = { requiredBytes: 2n ** 21n, limitBytes: 2n ** 40n };
  const expand = {
    volumeId,
    volumePath,
    stagingTargetPath,
    capacityRange,
    volumeCapability: capability(),
    secrets,
  };
  return [
    ...['getPluginInfo', 'getPluginCapabilities', 'probe', 'nodeGetInfo', 'nodeGetCapabilities'].flatMap(
      (method) => requestsTo(method, ProbeRequest, [{}]),
    ),
    ...requestsTo('nodeStageVolume', NodeStageVolumeRequest, stages),
    ...requestsTo('nodePublishVolume', NodePublishVolumeRequest, publishes),
    ...requestsTo('nodeUnstageVolume', NodeUnstageVolumeRequest, [{ volumeId, stagingTargetPath }]),
    ...requestsTo('nodeUnpublishVolume', NodeUnpublishVolumeRequest, [{ volumeId, targetPath }]),
    ...requestsTo('nodeGetVolumeStats', NodeGetVolumeStatsRequest, [
      { volumeId, volumePath, stagingTargetPath },
    ]),
    ...requestsTo('nodeExpandVolume', NodeExpandVolumeRequest, [expand]),
  ];
}
