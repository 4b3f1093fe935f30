// NodeStageVolume: what the volume shares on this node, mounted once at the staging path.

import { checkPolicy } from '../policy/policy.ts';
import type { CallContext } from '../rpc/context.ts';
import type { NodeStageVolumeRequest, NodeStageVolumeResponse } from '../rpc/generated/csi.ts';
import { readVolumeContext } from '../volume/context.ts';
import { stageMounts } from '../volume/mounts.ts';
import type { NodeDependencies } from './dependencies.ts';
import { ensureMounted } from './mounted.ts';
import { fingerprint, requireCapability, requirePath, requireVolumeId } from './request.ts';

export async function nodeStageVolume(
  request: NodeStageVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeStageVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.stagingTargetPath, 'staging_target_path');
  const capability = requireCapability(request.volumeCapability);
  const volume = readVolumeContext(request.volumeContext, capability.mountFlags);
  checkPolicy(volume);
  using _lock = deps.locks.take(volumeId);
  await ensureMounted(
    {
      key: { kind: 'stage', volumeId, path },
      fingerprint: fingerprint({ volumeContext: request.volumeContext, capability }),
      accessMode: capability.accessMode,
      mounts: stageMounts(volume),
    },
    deps,
    context,
  );
  return {};
}
