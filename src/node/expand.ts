// NodeExpandVolume: makes an image, its loop device and its filesystem larger while they are in use. A volume without a
// size of its own (a directory, an overlay of directories) has what the node has: nothing is to be done. Never OK for what
// has not grown: the claim would have the new size.
import type { VolumeRecord } from '../journal/record.ts';
import type { CallContext } from '../rpc/context.ts';
import type { NodeExpandVolumeRequest, NodeExpandVolumeResponse } from '../rpc/generated/csi.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';
import { NodeError } from './reasons.ts';
import { mountAt, requireMounted } from './volume-path.ts';
import { KINDS_WITH_SIZE } from './volume-request.ts';

const BLOCK = 4_096n;

export async function nodeExpandVolume(
  request: NodeExpandVolumeRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeExpandVolumeResponse> {
  const { volumeId, path, record } = await requireMounted(request, deps, context);
  const { required, limit } = rangeOf(request);
  const known = deps.journal.of(volumeId);
  const size = await sizeOf(path, known, deps, context);
  if (size === 'of the node') return { capacityBytes: 0n };
  if (size === 'unknown' || known.length === 0) {
    throw new NodeError(
      'record-lost',
      `the record of volume ${volumeId} at ${path} is lost: how large it may become is not known; restart kubelet on ` +
        'this node, and it is written again',
    );
  }
  using _lock = deps.locks.take(volumeId, path);
  const records = deps.journal.of(volumeId);
  refuseGrowth(required, records);
  const place = stagedOf(records)?.path ?? record?.path ?? path;
  const image = records.map(({ device }) => device?.image).find((one) => one !== undefined);
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

/** A pod's view may be read-only; what is staged is what is grown. Earlier versions wrote down no shape. */
const stagedOf = (records: readonly VolumeRecord[]): VolumeRecord | undefined =>
  records.find(
    ({ kind, shape = 'mount', mount }) => kind === 'stage' && shape === 'mount' && mount !== undefined,
  );

/**
 * By the kind of the volume; where no record says that (an earlier version did not), by what is mounted. Of a whole filesystem
 * on a disk it takes the record of its stage to tell an image from a bind, which nothing is staged for: that one is a
 * filesystem of the node.
 */
async function sizeOf(
  path: string,
  records: readonly VolumeRecord[],
  deps: NodeDependencies,
  context: CallContext,
): Promise<'its own' | 'of the node' | 'unknown'> {
  const kind = records.map(({ volume }) => volume?.kind).find((one) => one !== undefined);
  if (kind !== undefined) return KINDS_WITH_SIZE.has(kind) ? 'its own' : 'of the node';
  const staged = stagedOf(records);
  const shown = await mountAt(staged?.path ?? path, deps, context);
  if (shown === undefined) return 'unknown';
  // No other volume is anything but a directory.
  const root = await deps.engine.rootOf(
    { source: path, sourceRoots: [{ path: deps.kubeletDir }] },
    timeoutOf(context),
  );
  if (!root.isDirectory) return 'its own';
  if (shown.root !== '/' || !shown.source.startsWith('/dev/')) return 'of the node';
  if (staged !== undefined) return 'its own';
  return records.some((record) => record.kind === 'stage') ? 'of the node' : 'unknown';
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
