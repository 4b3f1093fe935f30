// An overlay by detached mounts, ID-mapped layer by layer; on most kernels no temporary mount is ever visible.
//
//   kernel   layers                                           number and paths
//   6.15     given as file descriptors (lowerdir+)            500, of any length
//   5.19     put under short names in a private namespace     500, of any length
//   else     plan/classic-overlay.ts
//
//   per layer:  open(path, O_PATH)                        as it is, or, ID-mapped:
//               open_tree(path, OPEN_TREE_CLONE); mount_setattr(MOUNT_ATTR_IDMAP)
//   fsopen(overlay); fsconfig(lowerdir+ = fd)...; fsconfig(upperdir = fd, workdir = fd)
//   fsconfig(CMD_CREATE); fsmount(); mount_setattr(...)
//
// The ids of the lower layers are mapped, not those of the overlay: the kernel cannot map an overlay, and the
// upper layer holds what the mapped users wrote, under their own ids already. One that must not (idmapupper) is mapped too,
// always in the private namespace: there it gets a name that tells two overlays of one upperdir (steps/claim.ts), which a
// detached copy of its mount has not; and its thread can be somebody else while it mounts.
import type { Layer } from '../layers.ts';
import type { Planner } from '../plan.ts';
import type { Slot, Upper } from '../steps/row.ts';
import { sameMountMessage } from '../steps/upper.ts';
import type { Step } from '../steps.ts';
import { planAssembled } from './assembled-overlay.ts';
import { planClassicOverlay } from './classic-overlay.ts';
import { superblockSteps } from './filesystem.ts';
import { finishDetached } from './finish.ts';
import { claimSteps, cloneLayers, readOverlay, writableSteps } from './overlay-options.ts';

export const planOverlay: Planner = (mount, kernel) => {
  const { source, options } = mount;
  const overlay = readOverlay(options);
  if (!kernel.has('overlay-layers-by-fd') || options.idmap?.upper) {
    return kernel.has('private-namespace') ? planAssembled(mount, kernel) : planClassicOverlay(mount, kernel);
  }
  const { layers, upper, rest } = overlay;
  return [
    ...claimSteps(overlay),
    ...(options.idmap === undefined ? openLayers(layers) : cloneLayers(layers, options.idmap)),
    { kind: 'openFilesystem', type: 'overlay', as: 'context' },
    ...superblockSteps('overlay', source || 'overlay', rest),
    ...layers.map((layer, i) => giveLayer(layer.dataOnly ? 'datadir+' : 'lowerdir+', `layer${i}`)),
    // The kernel refuses a single lowerdir without an upperdir; an empty layer below changes nothing.
    ...(layers.length === 1 && upper === undefined ? [...emptyLayer(), giveLayer('lowerdir+', 'empty')] : []),
    ...(upper === undefined ? [] : giveUpper(upper)),
    { kind: 'createMount', context: 'context', as: 'mount' },
    ...writableSteps(overlay),
    ...finishDetached({ options: rest, idmap: false, tree: false, kernel }),
  ];
};

function openLayers(layers: readonly Layer[]): Step[] {
  return layers.map(({ path }, i) => ({ kind: 'openPath', path, as: `layer${i}` }));
}

function giveLayer(key: string, slot: Slot): Step {
  return { kind: 'configure', context: 'context', key, value: { fd: slot } };
}

function giveUpper(both: Upper): Step[] {
  const { upperdir, workdir } = both;
  return [
    { kind: 'openPath', path: upperdir, as: 'upper' },
    { kind: 'openPath', path: workdir, as: 'work' },
    { kind: 'checkSameMount', slots: ['upper', 'work'], message: sameMountMessage(both) },
    giveLayer('upperdir', 'upper'),
    giveLayer('workdir', 'work'),
  ];
}

function emptyLayer(): Step[] {
  return [
    { kind: 'openFilesystem', type: 'tmpfs', as: 'emptyContext' },
    { kind: 'createMount', context: 'emptyContext', as: 'empty' },
  ];
}
