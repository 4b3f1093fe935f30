// Binds and filesystems by mount(2), as containerd makes them: for kernels and sandboxes without open_tree(2) and its
// kin. What it loses: a bind is seen for a moment without its flags; flags cannot be set for a whole tree; the kernel
// answers with an errno and no words.
//
//   bind         mount(MS_BIND [| MS_REC]); mount(MS_REMOUNT | MS_BIND | flags); mount(MS_PRIVATE | ...)
//   filesystem   mount(type, flags, data); mount(MS_PRIVATE | ...)
//                ID-mapped, where the calls for that exist: then a mapped copy takes its place
import { MS } from '../../sys/constants.ts';
import type { ParsedOptions } from '../options.ts';
import type { Planner } from '../plan.ts';
import type { Slot } from '../steps/row.ts';
import type { Step } from '../steps.ts';
import { attributeSteps } from './attributes.ts';
import { checkBind, planBind } from './bind.ts';
import {
  classicAttributeSteps,
  classicData,
  classicFlags,
  classicPropagationSteps,
  requireIdmap,
} from './classic-flags.ts';
import { asMade, isReadOnly } from './filesystem.ts';

export const planClassicBind: Planner = (mount, kernel) => {
  const { source, held } = mount;
  const recursive = checkBind(mount);
  if (mount.options.idmap !== undefined) {
    requireIdmap(kernel);
    return planBind(mount, kernel);
  }
  const flags = MS.MS_BIND | (recursive ? MS.MS_REC : 0);
  return [
    {
      kind: 'mountCall',
      source,
      type: '',
      flags,
      data: '',
      // A held one is there.
      paths: held ? [] : [source],
      as: 'mount',
    },
    ...classicAttributeSteps(mount.options, kernel),
    ...classicPropagationSteps(mount.options),
    { kind: 'verify', mount: 'mount' },
  ];
};

export const planClassicFilesystem: Planner = ({ type, source, options }, kernel) => {
  const data = classicData(type, options.data, 'shorten the options');
  const made = asMade(options);
  const flags = classicFlags(made);
  const call = { kind: 'mountCall', source: source || 'none', type, flags, data, paths: [] } as const;
  if (options.idmap === undefined) {
    return [
      { ...call, as: 'mount' },
      ...directorySteps('mount', options),
      ...classicPropagationSteps(options),
      { kind: 'verify', mount: 'mount' },
    ];
  }
  requireIdmap(kernel);
  return [
    { ...call, as: 'unmapped' },
    ...directorySteps('unmapped', options),
    { kind: 'cloneTarget', as: 'mount' },
    ...attributeSteps({ on: 'mount', options: made, idmap: true, tree: false }),
    { kind: 'detachTarget', mount: 'mount' },
    { kind: 'attach', mount: 'mount' },
    ...classicPropagationSteps(options),
    { kind: 'verify', mount: 'mount' },
  ];
};

/** A tmpfs that is to have directories is read-only only after that, and by its superblock alone (filesystem.ts). */
function directorySteps(on: Slot, options: ParsedOptions): Step[] {
  const { directories: names } = options;
  if (names.length === 0) return [];
  const make: Step = { kind: 'makeDirectories', in: on, names };
  if (!isReadOnly(options)) return [make];
  return [
    make,
    { kind: 'sealCall', on, flags: classicFlags(options) },
    { kind: 'remountBind', set: 0, clear: MS.MS_RDONLY },
  ];
}
