// NodeUnpublishVolume: nothing mounted at the target, and no target. An unknown volume is published nowhere: OK.
import type { CallContext } from '../rpc/context.ts';
import type { NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse } from '../rpc/generated/csi.ts';
import type { NodeDependencies } from './dependencies.ts';
import { ensureGone } from './mounted.ts';
import { requirePath, requireVolumeId } from './request.ts';

export async function nodeUnpublishVolume(
  request: NodeUnpublishVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeUnpublishVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.targetPath, 'target_path');
  const key = { kind: 'publish', volumeId, path } as const;
  await deps.completions.end(key);
  using _lock = deps.locks.take(volumeId, path);
  await ensureGone(key, deps, context);
  return {};
}
