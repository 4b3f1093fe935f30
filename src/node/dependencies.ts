// What the handlers of the Node service work with.
import path from 'node:path';
import type { FuseHost } from '../fuse-host/client.ts';
import type { Journal } from '../journal/journal.ts';
import { layerNameOf, type RecordKey } from '../journal/record.ts';
import type { PodEvents } from '../kubernetes/events.ts';
import type { PodLookup } from '../kubernetes/pods.ts';
import type { Engine } from '../mount/engine.ts';
import type { TargetSpec } from '../mount/target.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { CallContext } from '../rpc/context.ts';
import type { Authorize } from './authorization.ts';
import type { Completions } from './completions.ts';
import type { FuseHealth } from './fuse-health.ts';
import type { Housekeeping } from './housekeeping.ts';
import type { VolumeLocks } from './locks.ts';
import type { PublishesUnderWay } from './under-way.ts';
import type { UserNamespaceWay } from './user-namespaces.ts';

export interface NodeDependencies {
  readonly nodeId: string;
  /** NodeGetInfo; 0: the CO decides. */
  readonly maxVolumes: number;
  /** Every staging and target path lies below it. */
  readonly kubeletDir: string;
  readonly stateDir: string;
  /** Whether fsGroup is the driver's to apply (VOLUME_MOUNT_GROUP), or kubelet's. */
  readonly fsgroup: 'idmap' | 'kubelet';
  readonly engine: Engine;
  readonly journal: Journal;
  readonly locks: VolumeLocks;
  readonly underWay: PublishesUnderWay;
  readonly pods: PodLookup;
  readonly events: PodEvents;
  readonly metrics: Metrics;
  readonly authorize: Authorize;
  readonly completions: Completions;
  readonly housekeeping: Pick<Housekeeping, 'wake'>;
  /** How a pod with a user namespace gets what the runtime cannot map: as it is now. */
  readonly userNamespaces: () => UserNamespaceWay;
  /** Where FUSE helpers run; undefined: below the engine. */
  readonly fuseHost: FuseHost | undefined;
  readonly fuse: FuseHealth;
}

export function placeOf(target: string, { kubeletDir }: Pick<NodeDependencies, 'kubeletDir'>): TargetSpec {
  return { path: target, beneath: kubeletDir };
}

/** Where the ephemeral writable layers are. */
export function layersDirectory({ stateDir }: Pick<NodeDependencies, 'stateDir'>): string {
  return path.join(stateDir, 'layers');
}

/** A directory with nothing in it, of which placeholders are made. */
export const emptyDirOf = ({ stateDir }: Pick<NodeDependencies, 'stateDir'>): string =>
  path.join(stateDir, 'empty');

/** The ephemeral writable layer of a publish, whether there is one or not. */
export function layerPathOf(key: RecordKey, deps: Pick<NodeDependencies, 'stateDir'>): string {
  return path.join(layersDirectory(deps), layerNameOf(key));
}

/** Kubelet waits two minutes; a caller without a deadline gets as long. */
const LONGEST_MS = 120_000;

/**
 * What is left of the caller's deadline, for one more step.
 * @throws StatusError (CANCELLED, DEADLINE_EXCEEDED) when the caller has gone
 */
export function timeoutOf(context: CallContext): { timeoutMs: number } {
  context.signal.throwIfAborted();
  return { timeoutMs: Math.min(context.remaining(), LONGEST_MS) };
}

/** For steps that a call is not left without, whether its caller waits or not: taking back, and writing down. */
export const TO_THE_END = { timeoutMs: 30_000 } as const;
