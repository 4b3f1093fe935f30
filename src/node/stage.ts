// NodeStageVolume: what the volume shares on this node, mounted once at the staging path.
import type { CallContext } from '../rpc/context.ts';
import type { NodeStageVolumeRequest, NodeStageVolumeResponse } from '../rpc/generated/csi.ts';
import { makesTargets, planStage } from '../volume/stage.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';
import { ensurePlaced } from './mounted.ts';
import { prepare } from './prepare.ts';
import { NodeError } from './reasons.ts';
import { fingerprint, isReaderMode, requirePath, requireVolumeId } from './request.ts';
import { describeVolume, grant, helpersOf, readVolumeRequest } from './volume-request.ts';

export async function nodeStageVolume(
  request: NodeStageVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeStageVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.stagingTargetPath, 'staging_target_path');
  const asked = readVolumeRequest(request, deps);
  const { volume, capability } = asked;
  if (volume.inline) {
    throw new NodeError('invalid-field', 'an inline volume is not staged; it is made when it is published');
  }
  const key = { kind: 'stage', volumeId, path } as const;
  // Pods with other groups share what is staged, and kubelet stages it again for any of them: each has its own view.
  const print = fingerprint({
    volumeContext: request.volumeContext,
    capability: { ...capability, group: undefined },
  });
  const granted = await grant(asked, { key, fingerprint: print, readonly: false }, deps, context);
  if (granted === undefined) return {};
  const { sourceRoots } = granted.grant;
  const { accessMode, group } = capability;
  const readOnly = isReaderMode(accessMode);
  const { before, mounts } = planStage(volume, { terms: granted.grant, group, readOnly });
  using _lock = deps.locks.take(volumeId, path);
  await ensurePlaced(
    {
      key,
      fields: {
        fingerprint: print,
        accessMode,
        shape: mounts.length === 0 ? 'nothing' : volume.kind === 'mounts' ? 'tree' : 'mount',
        volume: describeVolume(volume),
        ...(volume.kind === 'image' && { device: { image: volume.source } }),
      },
      adopt: mounts[0] && { type: mounts[0].type, state: 'done' },
      async make() {
        await prepare(before, sourceRoots, deps, context);
        if (mounts.length === 0) return 'done';
        const target = placeOf(path, deps);
        await deps.engine.mountAll(
          {
            ...{ mounts, target, sourceRoots, expectEmpty: true, createTargets: makesTargets(volume) },
            ...helpersOf(granted.grant),
          },
          timeoutOf(context),
        );
        return 'done';
      },
    },
    deps,
    context,
  );
  return {};
}
