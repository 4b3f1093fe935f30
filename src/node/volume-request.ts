// What stage and publish read alike: the volume that is asked for, and whether its author may have it. Nothing has
// touched the node by then.
import { isOfRequest, type RecordKey } from '../journal/record.ts';
import type { MountRequest } from '../mount/operations.ts';
import { type Grant, PolicyError } from '../policy/policy.ts';
import { programsOf } from '../policy/terms.ts';
import type { CallContext } from '../rpc/context.ts';
import type { VolumeCapability } from '../rpc/generated/csi.ts';
import { readVolumeContext, type VolumeContext } from '../volume/context.ts';
import type { Volume } from '../volume/volume.ts';
import type { NodeDependencies } from './dependencies.ts';
import { isThere } from './mounted.ts';
import { NodeError } from './reasons.ts';
import { type Capability, isReaderMode, requireCapability } from './request.ts';

/** What can grow: it has a size of its own. */
export const KINDS_WITH_SIZE: ReadonlySet<string> = new Set(['image', 'filesystem']);

export interface VolumeRequest {
  readonly volume: Volume;
  /** As it came. */
  readonly volumeContext: VolumeContext;
  readonly capability: Capability;
}

export interface GrantedRequest extends VolumeRequest {
  readonly grant: Grant;
}

/** What both requests have. */
interface Asking {
  readonly volumeContext: VolumeContext;
  readonly volumeCapability: VolumeCapability | undefined;
}

/** @throws NodeError, VolumeError */
export function readVolumeRequest(
  { volumeContext, volumeCapability }: Asking,
  deps: Pick<NodeDependencies, 'fsgroup'>,
): VolumeRequest {
  const capability = requireCapability(volumeCapability);
  if (capability.group !== undefined && deps.fsgroup === 'kubelet') {
    throw new NodeError(
      'invalid-field',
      'volume_mount_group is not supported: the plugin does not advertise it (--fsgroup kubelet)',
    );
  }
  return { volume: readVolumeContext(volumeContext, capability), volumeContext, capability };
}

export interface Granting {
  readonly key: RecordKey;
  readonly fingerprint: string;
  /** The request's; its access mode counts too. */
  readonly readonly: boolean;
}

/**
 * The request with its terms. Undefined when the policy refuses what is there by this very request: kubelet asks again
 * for the volumes of running pods, and would take a refusal for "nothing is mounted".
 * @throws PolicyError
 */
export async function grant(
  asked: VolumeRequest,
  { key, fingerprint, readonly }: Granting,
  deps: NodeDependencies,
  context: CallContext,
): Promise<GrantedRequest | undefined> {
  const { volume, capability } = asked;
  const readOnly = readonly || isReaderMode(capability.accessMode);
  try {
    return { ...asked, grant: deps.authorize(volume, { volumeId: key.volumeId, readOnly }) };
  } catch (error) {
    const record = deps.journal.find(key);
    if (!(error instanceof PolicyError) || !record || !isOfRequest(record, fingerprint)) throw error;
    if (!(await isThere(record, deps, context))) throw error;
    context.log.warn('the policy refuses what was mounted under an earlier one', { problem: error.message });
    return undefined;
  }
}

/** Which programs FUSE helpers are, and as whom they run, as far as the policy says. */
export function helpersOf(grant: Grant): Pick<MountRequest, 'programs'> {
  const isSilent = grant.helperPrograms.size === 0 && grant.helperUsers.size === 0;
  return isSilent ? {} : { programs: programsOf(grant) };
}

/** What the journal keeps of a volume, for people and for a later start. */
export function describeVolume(volume: Volume): { kind: string; type: string; sources: string[] } {
  return { kind: volume.kind, type: volume.type, sources: sourcesOf(volume) };
}

/** For the record: how large the policy lets it grow. Whoever asks for that later names the volume alone. */
export function growthOf({ kind }: Volume, { growTo }: Grant): { readonly growTo?: number } {
  return growTo === undefined || !KINDS_WITH_SIZE.has(kind) ? {} : { growTo };
}

function sourcesOf(volume: Volume): string[] {
  switch (volume.kind) {
    case 'tmpfs':
      return [];
    case 'overlay': {
      const { lowerdir, writable } = volume;
      const upper = writable.is === 'persistent' ? [writable.upperdir] : [];
      return [...upper, ...lowerdir.map(({ path }) => path)];
    }
    case 'mounts':
      return volume.parts.flatMap((part) => sourcesOf(part.volume));
    default:
      return [volume.source];
  }
}
