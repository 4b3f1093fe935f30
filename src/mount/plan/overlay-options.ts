// What an overlay is made of, read from its options, and the steps that every way to make one shares.
import { MOUNT_ATTR } from '../../sys/constants.ts';
import { invalidMount } from '../errors.ts';
import type { IdmapRequest } from '../idmap-options.ts';
import { type Layer, parseLowerdir, unescapePath } from '../layers.ts';
import { keyAndValue, type ParsedOptions } from '../options.ts';
import type { Slot, Upper } from '../steps/row.ts';
import type { Step } from '../steps.ts';
import { checkRootSteps, usernsSteps } from './attributes.ts';

/** OVL_MAX_STACK, fs/overlayfs. */
const MAX_LAYERS = 500;

export interface OverlayOptions {
  readonly layers: readonly Layer[];
  readonly upper: Upper | undefined;
  /** The options without the layers. */
  readonly rest: ParsedOptions;
}

export function readOverlay(options: ParsedOptions): OverlayOptions {
  const given = new Map<string, string>();
  const data: string[] = [];
  for (const option of options.data) {
    const [key, value] = keyAndValue(option);
    if (key === 'lowerdir' || key === 'upperdir' || key === 'workdir') given.set(key, value ?? '');
    else data.push(option);
  }
  const lowerdir = given.get('lowerdir');
  if (lowerdir === undefined)
    throw invalidMount('an overlay needs lowerdir=, one layer or several, top first');
  const layers = parseLowerdir(lowerdir, 'lowerdir');
  if (layers.length > MAX_LAYERS) {
    throw invalidMount(
      `lowerdir: ${layers.length} layers, the kernel takes at most ${MAX_LAYERS}; merge some`,
    );
  }
  const upper = readUpper(given);
  if (upper === undefined && options.idmap?.upper)
    throw invalidMount('idmapupper without upperdir: give upperdir and workdir, or leave it out');
  return { layers, upper, rest: { ...options, data } };
}

function readUpper(given: ReadonlyMap<string, string>): Upper | undefined {
  const upperdir = given.get('upperdir');
  const workdir = given.get('workdir');
  if (!upperdir && !workdir) return undefined;
  if (!upperdir) throw invalidMount('workdir without upperdir: give both for a writable overlay, or neither');
  if (!workdir) {
    throw invalidMount(
      'upperdir without workdir: add workdir=, an empty directory on the filesystem of upperdir',
    );
  }
  return { upperdir: unescapePath(upperdir), workdir: unescapePath(workdir) };
}

/** Before anything is made of it. */
export function claimSteps({ upper }: OverlayOptions): Step[] {
  return upper === undefined ? [] : [{ kind: 'claimUpper', upperdir: upper.upperdir, as: 'claim' }];
}

export function writableSteps({ upper, rest }: OverlayOptions): Step[] {
  const writable = upper !== undefined && (rest.mount.set & MOUNT_ATTR.MOUNT_ATTR_RDONLY) === 0;
  return writable ? [{ kind: 'checkWritable', on: 'mount', ...mappedUpper(rest) }] : [];
}

/** What the steps are told where the upper layer is mapped like the lower ones. */
export const mappedUpper = ({ idmap }: ParsedOptions): { readonly userns?: Slot } =>
  idmap?.upper ? { userns: 'userns' } : {};

/** What one layer is called in a plan. */
export const layerSlot = (i: number): Slot => `layer${i}`;

/**
 * The layers in their slots, as descriptors. The root that counts, for an ID map, is the top one's.
 * @param copied in copies of their mounts, mapped or not
 */
export function openLayers(
  layers: readonly Layer[],
  { idmap, copied = false }: { readonly idmap: IdmapRequest | undefined; readonly copied?: boolean },
): Step[] {
  const [top] = layers;
  const named = layers.map(({ path }, i) => ({ slot: layerSlot(i), path }));
  const copies = copied ? ({ copied } as const) : {};
  if (idmap === undefined || top === undefined) return [{ kind: 'openLayers', layers: named, ...copies }];
  return [
    ...(idmap.root ? [{ kind: 'openPath', path: top.path, as: TOP } as const] : []),
    ...usernsSteps(idmap, TOP),
    { kind: 'openLayers', layers: named, ...copies, userns: 'userns' },
    ...checkRootSteps(idmap, layerSlot(0)),
  ];
}

/** The top layer as it is on disk. */
const TOP = 'top';

/** The same for names that are to be mounted one by one: a copy of each. */
export function cloneLayers(layers: readonly Layer[], idmap: IdmapRequest): Step[] {
  return layers.flatMap(({ path }, i): Step[] => {
    const on = layerSlot(i);
    const clone: Step = { kind: 'cloneTree', path, recursive: false, layer: true, as: on };
    const map = { set: 0, clear: 0, recursive: false, propagation: 0, userns: 'userns' } as const;
    const mapped: Step[] = [{ kind: 'setAttributes', on, ...map }];
    if (i > 0) return [clone, ...mapped];
    return [clone, ...usernsSteps(idmap, on), ...mapped, ...checkRootSteps(idmap, on)];
  });
}
