// An overlay assembled in a private mount namespace (thread/assemble.ts), where its layers have short names.
import type { Planner } from '../plan.ts';
import { classicSuperblockFlags } from './classic-flags.ts';
import { superblockFlags } from './filesystem.ts';
import { finishDetached } from './finish.ts';
import {
  claimSteps,
  layerSlot,
  mappedUpper,
  openLayers,
  readOverlay,
  writableSteps,
} from './overlay-options.ts';

/** The layers put under short names where nobody sees them: for kernels that do not take layers by descriptor. */
export const planAssembled: Planner = ({ source, options }, kernel) => {
  const overlay = readOverlay(options);
  const { layers, upper, rest } = overlay;
  const slots = layers.map(({ dataOnly }, i) => ({ slot: layerSlot(i), dataOnly }));
  return [
    ...claimSteps(overlay),
    ...openLayers(layers, { idmap: options.idmap, copied: true }),
    {
      kind: 'assembleOverlay',
      source: source || 'overlay',
      layers: slots,
      upper,
      ...mappedUpper(options),
      context: kernel.api !== 'classic' && kernel.has('fsopen'),
      superblock: { words: superblockFlags(rest), flags: classicSuperblockFlags(rest) },
      data: rest.data,
      as: 'mount',
    },
    ...writableSteps(overlay),
    ...finishDetached({ options: rest, idmap: false, tree: false, kernel }),
  ];
};
