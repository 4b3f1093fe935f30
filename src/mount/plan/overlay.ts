// An overlay by detached mounts, ID-mapped layer by layer; on most kernels no temporary mount is ever visible.
//
//   kernel   layers                                           number and paths
//   6.15     given one by one (lowerdir+)                     500, of any length
//   5.19     put under short names in a private namespace     500, of any length
//   else     plan/classic-overlay.ts
//
//   open(path, O_PATH)...    each layer, unless names serve; in a copy of its mount where that is ID-mapped
//                            (steps/layers.ts)
//   fsopen(overlay); fsconfig(lowerdir+ = name or fd)...; fsconfig(upperdir = fd, workdir = fd)
//   fsconfig(CMD_CREATE); fsmount(); mount_setattr(...)
//
// The ids of the lower layers are mapped, not those of the overlay: the kernel cannot map an overlay, and the
// upper layer holds what the mapped users wrote, under their own ids already. One that must not (idmapupper) is mapped too,
// always in the private namespace: there it gets a name that tells two overlays of one upperdir (steps/claim.ts), which a
// detached copy of its mount has not; and its thread can be somebody else while it mounts.
import type { Layer } from '../layers.ts';
import type { Planner } from '../plan.ts';
import type { ConfigValue } from '../steps/filesystem.ts';
import type { Upper } from '../steps/row.ts';
import { sameMountMessage } from '../steps/upper.ts';
import type { Step } from '../steps.ts';
import { planAssembled } from './assembled-overlay.ts';
import { planClassicOverlay } from './classic-overlay.ts';
import { superblockSteps } from './filesystem.ts';
import { finishDetached } from './finish.ts';
import { claimSteps, layerSlot, openLayers, readOverlay, writableSteps } from './overlay-options.ts';

export const planOverlay: Planner = (mount, kernel) => {
  const { source, options } = mount;
  const overlay = readOverlay(options);
  if (!kernel.has('overlay-layers-by-fd') || options.idmap?.upper) {
    return kernel.has('private-namespace') ? planAssembled(mount, kernel) : planClassicOverlay(mount, kernel);
  }
  const { layers, upper, rest } = overlay;
  const byName = options.idmap === undefined && !mount.held && layers.every(fitsString);
  return [
    ...claimSteps(overlay),
    ...(byName ? [] : openLayers(layers, options)),
    { kind: 'openFilesystem', type: 'overlay', as: 'context' },
    ...superblockSteps('overlay', source || 'overlay', rest),
    ...layers.map((layer, i) => {
      const value = byName ? { directory: layer.path } : { fd: layerSlot(i) };
      return giveLayer(layer.dataOnly ? 'datadir+' : 'lowerdir+', value);
    }),
    // The kernel refuses a single lowerdir without an upperdir; an empty layer below changes nothing.
    ...(layers.length === 1 && upper === undefined
      ? [...emptyLayer(), giveLayer('lowerdir+', { fd: 'empty' })]
      : []),
    ...(upper === undefined ? [] : giveUpper(upper)),
    { kind: 'createMount', context: 'context', as: 'mount' },
    ...writableSteps(overlay),
    ...finishDetached({ options: rest, idmap: false, tree: false, kernel }),
  ];
};

/** A value given to fsconfig(2) as a string has at most 255 bytes; a character at most three for each of its units. */
const fitsString = ({ path }: Layer): boolean => path.length <= 85 || Buffer.byteLength(path) <= 255;

function giveLayer(key: string, value: ConfigValue): Step {
  return { kind: 'configure', context: 'context', key, value };
}

function giveUpper(both: Upper): Step[] {
  const { upperdir, workdir } = both;
  return [
    { kind: 'openPath', path: upperdir, as: 'upper' },
    { kind: 'openPath', path: workdir, as: 'work' },
    { kind: 'checkSameMount', slots: ['upper', 'work'], message: sameMountMessage(both) },
    giveLayer('upperdir', { fd: 'upper' }),
    giveLayer('workdir', { fd: 'work' }),
  ];
}

function emptyLayer(): Step[] {
  return [
    { kind: 'openFilesystem', type: 'tmpfs', as: 'emptyContext' },
    { kind: 'createMount', context: 'emptyContext', as: 'empty' },
  ];
}
