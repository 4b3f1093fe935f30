// What of the node a volume would reach, and whether it would change it. Pure.
import type { PartVolume } from '../volume/volume.ts';
import type { Root, Rule } from './policy.ts';
import { type Bindings, isWithin, matchRoot, plainPath } from './roots.ts';
import { isNetwork, isReadOnlyFilesystem } from './types.ts';

/** A path of the node that the volume names. */
export interface Source {
  /** The key that names it. */
  readonly key: 'source' | 'lowerdir' | 'upperdir' | 'workdir';
  readonly path: string;
  readonly writes: boolean;
}

/** @param readOnly the request lets nobody write: its access mode, or `readonly` */
export function sourcesOf(volume: PartVolume, readOnly: boolean): readonly Source[] {
  const writes = !isReadOnly(volume, readOnly);
  switch (volume.kind) {
    case 'tmpfs':
      return [];
    case 'overlay': {
      const { lowerdir, writable } = volume;
      const lower = lowerdir.map(({ path }): Source => ({ key: 'lowerdir', path, writes: false }));
      if (writable.is !== 'persistent') return lower;
      const { upperdir, workdir } = writable;
      return [
        ...lower,
        { key: 'upperdir', path: upperdir, writes: true },
        { key: 'workdir', path: workdir, writes: true },
      ];
    }
    case 'image':
      return [{ key: 'source', path: volume.source, writes: writes || volume.make !== undefined }];
    case 'filesystem':
    case 'fuse':
      return remoteOf(volume) === undefined ? [{ key: 'source', path: volume.source, writes }] : [];
    case 'bind':
      return [{ key: 'source', path: volume.source, writes }];
  }
}

/** A source that is no path of the node: `server:/export`. */
export function remoteOf(volume: PartVolume): string | undefined {
  if (volume.kind === 'filesystem') return isNetwork(volume.type) ? volume.source : undefined;
  return volume.kind === 'fuse' && !volume.source.startsWith('/') ? volume.source : undefined;
}

/** Nothing is written through it to its sources. */
function isReadOnly(volume: PartVolume, readOnly: boolean): boolean {
  if (volume.kind === 'image' && isReadOnlyFilesystem(volume.filesystem)) return true;
  if (volume.kind === 'filesystem' && isReadOnlyFilesystem(volume.type)) return true;
  return readOnly || asksReadOnly(volume);
}

function asksReadOnly({ options }: PartVolume): boolean {
  return options.findLast((option) => option === 'ro' || option === 'rw') === 'ro';
}

/** A view whose superblock nobody can write through: that holds in a container, whose runtime sets flags of its own. */
export function isReadOnlyView(volume: PartVolume, readOnly: boolean): boolean {
  switch (volume.kind) {
    case 'tmpfs':
      return true;
    case 'overlay':
      return volume.writable.is !== 'persistent';
    case 'bind':
      return false;
    case 'image':
      return volume.make === undefined && isReadOnly(volume, readOnly);
    default:
      return isReadOnly(volume, readOnly);
  }
}

export const DEVICES = '/dev';

export const isDevice = (path: string): boolean => path !== DEVICES && isWithin(path, DEVICES);

/** Where a source lies by a rule; `root` is undefined where it lies outside of all. */
export interface Place {
  readonly source: Source;
  readonly root: (Root & { readonly at: string }) | undefined;
}

/** The longest root that fits, which is the one that the engine takes too. */
export function locate(source: Source, { roots, devices }: Rule, bindings: Bindings): Place {
  const path = plainPath(source.path);
  if (path === undefined) return { source, root: undefined };
  if (isDevice(path)) return { source, root: devices ? DEVICE_ROOT : undefined };
  const byLength = roots.toSorted((a, b) => b.path.split('/').length - a.path.split('/').length);
  for (const root of byLength) {
    const at = matchRoot(root, path, bindings);
    if (at !== undefined) return { source, root: { ...root, at } };
  }
  return { source, root: undefined };
}

const DEVICE_ROOT: Place['root'] = {
  path: DEVICES,
  at: DEVICES,
  access: 'read-write',
  requireMountpoint: false,
  trusted: false,
};
