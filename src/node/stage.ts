// NodeStageVolume: what the volume shares on this node, mounted once at the staging path.
import type { RecordKey } from '../journal/record.ts';
import type { CallContext } from '../rpc/context.ts';
import type { NodeStageVolumeRequest, NodeStageVolumeResponse } from '../rpc/generated/csi.ts';
import { isShared, makesTargets, planStage } from '../volume/stage.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';
import { uncertainWhileHalfDone } from './half-done.ts';
import { mountVolume } from './mount-volume.ts';
import { ensurePlaced, requireAnswer, type Wanted } from './mounted.ts';
import { prepare } from './prepare.ts';
import { NodeError } from './reasons.ts';
import { fingerprint, isReaderMode, requirePath, requireVolumeId } from './request.ts';
import {
  describeVolume,
  type GrantedRequest,
  grant,
  growthOf,
  helpersOf,
  readVolumeRequest,
} from './volume-request.ts';

export async function nodeStageVolume(
  request: NodeStageVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeStageVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.stagingTargetPath, 'staging_target_path');
  const key = { kind: 'stage', volumeId, path } as const;
  return uncertainWhileHalfDone(key, deps, () => stage(key, request, context, deps));
}

async function stage(
  key: RecordKey,
  request: NodeStageVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeStageVolumeResponse> {
  const asked = readVolumeRequest(request, deps);
  const { volume, capability } = asked;
  if (volume.inline) {
    throw new NodeError('invalid-field', 'an inline volume is not staged; it is made when it is published');
  }
  // Pods with other groups share what is staged, and kubelet stages it again for any of them: each has its own view.
  const print = fingerprint({
    volumeContext: request.volumeContext,
    capability: { ...capability, group: undefined },
  });
  const granted = await grant(asked, { key, fingerprint: print, readonly: false }, deps, context);
  if (granted === undefined) return {};
  using _lock = deps.locks.take(key.volumeId, key.path);
  const { accessMode } = capability;
  const staging = stagingOf({ key, asked: granted, fingerprint: print, accessMode }, deps, context);
  await ensurePlaced(staging, deps, context);
  if (isShared(volume, undefined)) await requireAnswer(key, deps);
  return {};
}

export interface Staging {
  readonly key: RecordKey;
  readonly asked: GrantedRequest;
  readonly fingerprint: string;
  readonly accessMode: string;
  /** Kubelet holds it for staged already. */
  readonly letGo?: boolean;
}

/** What is staged, to be made or found. */
export function stagingOf(
  { key, asked, fingerprint, accessMode, letGo }: Staging,
  deps: NodeDependencies,
  context: CallContext,
): Wanted {
  const { volumeId, path } = key;
  const { volume, volumeContext, capability, grant } = asked;
  const { sourceRoots } = grant;
  const { group, mountFlags, fsType } = capability;
  const readOnly = isReaderMode(accessMode);
  const { before, mounts } = planStage(volume, { terms: grant, group, readOnly });
  return {
    key,
    fields: {
      fingerprint,
      accessMode,
      shape: mounts.length === 0 ? 'nothing' : volume.kind === 'mounts' ? 'tree' : 'mount',
      volume: describeVolume(volume),
      ...growthOf(volume, grant),
      ...(volume.kind === 'image' && { device: { image: volume.source } }),
      ...(letGo && { letGo }),
    },
    adopt: mounts[0] && { type: mounts[0].type, mounts: mounts.length, state: 'done' },
    async make() {
      await prepare(before, sourceRoots, deps, context);
      if (mounts.length === 0) return { state: 'done' };
      const target = placeOf(path, deps);
      const shown = await mountVolume(
        volume,
        {
          ...{ mounts, target, sourceRoots, expectEmpty: true, createTargets: makesTargets(volume) },
          ...helpersOf(grant),
        },
        { volumeId, volumeContext, mountFlags, fsType, readOnly },
        deps,
        timeoutOf(context),
      );
      return { state: 'done', shown };
    },
  };
}
