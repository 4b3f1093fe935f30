// NodePublishVolume: one pod's view of a staged volume, or all of an inline one.
import { checkPolicy } from '../policy/policy.ts';
import type { CallContext } from '../rpc/context.ts';
import type { NodePublishVolumeRequest, NodePublishVolumeResponse } from '../rpc/generated/csi.ts';
import { readVolumeContext } from '../volume/context.ts';
import { publishMounts } from '../volume/mounts.ts';
import type { NodeDependencies } from './dependencies.ts';
import { ensureMounted, isMounted } from './mounted.ts';
import { NodeError } from './reasons.ts';
import {
  type AccessMode,
  allowsSeveralTargets,
  fingerprint,
  requireCapability,
  requirePath,
  requireVolumeId,
} from './request.ts';

export async function nodePublishVolume(
  request: NodePublishVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodePublishVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.targetPath, 'target_path');
  const capability = requireCapability(request.volumeCapability);
  const volume = readVolumeContext(request.volumeContext, capability.mountFlags);
  checkPolicy(volume);
  const { readonly } = request;
  const stagingPath = volume.inline ? undefined : requireStagingPath(request.stagingTargetPath);
  const mounts = publishMounts(volume, { stagingPath, readonly });

  using _lock = deps.locks.take(volumeId);
  if (stagingPath !== undefined) await requireStaged(volumeId, stagingPath, deps, context);
  refuseSecondTarget(volumeId, path, capability.accessMode, deps);
  await ensureMounted(
    {
      key: { kind: 'publish', volumeId, path },
      fingerprint: fingerprint({ volumeContext: request.volumeContext, capability, readonly, stagingPath }),
      accessMode: capability.accessMode,
      mounts,
      create: 'directory',
    },
    deps,
    context,
  );
  return {};
}

/** CSI: FAILED_PRECONDITION when STAGE_UNSTAGE_VOLUME is advertised and no staging path was given. */
function requireStagingPath(stagingPath: string): string {
  if (stagingPath === '') throw new NodeError('not-staged', 'staging_target_path is missing');
  return requirePath(stagingPath, 'staging_target_path');
}

async function requireStaged(
  volumeId: string,
  stagingPath: string,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const record = deps.journal.find({ kind: 'stage', volumeId, path: stagingPath });
  if (record && (await isMounted(record, deps, context))) return;
  throw new NodeError('not-staged', `volume ${volumeId} is not staged at ${stagingPath}`);
}

function refuseSecondTarget(
  volumeId: string,
  path: string,
  mode: AccessMode,
  { journal }: NodeDependencies,
): void {
  if (allowsSeveralTargets(mode)) return;
  const other = journal.of(volumeId).find((record) => record.kind === 'publish' && record.path !== path);
  if (other === undefined) return;
  throw new NodeError(
    'published-elsewhere',
    `volume ${volumeId} is published at ${other.path} and its access mode ${mode} allows one target`,
  );
}
