// A volume at one of its paths, staged or published, as NodeGetVolumeStats and NodeExpandVolume name it.
import type { VolumeRecord } from '../journal/record.ts';
import type { CallContext } from '../rpc/context.ts';
import type { NodeDependencies } from './dependencies.ts';
import { isShown } from './mounted.ts';
import { NodeError } from './reasons.ts';
import { requireVolumeId } from './request.ts';

/** @throws NodeError (missing-field, invalid-field, volume-not-found) */
export async function requireMounted(
  request: { readonly volumeId: string; readonly volumePath: string },
  deps: NodeDependencies,
  context: CallContext,
): Promise<VolumeRecord> {
  const volumeId = requireVolumeId(request.volumeId);
  const { volumePath } = request;
  if (volumePath === '') throw new NodeError('missing-field', 'volume_path is missing');
  const record = deps.journal.of(volumeId).find(({ path }) => path === volumePath);
  if (record !== undefined && (await isShown(record, deps, context))) return record;
  throw new NodeError('volume-not-found', `volume ${volumeId} is not mounted at ${volumePath}`);
}
