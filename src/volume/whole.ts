// The mounts that make a volume out of its sources. Pure.
//
// `unpeered`, because a copy of a shared mount is born into its source's peer group, and what a pod mounts inside would
// show at the source; and not `private`, because a runtime refuses `mountPropagation: HostToContainer` on a private mount.
//
// Later options win: after the author's come those that say what the keys, the group and the request do.
import { mappingOptionsFor } from '../mount/fuse/mapping-options.ts';
import { escapeLayer } from '../mount/layers.ts';
import type { Mount } from '../mount/mount.ts';
import { freshRoot, idmapOptions, type Ownership } from './ownership.ts';
import type { FuseVolume, OverlayVolume, PartVolume, Volume } from './volume.ts';

/** What policy says of a volume, as far as its mounts go. */
export interface Terms {
  /** Flags of each mount, views of what is staged included: `nosuid`, `nodev`. */
  readonly options: readonly string[];
  /** Of a volume of several mounts one each, in their order; of others the one. */
  readonly parts: readonly PartTerms[];
}

export interface PartTerms {
  /** Of the filesystem that is made, not of views of it: `redirect_dir=nofollow`. */
  readonly options: readonly string[];
  /** Bytes that a tmpfs or an ephemeral layer may hold; undefined: as many as there are. */
  readonly sizeLimit: number | undefined;
}

const NO_TERMS: PartTerms = { options: [], sizeLimit: undefined };

/** Those of the volume's first or only mount. */
export const ownTerms = ({ parts: [own] }: Terms): PartTerms => own ?? NO_TERMS;

export interface Making {
  readonly terms: Terms;
  readonly ownership: Ownership;
  /** Options of the view: `ro`. */
  readonly view: readonly string[];
  /** The writable layer that was made for an ephemeral overlay. */
  readonly layer?: { readonly upperdir: string; readonly workdir: string } | undefined;
}

export function wholeVolume(volume: Volume, making: Making): Mount[] {
  const { terms } = making;
  if (volume.kind !== 'mounts') return [mountOf(volume, ownTerms(terms), making)];
  return volume.parts.map(({ target, volume: part }, i) => {
    const mount = mountOf(part, terms.parts[i] ?? NO_TERMS, {
      ...making,
      ownership: { idmap: part.idmap, group: undefined, mayMap: true },
    });
    return target === '' ? mount : { ...mount, target };
  });
}

function mountOf(volume: PartVolume, own: PartTerms, making: Making): Mount {
  const { terms, ownership, view } = making;
  const before = ['unpeered', ...terms.options, ...volume.options, ...own.options];
  const maps = idmapOptions(ownership);
  switch (volume.kind) {
    case 'bind':
      return { type: 'bind', source: volume.source, options: ['bind', ...before, ...maps, ...view] };
    case 'tmpfs':
      return {
        type: 'tmpfs',
        source: 'tmpfs',
        options: [...before, ...tmpfsOptions(own, making), ...maps, ...view],
      };
    case 'image':
      return { type: volume.filesystem, source: volume.source, options: [...before, ...maps, ...view] };
    case 'filesystem':
      return { type: volume.type, source: volume.source, options: [...before, ...maps, ...view] };
    case 'fuse':
      return {
        type: volume.type,
        source: volume.source,
        options: [...before, ...fuseOptions(volume, ownership), ...view],
      };
    case 'overlay':
      return {
        type: 'overlay',
        source: 'overlay',
        options: [...before, ...layerOptions(volume, making), ...view],
      };
  }
}

function tmpfsOptions({ sizeLimit }: PartTerms, { ownership }: Making): string[] {
  const root = freshRoot(ownership);
  const size = sizeLimit === undefined ? [] : [`size=${sizeLimit}`];
  return root === undefined ? size : [...size, `gid=${root.gid}`, `mode=${root.mode.toString(8)}`];
}

/**
 * Every user of the node may reach it (`allow_other`, mount.fuse3(8)), as far as the modes of the files let him
 * (`default_permissions`). The kernel maps few helpers (FUSE_ALLOW_IDMAP): a mapping that is asked for fails with others,
 * but a volume that could be had does not fail for a group. A pod's mapping is said in the helper's own words, if it has
 * any; without, the pod sees the ids that the helper gives.
 */
function fuseOptions({ helper }: FuseVolume, ownership: Ownership): string[] {
  const { idmap, podMapping } = ownership;
  const hasOwn = idmap.is === 'explicit' || idmap.is === 'owner';
  const said =
    podMapping === undefined || hasOwn
      ? idmapOptions({ ...ownership, group: undefined })
      : (mappingOptionsFor(helper, podMapping)?.options ?? []);
  return ['allow_other', 'default_permissions', ...said];
}

function layerOptions({ lowerdir, writable }: OverlayVolume, { ownership, layer }: Making): string[] {
  const text = lowerdir.map(
    ({ path, dataOnly }, i) => `${i === 0 ? '' : dataOnly ? '::' : ':'}${escapeLayer(path)}`,
  );
  const lower = `lowerdir=${text.join('')}`;
  const upper = writable.is === 'persistent' ? writable : layer;
  if (upper === undefined) return [lower, ...idmapOptions(ownership)];
  const dirs = [`upperdir=${escapeLayer(upper.upperdir)}`, `workdir=${escapeLayer(upper.workdir)}`];
  // The root that is seen is the upper layer's: a group is given to that, not shown.
  const maps = idmapOptions({ ...ownership, group: undefined });
  const isPods = writable.is === 'persistent' && ownership.podMapping !== undefined;
  return [lower, ...dirs, ...maps, ...(isPods ? ['idmapupper'] : [])];
}
