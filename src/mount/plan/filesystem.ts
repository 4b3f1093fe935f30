// A filesystem of its own: tmpfs, or any type that the kernel mounts from a device or from nothing.
//
//   fsopen(type); fsconfig(source, flags, data...); fsconfig(CMD_CREATE); fsmount()
//   mount_setattr(...)     attributes and ID map of the detached mount
import { MOUNT_ATTR } from '../../sys/constants.ts';
import { keyAndValue, type ParsedOptions } from '../options.ts';
import type { Planner } from '../plan.ts';
import type { Slot } from '../steps/row.ts';
import type { Step } from '../steps.ts';
import { usernsSteps } from './attributes.ts';
import { finishDetached } from './finish.ts';

export const planFilesystem: Planner = ({ type, source, options }, kernel) => [
  ...usernsSteps(options.idmap),
  { kind: 'openFilesystem', type, as: 'context' },
  ...superblockSteps(source || 'none', options),
  { kind: 'createMount', context: 'context', as: 'mount' },
  ...finishDetached({ options, idmap: options.idmap !== undefined, tree: false, kernel }),
];

/** Flags of a new superblock. A read-only mount of a new filesystem is read-only below too, as with mount(8). */
export function superblockFlags({ mount, superblock }: ParsedOptions): readonly string[] {
  return mount.set & MOUNT_ATTR.MOUNT_ATTR_RDONLY ? ['ro', ...superblock] : superblock;
}

/** Source, flags and data of a new superblock. */
export function superblockSteps(source: string, options: ParsedOptions): Step[] {
  return [
    { kind: 'configure', context: 'context', key: 'source', value: { string: source } },
    ...parameterSteps('context', options),
  ];
}

/** Flags and data. */
export function parameterSteps(context: Slot, options: ParsedOptions): Step[] {
  const configure = (key: string, value: string | undefined): Step => ({
    kind: 'configure',
    context,
    key,
    value: value === undefined ? { flag: true } : { string: value },
  });
  return [
    ...superblockFlags(options).map((flag) => configure(flag, undefined)),
    ...options.data.map((option) => configure(...keyAndValue(option))),
  ];
}
