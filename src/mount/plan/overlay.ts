// An overlay, its layers given to the kernel as file descriptors (Linux 6.15), so that their number and the
// length of their paths do not matter and no temporary mount is ever visible.
//
//   per layer:  open_tree(path)                           as it is, or, ID-mapped:
//               open_tree(path, OPEN_TREE_CLONE); mount_setattr(MOUNT_ATTR_IDMAP)
//   fsopen(overlay); fsconfig(lowerdir+ = fd)...; fsconfig(upperdir = fd, workdir = fd)
//   fsconfig(CMD_CREATE); fsmount(); mount_setattr(...)
//
// The ids of the lower layers are mapped, not those of the overlay: the kernel cannot map an overlay, and the
// upper layer holds what the mapped users wrote, under their own ids already.
import { MOUNT_ATTR } from '../../sys/constants.ts';
import { invalidMount } from '../errors.ts';
import { type Layer, parseLowerdir, unescapePath } from '../layers.ts';
import { keyAndValue, type ParsedOptions } from '../options.ts';
import type { Planner } from '../plan.ts';
import type { Slot } from '../steps/row.ts';
import type { Step } from '../steps.ts';
import { attributeSteps, usernsSteps } from './attributes.ts';
import { superblockSteps } from './filesystem.ts';

/** OVL_MAX_STACK, fs/overlayfs. */
const MAX_LAYERS = 500;

export const planOverlay: Planner = ({ source, options }) => {
  const { layers, upper, rest } = readOverlayOptions(options);
  const mapped = options.idmap !== undefined;
  const writable = upper !== undefined && (options.mount.set & MOUNT_ATTR.MOUNT_ATTR_RDONLY) === 0;
  return [
    ...usernsSteps(options.idmap),
    ...layers.flatMap((layer, i) => openLayer(layer.path, `layer${i}`, mapped)),
    { kind: 'openFilesystem', type: 'overlay', as: 'context' },
    ...superblockSteps(source || 'overlay', rest),
    ...layers.map((layer, i) => giveLayer(layer.dataOnly ? 'datadir+' : 'lowerdir+', `layer${i}`)),
    // The kernel refuses a single lowerdir without an upperdir; an empty layer below changes nothing.
    ...(layers.length === 1 && upper === undefined ? emptyLayer() : []),
    ...(upper === undefined ? [] : giveUpper(upper)),
    { kind: 'createMount', context: 'context', as: 'mount' },
    ...attributeSteps({ on: 'mount', options: rest, idmap: false, tree: false }),
    ...(writable ? [{ kind: 'checkWritable', on: 'mount' } as const] : []),
  ];
};

interface Upper {
  readonly upperdir: string;
  readonly workdir: string;
}

interface OverlayOptions {
  readonly layers: readonly Layer[];
  readonly upper: Upper | undefined;
  /** The options without the layers. */
  readonly rest: ParsedOptions;
}

function readOverlayOptions(options: ParsedOptions): OverlayOptions {
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
  return { layers, upper: readUpper(given), rest: { ...options, data } };
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

function openLayer(path: string, as: Slot, mapped: boolean): Step[] {
  if (!mapped) return [{ kind: 'openPath', path, as }];
  return [
    { kind: 'cloneTree', path, recursive: false, as },
    { kind: 'setAttributes', on: as, set: 0, clear: 0, recursive: false, propagation: 0, userns: 'userns' },
  ];
}

function giveLayer(key: string, slot: Slot): Step {
  return { kind: 'configure', context: 'context', key, value: { fd: slot } };
}

function giveUpper({ upperdir, workdir }: Upper): Step[] {
  return [
    { kind: 'openPath', path: upperdir, as: 'upper' },
    { kind: 'openPath', path: workdir, as: 'work' },
    giveLayer('upperdir', 'upper'),
    giveLayer('workdir', 'work'),
  ];
}

function emptyLayer(): Step[] {
  return [
    { kind: 'openFilesystem', type: 'tmpfs', as: 'emptyContext' },
    { kind: 'createMount', context: 'emptyContext', as: 'empty' },
    giveLayer('lowerdir+', 'empty'),
  ];
}
