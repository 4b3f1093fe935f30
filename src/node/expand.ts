// NodeExpandVolume: makes an image, its loop device and its filesystem larger while they are in use. A volume without a
// size of its own (a directory, an overlay of directories) has what the node has: nothing is to be done.
import type { VolumeRecord } from '../journal/record.ts';
import type { CallContext } from '../rpc/context.ts';
import type { NodeExpandVolumeRequest, NodeExpandVolumeResponse } from '../rpc/generated/csi.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';
import { NodeError } from './reasons.ts';
import { requireMounted } from './volume-path.ts';
import { KINDS_WITH_SIZE } from './volume-request.ts';

const BLOCK = 4_096n;

export async function nodeExpandVolume(
  request: NodeExpandVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeExpandVolumeResponse> {
  const record = await requireMounted(request, deps, context);
  const { volumeId } = record;
  const { required, limit } = rangeOf(request);
  if (!KINDS_WITH_SIZE.has(record.volume?.kind ?? '')) return { capacityBytes: 0n };
  using _lock = deps.locks.take(volumeId, record.path);
  const records = deps.journal.of(volumeId);
  refuseGrowth(required, records);
  const place = writablePlace(record, records);
  const image = records.map(({ device }) => device?.image).find((path) => path !== undefined);
  const { bytes } = await deps.engine.grow(
    { target: placeOf(place, deps), bytes: Math.max(required, 1), ...(image !== undefined && { image }) },
    timeoutOf(context),
  );
  if (limit > 0 && bytes > limit) {
    throw new NodeError(
      'out-of-range',
      `volume ${volumeId} has ${bytes} bytes, more than limit_bytes ${limit}, and cannot be made smaller`,
    );
  }
  return { capacityBytes: BigInt(bytes) };
}

/** The policy's word, as it was when the volume was granted. */
function refuseGrowth(required: number, records: readonly VolumeRecord[]): void {
  const limits = records.flatMap(({ growTo }) => (growTo === undefined ? [] : [growTo]));
  const limit = Math.min(...limits);
  if (required <= limit) return;
  throw new NodeError(
    'out-of-range',
    `required_bytes ${required}: the policy allows this volume ${limit} (size.max); ask for less, or have an ` +
      'administrator allow more',
  );
}

/** A pod's view may be read-only; what is staged is what is grown. */
function writablePlace(record: VolumeRecord, records: readonly VolumeRecord[]): string {
  const staged = records.find(({ kind, shape }) => kind === 'stage' && shape === 'mount');
  return staged?.path ?? record.path;
}

/** Bytes; 0: not said. */
function rangeOf({ capacityRange }: NodeExpandVolumeRequest): { required: number; limit: number } {
  const [required, limit] = [capacityRange?.requiredBytes ?? 0n, capacityRange?.limitBytes ?? 0n];
  const wrong = (why: string) =>
    new NodeError('out-of-range', `capacity_range: required_bytes ${required}, limit_bytes ${limit}: ${why}`);
  if (required < 0n || limit < 0n) throw wrong('must not be negative');
  if (limit > 0n && required > limit) throw wrong('more is required than allowed');
  // Images grow by whole blocks.
  if (limit > 0n && ((required + BLOCK - 1n) / BLOCK) * BLOCK > limit) {
    throw wrong(`no whole number of blocks of ${BLOCK} bytes lies between them`);
  }
  if (required > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong('is more than any filesystem here can have');
  return { required: Number(required), limit: Number(limit) };
}
