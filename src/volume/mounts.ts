// Which mounts make a volume. Pure.
//
//   stage     what is shared on the node: the volume itself, complete with ID mapping, at the staging path
//   publish   one pod's view: a bind of the staged mount, read-only where the request says so
//   inline    there is no stage: publish makes the volume itself
//
// nosuid and nodev always: what a volume holds must not raise privileges on the node. `private`, because a copy of
// a shared mount is born into its source's peer group, and what a pod mounts inside would show at the source.
import { escapeLayer } from '../mount/layers.ts';
import type { Mount } from '../mount/mount.ts';
import { VolumeError } from './errors.ts';
import type { Volume } from './volume.ts';

const ALWAYS = ['nosuid', 'nodev', 'private'];

export function stageMounts(volume: Volume): Mount[] {
  return [wholeVolume(volume, [])];
}

export interface Publication {
  /** Where the volume is staged; undefined for an inline one. */
  readonly stagingPath: string | undefined;
  /** The request's `readonly`, on which the container's own mount will be read-only too. */
  readonly readonly: boolean;
}

/** @throws VolumeError when `ro` is asked for in a way that would not hold inside the container */
export function publishMounts(volume: Volume, { stagingPath, readonly }: Publication): Mount[] {
  if (volume.type === 'bind' && volume.options.includes('ro') && !readonly) {
    throw new VolumeError(
      'options',
      'ro on a bind does not reach the container, whose runtime binds the volume again with flags of its own; ' +
        'set readOnly: true on the volume (pod) or its mount, or use type overlay, which is read-only by itself',
    );
  }
  const view = readonly ? ['ro'] : [];
  if (stagingPath === undefined) return [wholeVolume(volume, view)];
  return [{ type: 'bind', source: stagingPath, options: ['bind', ...ALWAYS, ...view] }];
}

function wholeVolume(volume: Volume, view: readonly string[]): Mount {
  const idmap = volume.idmap ? [`uidmap=${volume.idmap.uidmap}`, `gidmap=${volume.idmap.gidmap}`] : [];
  const options = [...ALWAYS, ...volume.options, ...idmap, ...view];
  switch (volume.type) {
    case 'bind':
      return { type: 'bind', source: volume.source, options: ['bind', ...options] };
    case 'tmpfs':
      return { type: 'tmpfs', source: 'tmpfs', options };
    case 'overlay':
      return { type: 'overlay', source: 'overlay', options: [...layerOptions(volume), ...options] };
  }
}

function layerOptions({ lowerdir, upper }: Extract<Volume, { type: 'overlay' }>): string[] {
  const lower = `lowerdir=${lowerdir.map(({ path }) => escapeLayer(path)).join(':')}`;
  if (upper === undefined) return [lower];
  return [lower, `upperdir=${escapeLayer(upper.upperdir)}`, `workdir=${escapeLayer(upper.workdir)}`];
}
