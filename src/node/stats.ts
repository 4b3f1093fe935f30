// NodeGetVolumeStats: capacity of a mounted volume. The question is put to the filesystem in a child process
// and given up after a while: a hung one delays nobody else, and never the liveness of the driver.
import { newRecord, UNKNOWN } from '../journal/record.ts';
import { MountError } from '../mount/errors.ts';
import type { Count, Usage } from '../mount/usage.ts';
import type { CallContext } from '../rpc/context.ts';
import {
  type NodeGetVolumeStatsRequest,
  type NodeGetVolumeStatsResponse,
  VolumeUsage_Unit as Unit,
} from '../rpc/generated/csi.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';
import { NodeError } from './reasons.ts';
import { requireMounted } from './volume-path.ts';

const PATIENCE_MS = 5_000;

const LOST = { kind: 'publish', state: 'done', fingerprint: UNKNOWN, accessMode: '' } as const;

export async function nodeGetVolumeStats(
  request: NodeGetVolumeStatsRequest,
  context: CallContext,
  deps: NodeDependencies,
): Promise<NodeGetVolumeStatsResponse> {
  const { volumeId, path, record } = await requireMounted(request, deps, context);
  // Without its record it may be FUSE as well.
  const answer = await deps.fuse.ask(record ?? newRecord({ ...LOST, volumeId, path }, ''));
  if (!answer.answers) {
    const reason = answer.is === 'hung' ? 'timeout' : 'helper-failed';
    throw new MountError({ reason, message: `${path}: ${answer.because}`, rolledBack: true });
  }
  const usage = await usageOf(path, context, deps);
  return {
    usage: [
      entry(usage.bytes, Unit.BYTES),
      ...(usage.inodes === undefined ? [] : [entry(usage.inodes, Unit.INODES)]),
    ],
    volumeCondition: undefined,
  };
}

function entry({ total, used, available }: Count, unit: Unit) {
  return { total: BigInt(total), used: BigInt(used), available: BigInt(available), unit };
}

async function usageOf(path: string, context: CallContext, deps: NodeDependencies): Promise<Usage> {
  const { timeoutMs } = timeoutOf(context);
  try {
    const bounded = { timeoutMs: Math.min(timeoutMs, PATIENCE_MS) };
    return await deps.engine.usage({ target: placeOf(path, deps) }, bounded);
  } catch (error) {
    // Unpublished since the look before: stats wait for nobody's lock.
    if (!(error instanceof MountError) || error.reason !== 'bad-target') throw error;
    throw new NodeError('volume-not-found', error.message);
  }
}
