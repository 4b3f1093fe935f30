// The Node service: which handler answers which RPC, and what the plugin says it can do.
import {
  type NodeGetCapabilitiesResponse,
  type NodeGetInfoResponse,
  type NodeService,
  NodeServiceCapability_RPC_Type as Type,
} from '../rpc/generated/csi.ts';
import type { Handlers } from '../rpc/service.ts';
import type { NodeDependencies } from './dependencies.ts';
import { nodeExpandVolume } from './expand.ts';
import { nodePublishVolume } from './publish.ts';
import { nodeStageVolume } from './stage.ts';
import { nodeGetVolumeStats } from './stats.ts';
import { nodeUnpublishVolume } from './unpublish.ts';
import { nodeUnstageVolume } from './unstage.ts';

const CAPABILITIES = [
  Type.STAGE_UNSTAGE_VOLUME,
  Type.GET_VOLUME_STATS,
  Type.EXPAND_VOLUME,
  Type.SINGLE_NODE_MULTI_WRITER,
];

export function nodeHandlers(deps: NodeDependencies): Handlers<typeof NodeService> {
  return {
    nodeGetInfo: async () => nodeInfo(deps),
    nodeGetCapabilities: async () => capabilities(deps),
    nodeStageVolume: (request, context) => nodeStageVolume(request, context, deps),
    nodeUnstageVolume: (request, context) => nodeUnstageVolume(request, context, deps),
    nodePublishVolume: (request, context) => nodePublishVolume(request, context, deps),
    nodeUnpublishVolume: (request, context) => nodeUnpublishVolume(request, context, deps),
    nodeExpandVolume: (request, context) => nodeExpandVolume(request, context, deps),
    nodeGetVolumeStats: (request, context) => nodeGetVolumeStats(request, context, deps),
  };
}

function nodeInfo({ nodeId, maxVolumes }: NodeDependencies): NodeGetInfoResponse {
  return { nodeId, maxVolumesPerNode: BigInt(maxVolumes), accessibleTopology: undefined };
}

function capabilities({ fsgroup }: NodeDependencies): NodeGetCapabilitiesResponse {
  const types = fsgroup === 'idmap' ? [...CAPABILITIES, Type.VOLUME_MOUNT_GROUP] : CAPABILITIES;
  return { capabilities: types.map((type) => ({ type: { $case: 'rpc', value: { type } } })) };
}
