// NodeUnstageVolume: the staging path as the CO made it. An unknown volume is staged nowhere: OK.
import type { CallContext } from '../rpc/context.ts';
import type { NodeUnstageVolumeRequest, NodeUnstageVolumeResponse } from '../rpc/generated/csi.ts';
import type { NodeDependencies } from './dependencies.ts';
import { ensureGone } from './mounted.ts';
import { requirePath, requireVolumeId } from './request.ts';

export async function nodeUnstageVolume(
  request: NodeUnstageVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeUnstageVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.stagingTargetPath, 'staging_target_path');
  using _lock = deps.locks.take(volumeId, path);
  await ensureGone({ kind: 'stage', volumeId, path }, deps, context);
  return {};
}
