// A filesystem of its own: tmpfs, or any type that the kernel mounts from a device or from nothing.
//
//   fsopen(type); fsconfig(source, flags, data...); fsconfig(CMD_CREATE); fsmount()
//   mkdirat(...)           of a tmpfs that is to have directories: its superblock is read-only only after that, and its
//                          mount not at all, or no container in a user namespace starts on it (test/kernel/runc)
//   mount_setattr(...)     attributes and ID map of the detached mount
import { MOUNT_ATTR } from '../../sys/constants.ts';
import { keyAndValue, type ParsedOptions } from '../options.ts';
import type { Planner } from '../plan.ts';
import type { Slot } from '../steps/row.ts';
import type { Step } from '../steps.ts';
import { finishDetached } from './finish.ts';

export const planFilesystem: Planner = ({ type, source, options }, kernel) => {
  const made = asMade(options);
  return [
    { kind: 'openFilesystem', type, as: 'context' },
    ...superblockSteps(type, source || 'none', made),
    { kind: 'createMount', context: 'context', as: 'mount' },
    ...directorySteps(options),
    ...finishDetached({ options: made, idmap: true, tree: false, kernel }),
  ];
};

/** One that is to have directories is not read-only before it has them. */
export const asMade = (options: ParsedOptions): ParsedOptions =>
  options.directories.length > 0 ? writable(options) : options;

function directorySteps(options: ParsedOptions): Step[] {
  const { directories: names } = options;
  if (names.length === 0) return [];
  const make: Step = { kind: 'makeDirectories', in: 'mount', names };
  if (!isReadOnly(options)) return [make];
  return [
    make,
    { kind: 'pickFilesystem', on: 'mount', as: 'sealing' },
    { kind: 'configure', context: 'sealing', key: 'ro', value: { flag: true } },
    { kind: 'reconfigure', context: 'sealing' },
  ];
}

export const isReadOnly = ({ mount }: ParsedOptions): boolean =>
  (mount.set & MOUNT_ATTR.MOUNT_ATTR_RDONLY) !== 0;

function writable(options: ParsedOptions): ParsedOptions {
  const { set, clear } = options.mount;
  return { ...options, mount: { set: set & ~MOUNT_ATTR.MOUNT_ATTR_RDONLY, clear } };
}

/** Flags of a new superblock. A read-only mount of a new filesystem is read-only below too, as with mount(8). */
export function superblockFlags(options: ParsedOptions): readonly string[] {
  return isReadOnly(options) ? ['ro', ...options.superblock] : options.superblock;
}

/** Source, flags and data of a new superblock. */
export function superblockSteps(type: string, source: string, options: ParsedOptions): Step[] {
  return [
    { kind: 'configure', context: 'context', key: 'source', value: { source, of: type } },
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
