// What stage and publish read alike: the volume that is asked for, and whether its author may have it. Nothing has
// touched the node by then.
import type { Grant } from '../policy/policy.ts';
import type { VolumeCapability } from '../rpc/generated/csi.ts';
import { readVolumeContext, type VolumeContext } from '../volume/context.ts';
import type { Volume } from '../volume/volume.ts';
import type { NodeDependencies } from './dependencies.ts';
import { NodeError } from './reasons.ts';
import { type Capability, requireCapability } from './request.ts';

export interface VolumeRequest {
  readonly volume: Volume;
  readonly capability: Capability;
  readonly grant: Grant;
}

/** @throws NodeError, VolumeError, PolicyError */
export function readVolumeRequest(
  context: VolumeContext,
  volumeCapability: VolumeCapability | undefined,
  deps: Pick<NodeDependencies, 'authorize' | 'fsgroup'>,
): VolumeRequest {
  const capability = requireCapability(volumeCapability);
  if (capability.group !== undefined && deps.fsgroup === 'kubelet') {
    throw new NodeError(
      'invalid-field',
      'volume_mount_group is not supported: the plugin does not advertise it (--fsgroup kubelet)',
    );
  }
  const volume = readVolumeContext(context, capability);
  return { volume, capability, grant: deps.authorize(volume) };
}

/** What the journal keeps of a volume, for people and for a later start. */
export function describeVolume(volume: Volume): { kind: string; type: string; sources: string[] } {
  return { kind: volume.kind, type: volume.type, sources: sourcesOf(volume) };
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
