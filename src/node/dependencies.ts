// What the handlers of the Node service work with.
import type { Journal } from '../journal/journal.ts';
import type { PodEvents } from '../kubernetes/events.ts';
import type { PodLookup } from '../kubernetes/pods.ts';
import type { Engine } from '../mount/engine.ts';
import type { TargetSpec } from '../mount/target.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { CallContext } from '../rpc/context.ts';
import type { VolumeLocks } from './locks.ts';

export interface NodeDependencies {
  readonly nodeId: string;
  /** 0: the CO decides how many volumes fit. */
  readonly maxVolumes: number;
  /** Every staging and target path lies below it. */
  readonly kubeletDir: string;
  readonly engine: Engine;
  readonly journal: Journal;
  readonly locks: VolumeLocks;
  readonly pods: PodLookup;
  readonly events: PodEvents;
  readonly metrics: Metrics;
}

export function placeOf(path: string, { kubeletDir }: NodeDependencies): TargetSpec {
  return { path, beneath: kubeletDir };
}

/** Kubelet waits two minutes; a caller without a deadline gets as long. */
const LONGEST_MS = 120_000;

/** What is left of the caller's deadline, for one step. */
export function timeoutOf(context: CallContext): { timeoutMs: number } {
  return { timeoutMs: Math.min(context.remaining(), LONGEST_MS) };
}
