// NodePublishVolume: one pod's view of a staged volume, or all of an inline one (volume/publish.ts says which it is).
import { fieldsOf, type RecordKey, UNKNOWN, type VolumeRecord } from '../journal/record.ts';
import { MountError } from '../mount/errors.ts';
import { PolicyError } from '../policy/policy.ts';
import type { CallContext } from '../rpc/context.ts';
import type { NodePublishVolumeRequest, NodePublishVolumeResponse } from '../rpc/generated/csi.ts';
import { podUidOfTarget } from '../userns/pod-uid.ts';
import { isView, layerWanted, type Publication, type PublishPlan, planPublish } from '../volume/publish.ts';
import type { Volume } from '../volume/volume.ts';
import type { Adoptable } from './adopt.ts';
import type { NodeDependencies } from './dependencies.ts';
import { tellOfGroup } from './group.ts';
import { uncertainWhileHalfDone } from './half-done.ts';
import { ensurePlaced, findOrAdopt, findPlaced, isShown, isThere, requireAnswer } from './mounted.ts';
import { place } from './place.ts';
import { isPlaceholder } from './placeholder.ts';
import { mappedFor, userNamespaceOf } from './pod-ids.ts';
import { NodeError } from './reasons.ts';
import {
  type AccessMode,
  allowsSeveralTargets,
  fingerprint,
  isReaderMode,
  requirePath,
  requireVolumeId,
} from './request.ts';
import { type Staging, stagingOf } from './stage.ts';
import { describeVolume, type GrantedRequest, grant, growthOf, readVolumeRequest } from './volume-request.ts';

export async function nodePublishVolume(
  request: NodePublishVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodePublishVolumeResponse> {
  const volumeId = requireVolumeId(request.volumeId);
  const path = requirePath(request.targetPath, 'target_path');
  const key = { kind: 'publish', volumeId, path } as const;
  return uncertainWhileHalfDone(key, deps, () => publish(key, request, context, deps));
}

async function publish(
  key: RecordKey,
  request: NodePublishVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodePublishVolumeResponse> {
  const { volumeId, path } = key;
  const asked = readVolumeRequest(request, deps);
  const { volume, capability } = asked;
  const { readonly, volumeContext } = request;
  const stagingPath = volume.inline ? undefined : requireStagingPath(request.stagingTargetPath);
  const print = fingerprint({ volumeContext, capability, readonly, stagingPath });
  using _counted = deps.underWay.begin(volumeId, volume.pod);
  const granted = await grant(asked, { key, fingerprint: print, readonly }, deps, context);
  if (granted === undefined) return {};
  requirePodOfTarget(volume, path, deps);
  const wanted = { asked: granted, key, fingerprint: print, stagingPath, request };
  const record = await publishLocked(wanted, deps, context);
  // What completes it takes the lock itself.
  if (record?.state === 'waiting') await completeOrWait(record, volume, deps);
  else await requireAnswer(key, deps);
  return {};
}

interface Publish {
  readonly request: NodePublishVolumeRequest;
  readonly asked: GrantedRequest;
  readonly key: RecordKey;
  readonly fingerprint: string;
  readonly stagingPath: string | undefined;
}

async function publishLocked(
  publish: Publish,
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord | undefined> {
  const { key, fingerprint } = publish;
  using _lock = deps.locks.take(key.volumeId, key.path);
  // Before all that could be refused by now: kubelet takes a refusal for "nothing is mounted".
  const placed = await findPlaced(key, fingerprint, deps, context);
  // Awaited here, or the lock would be let go of before it is done.
  return placed ?? (await placeAnew(publish, deps, context));
}

async function placeAnew(
  { asked, key, fingerprint, stagingPath, request: { volumeContext, readonly } }: Publish,
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord | undefined> {
  const { volume, capability, grant: terms } = asked;
  const { accessMode, group } = capability;
  const { volumeId, path } = key;
  const { mayMap, cover } = await mappedFor(volume, group, deps);
  if (cover !== undefined) requirePodOfTarget(volume, path, deps, true);
  const readOnlyMode = isReaderMode(accessMode);
  const publication: Publication = {
    ...{ terms, stagingPath, readonly, readOnlyMode, group, mayMap, cover },
  };
  // Refused before anything is done, and before its layer is made.
  const plan = planPublish(volume, publication);
  const requireSource = async (shown: Publication) => {
    if (stagingPath === undefined || !isView(volume, shown, undefined)) return;
    const stage = { kind: 'stage', volumeId, path: stagingPath } as const;
    await requireStaged({ key: stage, asked, accessMode }, deps, context);
  };
  await requireSource(publication);
  refuseSecondTarget(volumeId, path, accessMode, deps);
  const { pod } = volume;
  const record = await ensurePlaced(
    {
      key,
      fields: {
        fingerprint,
        accessMode,
        shape: shapeOf(volume, plan),
        volume: describeVolume(volume),
        ...growthOf(volume, terms),
        layer: layerWanted(volume, publication) !== undefined,
        ...(volume.kind === 'image' &&
          (plan.is === 'device' || volume.inline) && { device: { image: volume.source } }),
        ...(pod && { pod }),
        ...(cover && {
          cover,
          request: {
            ...{ volumeContext, accessMode, readonly, block: capability.block },
            ...{ mountFlags: capability.mountFlags, fsType: capability.fsType },
            ...(group !== undefined && { fsGroup: group }),
            ...(stagingPath !== undefined && { stagingPath }),
          },
        }),
      },
      adopt: adoptable(plan),
      make: (undo) => place({ asked, publication, plan, key, undo, requireSource }, deps, context),
    },
    deps,
    context,
  );
  if (group !== undefined && !readonly && plan.is === 'mounts') {
    await tellOfGroup(volume, { group, shown: group }, path, deps);
  }
  return record;
}

/** One mount is whole or not there; of several some may be missing. */
function adoptable(plan: PublishPlan): Adoptable | undefined {
  switch (plan.is) {
    case 'device':
      return { type: 'device', mounts: 1, state: 'done' };
    case 'nested':
      return { type: plan.cover.type, mounts: 1, state: 'waiting' };
    // Or the volume itself, by now.
    case 'placeholder':
      return { type: 'auto', mounts: 1, state: (shown) => (isPlaceholder(shown) ? 'waiting' : 'done') };
    case 'mounts': {
      const [only, ...others] = plan.mounts;
      return only && others.length === 0 ? { type: only.type, mounts: 1, state: 'done' } : undefined;
    }
  }
}

function shapeOf(volume: Volume, plan: PublishPlan): NonNullable<VolumeRecord['shape']> {
  if (plan.is === 'device') return 'device';
  return plan.is === 'nested' || volume.kind === 'mounts' ? 'tree' : 'mount';
}

/** A pod on the host has its volume at once, one with a user namespace when kubelet has recorded it. */
async function completeOrWait(record: VolumeRecord, { pod }: Volume, deps: NodeDependencies): Promise<void> {
  const is = pod === undefined ? 'host' : (await userNamespaceOf(pod, deps)).is;
  if (is !== 'host') {
    deps.completions.begin(record);
    return;
  }
  try {
    await deps.completions.now(record, undefined);
  } catch (error) {
    // The cover stays at the target: kubelet comes back, or unpublishes.
    if (error instanceof MountError)
      throw new MountError({ ...error.toInit(), rolledBack: false }, { cause: error });
    // The policy has changed since it was asked for the cover.
    if (error instanceof PolicyError) throw new NodeError('unexpected', error.message);
    throw error;
  }
}

/**
 * What a volume may have, and whose ids it is shown with, is the pod's in whose directory kubelet wants it, whoever the
 * context says it is: without podInfoOnMount it is the author's to say, who cannot know the uid that his pod will have.
 */
function requirePodOfTarget(
  { pod, idmap }: Volume,
  path: string,
  { kubeletDir }: Pick<NodeDependencies, 'kubeletDir'>,
  needsPod = idmap.is === 'pod',
): void {
  if (pod === undefined) {
    if (!needsPod) return;
    throw new NodeError(
      'pod-unknown',
      'the volume needs to know the pod, and the request names none; set podInfoOnMount: true in the CSIDriver object',
    );
  }
  const uid = podUidOfTarget(kubeletDir, path);
  // A block volume has its place outside of the pods' directories.
  if (uid === pod.uid || (uid === undefined && !needsPod)) return;
  throw new NodeError(
    'invalid-field',
    `target_path ${path} is not in the directory of pod ${pod.uid}, which the volume context names`,
  );
}

/** CSI: FAILED_PRECONDITION when STAGE_UNSTAGE_VOLUME is advertised and no staging path was given. */
function requireStagingPath(stagingPath: string): string {
  if (stagingPath === '') throw new NodeError('not-staged', 'staging_target_path is missing');
  return requirePath(stagingPath, 'staging_target_path');
}

/**
 * Kubelet does not stage again what it knows to be staged. So where the record was lost, what is mounted is taken for it;
 * and what is not there any more, because it was let go of, or its FUSE server has ended, is staged anew here. That it is
 * held for staged outlives each try.
 */
async function requireStaged(
  { key, asked, accessMode }: Omit<Staging, 'fingerprint' | 'letGo'>,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const { volumeId, path } = key;
  const lost = stagingOf({ key, asked, fingerprint: UNKNOWN, accessMode }, deps, context);
  const record = await findOrAdopt(lost, deps, context);
  if (record === undefined || record.shape === 'nothing') throw notStaged(key);
  if (await isThere(record, deps, context)) return requireAnswer(key, deps);
  const fields = fieldsOf(record);
  if (await isShown(record, deps, context)) {
    context.log.warn('the server of a staged volume has ended; it is staged anew', { stagingPath: path });
    // Before it is taken away: nothing else tells it from what was never staged.
    await deps.journal.put({ ...fields, letGo: true });
  } else if (!record.letGo) {
    throw notStaged(key);
  }
  const granted = deps.authorize(asked.volume, { volumeId, readOnly: isReaderMode(fields.accessMode) });
  const again = {
    ...{ key, asked: { ...asked, grant: granted }, letGo: true },
    ...{ fingerprint: fields.fingerprint, accessMode: fields.accessMode },
  };
  await ensurePlaced(stagingOf(again, deps, context), deps, context);
}

const notStaged = ({ volumeId, path }: RecordKey): NodeError =>
  new NodeError('not-staged', `volume ${volumeId} is not staged at ${path}`);

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
