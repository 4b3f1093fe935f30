// What the driver asks to have started, read anew: the volume as its author wrote it, the policy of this node, and the
// mount that comes of both. The driver has done the same; whoever takes it over must not get more out of this process
// than policy gives. Pure.
import { MountError } from '../mount/errors.ts';
import type { Mount } from '../mount/mount.ts';
import type { MountRequest } from '../mount/operations.ts';
import type { TargetSpec } from '../mount/target.ts';
import type { Facts } from '../policy/authorize.ts';
import type { Grant } from '../policy/policy.ts';
import { programsOf } from '../policy/terms.ts';
import type { StartRequest } from '../rpc/generated/fusehost.ts';
import { parseIdMapping, type UserMapping } from '../userns/mapping.ts';
import { readVolumeContext } from '../volume/context.ts';
import type { FuseVolume, Volume } from '../volume/volume.ts';
import { wholeVolume } from '../volume/whole.ts';

export interface Reading {
  readonly kubeletDir: string;
  /** Directories that no volume may show. */
  readonly forbidden: readonly string[];
  /** @throws PolicyError */
  readonly authorize: (volume: Volume, facts: Facts) => Grant;
}

export interface ReadStart {
  readonly helper: string;
  readonly uid: number;
  /** Where the FUSE filesystem will be. */
  readonly place: TargetSpec;
  readonly request: MountRequest;
}

/** @throws VolumeError, PolicyError, MappingError, MountError (invalid-mount) */
export function readStart(asked: StartRequest, { kubeletDir, forbidden, authorize }: Reading): ReadStart {
  const { volumeContext, mountFlags, fsType, readOnly, part } = asked;
  const volume = readVolumeContext(volumeContext, { mountFlags, fsType });
  const { volume: fuse, target: below } = partOf(volume, part);
  // How many volumes a namespace has is the driver's to count: it has the records.
  const grant = authorize(volume, { volumesOfNamespace: 0, forbidden, readOnly });
  const mounts = wholeVolume(volume, {
    terms: grant,
    ownership: {
      idmap: volume.idmap,
      group: undefined,
      mayMap: true,
      podMapping: podMappingOf(asked, volume),
    },
    view: readOnly ? ['ro'] : [],
  });
  const mount = mounts[part] as Mount;
  const target = { path: asked.target, beneath: kubeletDir };
  const programs = { ...programsOf(grant), foreground: true };
  return {
    helper: fuse.helper,
    uid: programs.users?.[fuse.helper]?.uid ?? 0,
    place: below === '' ? target : { ...target, path: `${asked.target}/${below}` },
    request: {
      ...{ mounts: [mount], target, sourceRoots: grant.sourceRoots, programs },
      ...(below === '' && { expectEmpty: true }),
      ...(asked.createTarget && (below === '' ? { create: 'directory' } : { createTargets: true })),
    },
  };
}

function partOf(volume: Volume, part: number): { volume: FuseVolume; target: string } {
  const found =
    volume.kind === 'mounts' ? volume.parts[part] : part === 0 ? { volume, target: '' } : undefined;
  if (found?.volume.kind === 'fuse') return { volume: found.volume, target: found.target };
  throw new MountError({
    reason: 'invalid-mount',
    message: `mount ${part} of the volume is no FUSE filesystem, which is all that is mounted here`,
    rolledBack: true,
  });
}

function podMappingOf({ podUidmap, podGidmap }: StartRequest, { idmap }: Volume): UserMapping | undefined {
  if (idmap.is !== 'pod' || podUidmap === '') return undefined;
  return { uid: parseIdMapping(podUidmap, 'pod_uidmap'), gid: parseIdMapping(podGidmap, 'pod_gidmap') };
}
