// Mounts made from other mounts. Pure: what is given is never changed, and comes back as it is where there is
// nothing to do.

import { IDMAP_OPTIONS } from './idmap-options.ts';
import type { Mount } from './mount.ts';
import { keyAndValue } from './options.ts';

/**
 * The same files, seen without being able to change them, and without work in progress: an overlay loses its
 * workdir, its upperdir becomes the top one of its lowerdirs, and it keeps nothing that is about writing or about
 * ids; any other mount gets `ro`. For looking into a snapshot beside whoever uses it.
 */
export function readonlyMounts(mounts: readonly Mount[]): Mount[] {
  return mounts.map((mount) =>
    mount.type === 'overlay' ? readonlyOverlay(mount) : { ...mount, options: readonlyOptions(mount.options) },
  );
}

/** `rro` and `rrw` speak of the mounts below, and stay. */
const readonlyOptions = (options: readonly string[]): string[] => [
  ...options.filter((option) => option !== 'ro' && option !== 'rw'),
  'ro',
];

/** Of an overlay that cannot be written, these mean nothing, or nothing good. */
const ABOUT_WRITING = new Set(['upperdir', 'workdir', ...IDMAP_OPTIONS, 'volatile', 'rw']);

function readonlyOverlay(mount: Mount): Mount {
  const upper = mount.options.map(keyAndValue).findLast(([key]) => key === 'upperdir')?.[1];
  const options = mount.options
    .filter((option) => !ABOUT_WRITING.has(keyOf(option)))
    .map((option) => {
      const [key, value] = keyAndValue(option);
      return key === 'lowerdir' && upper ? `lowerdir=${layerOf(upper)}:${value ?? ''}` : option;
    });
  return { ...mount, options };
}

/** A colon is plain in an upperdir and separates lowerdirs. A backslash means the same in both. */
const layerOf = (upperdir: string): string =>
  upperdir.replace(/\\.|:/gs, (one) => (one === ':' ? '\\:' : one));

/** Overlays without `volatile`, which the kernel does not let be mounted a second time. */
export const removeVolatile = (mounts: readonly Mount[]): readonly Mount[] =>
  mounts.map((mount) => (mount.type === 'overlay' ? without(mount, new Set(['volatile'])) : mount));

/** Mounts that show the ids that are on disk. */
export const removeIdmap = (mounts: readonly Mount[]): readonly Mount[] =>
  mounts.map((mount) => without(mount, IDMAP_OPTIONS));

function without(mount: Mount, keys: ReadonlySet<string>): Mount {
  const options = mount.options.filter((option) => !keys.has(keyOf(option)));
  return options.length === mount.options.length ? mount : { ...mount, options };
}

const keyOf = (option: string): string => keyAndValue(option)[0];
