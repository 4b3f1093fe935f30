// Puts the volume in place of what was published first, when the pod's ids are known.
//
//   nested        below the cover at the target, in its one directory
//   placeholder   over it, at the target itself; below stays the placeholder, which shows again should the volume go
//
// Who knows the ids, and when, is in completions.ts (kubelet's record) and runtime.ts (the container runtime).
import path from 'node:path';
import type { VolumeRecord } from '../journal/record.ts';
import type { Lookup } from '../mount/lookup.ts';
import type { TargetSpec } from '../mount/target.ts';
import { shownId, type UserMapping } from '../userns/mapping.ts';
import { readVolumeContext } from '../volume/context.ts';
import { isView, layerWanted, nestedDirOf, type Publication, planMounts } from '../volume/publish.ts';
import { makesTargets } from '../volume/stage.ts';
import type { Volume } from '../volume/volume.ts';
import { type NodeDependencies, placeOf, TO_THE_END } from './dependencies.ts';
import { tellOfGroup } from './group.ts';
import { ensureLayer, rootsWith } from './layer.ts';
import { mountVolume } from './mount-volume.ts';
import { identityOf } from './mounted.ts';
import { isPlaceholder, mountPlaceholder } from './placeholder.ts';
import { isReaderMode } from './request.ts';
import { helpersOf } from './volume-request.ts';

/** Before this a record of a cover did not say which one. */
const coverOf = ({ cover = 'nested' }: VolumeRecord) => cover;

/**
 * Mounts what was promised, and writes it down. The caller holds the lock of the path.
 * @param record one that waits
 * @param podMapping of the pod; undefined for one in the host's user namespace
 */
export async function complete(
  record: VolumeRecord,
  podMapping: UserMapping | undefined,
  deps: NodeDependencies,
): Promise<void> {
  const { request } = record;
  if (request === undefined) throw new Error('the record does not say what was asked for');
  const { volumeContext, mountFlags, fsType, readonly, fsGroup: group } = request;
  const volume = readVolumeContext(volumeContext, { mountFlags, fsType });
  const readOnlyMode = isReaderMode(request.accessMode);
  const readOnly = readonly || readOnlyMode;
  const terms = deps.authorize(volume, { volumeId: record.volumeId, readOnly });
  const { stagingPath } = request;
  const publication = { ...{ terms, stagingPath, readonly, readOnlyMode, group }, mayMap: true };
  const wanted = layerWanted(volume, publication);
  const done = { ...record, state: 'done', layer: wanted !== undefined } as const;
  const isNested = coverOf(record) === 'nested';
  const place = placeOf(isNested ? path.join(record.path, nestedDirOf(volume)) : record.path, deps);
  const before = await lookAt(place, deps);
  // Whatever took it: a container would start on the directory that is there instead.
  if (!isNested && before.is === 'not') await mountPlaceholder(place.path, TO_THE_END, deps);
  // A driver that was killed came this far, and a container may have it by now.
  const there = volumeOf(before);
  if (there !== undefined) return deps.journal.put({ ...done, ...(!isNested && { mount: there }) });
  await using undo = new AsyncDisposableStack();
  const ownership = { idmap: volume.idmap, group, podMapping, mayMap: true };
  const layer = await ensureLayer(
    { volume, key: record, wanted, ownership, grant: terms, undo },
    deps,
    TO_THE_END,
  );
  const mounts = planMounts(volume, publication, { layer, podMapping });
  const sourceRoots =
    rootsOf(volume, publication, podMapping) ?? rootsWith(layer, { key: record, grant: terms }, deps);
  const mountRequest = { mounts, target: place, sourceRoots, createTargets: makesTargets(volume) };
  if (stagingPath !== undefined && isView(volume, publication, podMapping)) {
    await deps.engine.mountAll(mountRequest, TO_THE_END);
  } else {
    const { volumeId } = record;
    const asked = { volumeId, volumeContext, mountFlags, fsType, readOnly, podMapping };
    await mountVolume(volume, { ...mountRequest, ...helpersOf(terms) }, asked, deps, TO_THE_END);
  }
  undo.defer(async () => {
    if (volumeOf(await lookAt(place, deps))) await deps.engine.unmount({ target: place }, TO_THE_END);
  });
  const mount = isNested ? record.mount : volumeOf(await lookAt(place, deps));
  if (!isNested && mount === undefined) throw new Error(`the volume at ${place.path} is gone`);
  await deps.journal.put({ ...done, ...(mount && { mount }) });
  undo.move();
  const way = isNested ? 'nested' : 'nri';
  if (podMapping !== undefined) deps.metrics.count('csi_idmap_user_namespace_publish_total', { path: way });
  if (group === undefined || readonly) return;
  const shown = podMapping === undefined ? group : shownId(podMapping.gid, group);
  if (shown !== undefined) await tellOfGroup(volume, { group, shown }, place.path, deps);
}

/** A view is of what kubelet has staged, which must be there; else the sources are the author's. */
function rootsOf(
  volume: Volume,
  publication: Publication,
  podMapping: UserMapping | undefined,
): readonly { path: string; requireMountpoint: true }[] | undefined {
  const { stagingPath } = publication;
  if (stagingPath === undefined || !isView(volume, publication, podMapping)) return undefined;
  return [{ path: stagingPath, requireMountpoint: true }];
}

/** @throws Error when it cannot be told */
async function lookAt(target: TargetSpec, { engine }: NodeDependencies): Promise<Lookup> {
  const shown = await engine.lookup({ target }, TO_THE_END);
  if (shown.is === 'unknown')
    throw new Error(`cannot tell what is mounted at ${target.path}: ${shown.because}`);
  return shown;
}

/** The mount of the volume, if that is what is shown. */
function volumeOf(shown: Lookup): VolumeRecord['mount'] {
  if (shown.is !== 'mount-point' || isPlaceholder(shown.mount)) return undefined;
  return identityOf(shown.mount);
}
