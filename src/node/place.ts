// How what publish has planned (volume/publish.ts) is carried out at the target: one function for each kind of plan.
import { basename, dirname } from 'node:path';
import type { RecordKey } from '../journal/record.ts';
import { MountError } from '../mount/errors.ts';
import type { Lookup } from '../mount/lookup.ts';
import type { Mount } from '../mount/mount.ts';
import type { SourceRoot } from '../mount/source.ts';
import type { CallContext } from '../rpc/context.ts';
import { VolumeError } from '../volume/errors.ts';
import {
  layerWanted,
  mayLock,
  type Publication,
  type PublishPlan,
  planMounts,
  WITHOUT_FLAGS,
  withoutFlags,
} from '../volume/publish.ts';
import { makesTargets, preparationOf } from '../volume/stage.ts';
import type { Volume } from '../volume/volume.ts';
import { type NodeDependencies, placeOf, TO_THE_END, timeoutOf } from './dependencies.ts';
import { ensureLayer, rootsWith } from './layer.ts';
import { mountVolume } from './mount-volume.ts';
import type { Made } from './mounted.ts';
import { mountPlaceholder } from './placeholder.ts';
import { userNamespaceOf } from './pod-ids.ts';
import { prepare } from './prepare.ts';
import { NodeError } from './reasons.ts';
import { type GrantedRequest, helpersOf } from './volume-request.ts';

export interface Placing<P extends PublishPlan = PublishPlan> {
  readonly asked: GrantedRequest;
  readonly publication: Publication;
  readonly plan: P;
  readonly key: RecordKey;
  /** Runs what is put on it when the placing throws. */
  readonly undo: AsyncDisposableStack;
  /** What it is a view of must be staged, if it is one. Done for `publication`. */
  readonly requireSource: (publication: Publication) => Promise<void>;
}

type Place<P extends PublishPlan> = (
  placing: Placing<P>,
  deps: NodeDependencies,
  context: CallContext,
) => Promise<Made>;

const PLACES: { readonly [K in PublishPlan['is']]: Place<Extract<PublishPlan, { is: K }>> } = {
  device: placeDevice,
  nested: placeCover,
  placeholder: placePlaceholder,
  mounts: placeMounts,
};

/** All or nothing, with what `undo` takes back. `waiting`: the volume itself comes later (completions.ts). */
export function place(
  placing: Placing,
  deps: NodeDependencies,
  context: CallContext,
): ReturnType<Place<PublishPlan>> {
  // TypeScript cannot see that a plan and the function of its kind belong together.
  const row = PLACES[placing.plan.is] as Place<PublishPlan>;
  return row(placing, deps, context);
}

async function placeDevice(
  { plan: { image, readOnly }, asked: { grant }, key }: Placing<Extract<PublishPlan, { is: 'device' }>>,
  deps: NodeDependencies,
  context: CallContext,
): Promise<Made> {
  const { sourceRoots } = grant;
  const target = placeOf(key.path, deps);
  await deps.engine.attachDevice({ image, target, readOnly, create: true, sourceRoots }, timeoutOf(context));
  return { state: 'done' };
}

async function placeCover(
  { plan: { cover }, key }: Placing<Extract<PublishPlan, { is: 'nested' }>>,
  deps: NodeDependencies,
  context: CallContext,
): Promise<Made> {
  const target = placeOf(key.path, deps);
  const shown = await deps.engine.mountAll(
    { mounts: [cover], target, expectEmpty: true, create: 'directory' },
    timeoutOf(context),
  );
  return { state: 'waiting', shown };
}

/** What takes long is done now: the runtime does not wait. */
async function placePlaceholder(
  { asked: { volume, grant }, publication, key, undo }: Placing<Extract<PublishPlan, { is: 'placeholder' }>>,
  deps: NodeDependencies,
  context: CallContext,
): Promise<Made> {
  if (volume.inline) await prepareInline({ volume, grant, publication }, deps, context);
  const target = placeOf(key.path, deps);
  const shown = await mountPlaceholder(key.path, { ...timeoutOf(context), create: 'directory' }, deps);
  undo.defer(async () => {
    await deps.engine.unmount({ target, all: true, remove: 'directory' }, TO_THE_END);
  });
  // All hangs on that: a container that started on it would take it for the volume.
  const answer = await deps.engine.canIdmap({ target }, timeoutOf(context));
  if (answer.can)
    throw new NodeError('unexpected', 'this kernel maps the ids of overlays; use --user-namespaces nested');
  return { state: 'waiting', shown };
}

async function placeMounts(
  placing: Placing<Extract<PublishPlan, { is: 'mounts' }>>,
  deps: NodeDependencies,
  context: CallContext,
): Promise<Made> {
  const { publication, key, undo, requireSource } = placing;
  const { volume, grant } = placing.asked;
  const { group, mayMap } = publication;
  if (volume.inline) await prepareInline({ volume, grant, publication }, deps, context);
  const ownership = { idmap: volume.idmap, group, mayMap };
  const wanted = layerWanted(volume, publication);
  const layer = await ensureLayer({ volume, key, wanted, ownership, grant, undo }, deps, timeoutOf(context));
  const sourceRoots = rootsWith(layer, { key, grant }, deps);
  const isBare = mayLock(volume, publication) && (await isReadOnlyStage(volume, publication, deps, context));
  const mount = (planned: readonly Mount[]) => {
    const mounts = isBare ? planned.map(withoutFlags) : planned;
    return mountAt(key, { asked: placing.asked, mounts, publication, sourceRoots }, deps, context);
  };
  const shown = await mount(planMounts(volume, publication, { layer })).catch(async (error: unknown) => {
    await explainFile(error, placing.asked, deps);
    if (!isForGroupAlone(error, volume, publication)) throw error;
    // What cannot be mapped (NFS, FUSE) is had without showing the group: whether it can write, the pod is told.
    const unmapped = { ...publication, mayMap: false };
    await requireSource(unmapped);
    return mount(planMounts(volume, unmapped, { layer }));
  });
  undo.defer(async () => {
    await deps.engine.unmountRecursive({ target: placeOf(key.path, deps), remove: 'directory' }, TO_THE_END);
  });
  if (mayLock(volume, publication) && !isBare) await unlock(key.path, shown, deps, context);
  if (volume.idmap.is === 'pod') await requireMappable(volume, key.path, deps, context);
  return { state: 'done', shown };
}

/**
 * Whether what is staged is read-only by itself. Then its view has no flags from the start: flags of a mount do not propagate,
 * and those that are taken away where the driver is would stay where the runtime is.
 */
async function isReadOnlyStage(
  { kind }: Volume,
  { stagingPath }: Publication,
  deps: NodeDependencies,
  context: CallContext,
): Promise<boolean> {
  if (stagingPath === undefined || (kind !== 'image' && kind !== 'filesystem')) return false;
  const shown = await deps.engine.lookup({ target: placeOf(stagingPath, deps) }, timeoutOf(context));
  return shown.is === 'mount-point' && shown.mount.superblockOptions.includes('ro');
}

/** Whether a filesystem is read-only by itself, only the kernel knows of all kinds. */
async function unlock(
  path: string,
  known: Lookup | undefined,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const target = placeOf(path, deps);
  const shown = known ?? (await deps.engine.lookup({ target }, timeoutOf(context)));
  if (shown.is !== 'mount-point' || !shown.mount.superblockOptions.includes('ro')) return;
  await deps.engine.mountAll({ mounts: [WITHOUT_FLAGS], target }, timeoutOf(context));
}

/** As stage does for others. */
async function prepareInline(
  { volume, grant, publication }: Pick<GrantedRequest, 'volume' | 'grant'> & Pick<Placing, 'publication'>,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const { group, readonly, readOnlyMode } = publication;
  const before = preparationOf(volume, { group, readOnly: readonly || readOnlyMode });
  await prepare(before, grant.sourceRoots, deps, context);
}

interface Mounting {
  readonly asked: GrantedRequest;
  readonly mounts: readonly Mount[];
  readonly publication: Publication;
  readonly sourceRoots: readonly SourceRoot[];
}

async function mountAt(
  { volumeId, path }: RecordKey,
  { asked: { volume, volumeContext, capability, grant }, mounts, publication, sourceRoots }: Mounting,
  deps: NodeDependencies,
  context: CallContext,
): Promise<Lookup | undefined> {
  const { stagingPath, readonly, readOnlyMode } = publication;
  const request = { mounts, target: placeOf(path, deps), expectEmpty: true, create: 'directory' } as const;
  if (mounts.some(({ source }) => source === stagingPath)) {
    // A view: the staging path is kubelet's, and no source of the author's.
    return deps.engine.mountAll({ ...request, sourceRoots: [{ path: deps.kubeletDir }] }, timeoutOf(context));
  }
  const { mountFlags, fsType } = capability;
  return mountVolume(
    volume,
    { ...request, sourceRoots, createTargets: makesTargets(volume), ...helpersOf(grant) },
    { volumeId, volumeContext, mountFlags, fsType, readOnly: readonly || readOnlyMode },
    deps,
    timeoutOf(context),
  );
}

/** The volume is refused because it cannot be mapped, and only its group wants a map. */
function isForGroupAlone(error: unknown, { idmap }: Volume, { group, mayMap }: Publication): boolean {
  const isRefused = error instanceof MountError && error.rolledBack && error.reason === 'idmap-unsupported';
  return isRefused && mayMap && group !== undefined && idmap.is === 'none';
}

/**
 * A container is given a directory for a volume. That the source is none is found out by the mount, and told here.
 * @throws VolumeError
 */
async function explainFile(
  error: unknown,
  { volume, grant: { sourceRoots } }: GrantedRequest,
  { engine }: NodeDependencies,
): Promise<void> {
  const isUnlike = error instanceof MountError && error.rolledBack && error.reason === 'bad-target';
  if (!isUnlike || volume.kind !== 'bind') return;
  const { source } = volume;
  const root = await engine.rootOf({ source, sourceRoots }, TO_THE_END).catch(() => undefined);
  if (root === undefined || root.isDirectory) return;
  throw new VolumeError(
    'source',
    `${source} is a file, and a volume is a directory; give ${dirname(source)}, and mount the file with ` +
      `subPath: ${basename(source)}`,
  );
}

/** `idmap: pod` on what the runtime maps by itself: it must be able to. */
async function requireMappable(
  volume: Volume,
  path: string,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const { pod } = volume;
  const answer = await deps.engine.canIdmap({ target: placeOf(path, deps) }, timeoutOf(context));
  if (!answer.can) {
    const is = pod === undefined ? 'host' : (await userNamespaceOf(pod, deps)).is;
    if (is === 'host') return;
    throw new MountError({
      reason: 'idmap-unsupported',
      message:
        `idmap: pod: the container runtime cannot map this volume of type ${volume.type} to the pod: ${answer.because}; ` +
        'use type overlay with lowerdir, whose layers the driver maps itself, or run the pod with hostUsers: true',
      rolledBack: true,
    });
  }
  if (pod !== undefined) deps.metrics.count('csi_idmap_user_namespace_publish_total', { path: 'plain' });
}
