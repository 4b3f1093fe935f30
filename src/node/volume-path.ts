// A volume at one of its paths, as NodeGetVolumeStats and NodeExpandVolume name it.
//
//   where it is staged or published    its record says so, and the kernel shows the same mount there still
//   volumeDevices/<volume>/dev/<pod>   kubelet's own bind of a block device that was published (MapBlockVolume()), by which it
//                                      asks for stats (NewBlockVolumeMapper()): of the same device as one of its records
//   where its record is lost           kubelet asks a driver for volumes of that driver only, and names each by a path that no
//                                      other one has: what is mounted there is the volume
import path from 'node:path';
import type { VolumeRecord } from '../journal/record.ts';
import { MountError } from '../mount/errors.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import { isWithin } from '../mount/target.ts';
import type { CallContext } from '../rpc/context.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';
import { isMountOf, isShown } from './mounted.ts';
import { NodeError } from './reasons.ts';
import { requireVolumeId } from './request.ts';

export interface MountedVolume {
  readonly volumeId: string;
  /** Where it was asked for. */
  readonly path: string;
  /** Undefined where it is lost. */
  readonly record: VolumeRecord | undefined;
}

/** @throws NodeError (missing-field, invalid-field, volume-not-found) */
export async function requireMounted(
  request: { readonly volumeId: string; readonly volumePath: string },
  deps: NodeDependencies,
  context: CallContext,
): Promise<MountedVolume> {
  const volumeId = requireVolumeId(request.volumeId);
  const { volumePath } = request;
  if (volumePath === '') throw new NodeError('missing-field', 'volume_path is missing');
  const records = deps.journal.of(volumeId);
  const here = deps.journal.at(volumePath);
  const own = here.find((record) => record.volumeId === volumeId);
  if (own !== undefined && (await isShown(own, deps, context)))
    return { volumeId, path: volumePath, record: own };
  const shown = here.length === 0 ? await mountAt(volumePath, deps, context) : undefined;
  if (shown !== undefined) {
    const record = records.filter(mayShowDevice).find((one) => isMountOf(one, shown));
    const isLost =
      records.every(({ shape }) => shape !== 'device') &&
      isOfVolume(path.relative(deps.kubeletDir, volumePath));
    if (record !== undefined || isLost) return { volumeId, path: volumePath, record };
  }
  throw new NodeError('volume-not-found', `volume ${volumeId} is not mounted at ${volumePath}`);
}

/** Below the kubelet directory, where alone volumes are. */
export async function mountAt(
  place: string,
  deps: NodeDependencies,
  context: CallContext,
): Promise<MountInfo | undefined> {
  const isPlace = path.isAbsolute(place) && path.normalize(place) === place && !place.includes('\0');
  if (!isPlace || place === deps.kubeletDir || !isWithin(place, deps.kubeletDir)) return undefined;
  try {
    const shown = await deps.engine.lookup({ target: placeOf(place, deps) }, timeoutOf(context));
    if (shown.is === 'unknown')
      throw new NodeError('unexpected', `cannot tell what is mounted at ${place}: ${shown.because}`);
    return shown.is === 'mount-point' ? shown.mount : undefined;
  } catch (error) {
    // A symbolic link leads there.
    if (error instanceof MountError && error.reason === 'bad-target') return undefined;
    throw error;
  }
}

/** An earlier version did not write down what it is that it mounted. */
const mayShowDevice = ({ shape = 'device', mount }: VolumeRecord): boolean =>
  shape === 'device' && mount !== undefined;

/** Below the kubelet directory. What is staged, and what block volumes have, is below one directory. */
const PLACES_OF_VOLUMES = [
  /^pods\/[^/]+\/volumes\/kubernetes\.io~csi\/[^/]+\/mount$/,
  /^plugins\/kubernetes\.io\/csi\//,
];

const isOfVolume = (below: string): boolean => PLACES_OF_VOLUMES.some((place) => place.test(below));
