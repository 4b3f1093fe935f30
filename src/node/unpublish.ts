// NodeUnpublishVolume: nothing mounted at the target, and no target. An unknown volume is published nowhere: OK.
import type { CallContext } from '../rpc/context.ts';
import type { NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse } from '../rpc/generated/csi.ts';
import type { NodeDependencies } from './dependencies.ts';
import { letGoOfStaged } from './let-go.ts';
import { ensureGone } from './mounted.ts';
import { requirePath, requireVolumeId } from './request.ts';

/** Rejects when the caller does not wait any longer. */
function untilAborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  return promise;
}

export async function nodeUnpublishVolume(
  request: NodeUnpublishVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeUnpublishVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.targetPath, 'target_path');
  const key = { kind: 'publish', volumeId, path } as const;
  await Promise.race([deps.completions.end(key), untilAborted(context.signal)]);
  using _lock = deps.locks.take(volumeId, path);
  await ensureGone(key, deps, context);
  await letGoOfStaged(volumeId, deps, context);
  return {};
}
