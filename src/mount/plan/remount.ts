// A remount: no new mount, but other flags and data of the one at the target. What is not named stays as it is.
//
//   with bind     the flags of this one mount
//   without       also the flags and data of its filesystem, for all its mounts; `ro` and `rw` are both
//
//   modern    mount_setattr(target)                     taken back when a later step fails
//             fspick(target); fsconfig(...); fsconfig(CMD_RECONFIGURE)
//   classic   mount(MS_REMOUNT | MS_BIND | flags), or mount(MS_REMOUNT | flags, data), with the flags that are there:
//             this call knows no difference between a read-only mount and a read-only filesystem
import { MOUNT_ATTR } from '../../sys/constants.ts';
import { invalidMount } from '../errors.ts';
import { type AttributeChange, keyAndValue, type ParsedOptions } from '../options.ts';
import type { ParsedMount, Planner } from '../plan.ts';
import type { Step } from '../steps.ts';
import { classicAttributeSteps, classicData, msChange, SUPERBLOCK_FLAGS } from './classic-flags.ts';

export const planRemount: Planner = (remount) => {
  const { options } = remount;
  const { mount, recursive } = options;
  const superblock = checkRemount(remount) ? [] : ofFilesystem(options);
  const steps: Step[] = [{ kind: 'openMounted', as: 'mount' }];
  if (changes(mount)) steps.push({ kind: 'changeFlags', on: 'mount', recursive: false, ...mount });
  if (changes(recursive)) steps.push({ kind: 'changeFlags', on: 'mount', recursive: true, ...recursive });
  return [...steps, ...superblock];
};

export const planClassicRemount: Planner = (remount, kernel) => {
  const { options } = remount;
  const open: Step = { kind: 'openMounted', as: 'mount' };
  if (checkRemount(remount) || superblockValues(options).length === 0) {
    return [open, ...classicAttributeSteps(options, kernel)];
  }
  const { set, clear } = msChange(options.mount);
  const bitsOf = (names: readonly string[]) =>
    names.reduce((bits, name) => bits | (SUPERBLOCK_FLAGS[name] ?? 0), 0);
  return [
    open,
    {
      kind: 'remountCall',
      on: 'mount',
      set: set | bitsOf(options.superblock),
      clear: clear | bitsOf(options.superblock.map((name) => ABSENCE_OF[name] ?? '')),
      data: classicData(remount.type, options.data, 'change fewer options at a time'),
    },
    ...classicAttributeSteps({ ...options, mount: { set: 0, clear: 0 } }, kernel),
  ];
};

/** What an option says is not so. */
const ABSENCE_OF: Readonly<Record<string, string>> = {
  async: 'sync',
  nomand: 'mand',
  nolazytime: 'lazytime',
};

/** True when it concerns this one mount only. */
function checkRemount({ type, options }: ParsedMount): boolean {
  if (options.propagation !== undefined) {
    throw invalidMount('remount does not change propagation; make that a mount of its own, without remount');
  }
  if (options.idmap !== undefined) {
    throw invalidMount('remount cannot change the id map of a mount; unmount it and mount it again');
  }
  if (options.bind === undefined && type !== 'bind' && type !== 'rbind') return false;
  const [first] = [...options.superblock, ...options.data];
  if (first === undefined) return true;
  throw invalidMount(
    `remount,bind changes one mount, and ${first} belongs to its filesystem; leave one of them out`,
  );
}

function ofFilesystem(options: ParsedOptions): Step[] {
  const values = superblockValues(options);
  if (values.length === 0) return [];
  return [
    { kind: 'pickFilesystem', on: 'mount', as: 'context' },
    ...values.map(keyAndValue).map(
      ([key, value]): Step => ({
        kind: 'configure',
        context: 'context',
        key,
        value: value === undefined ? { flag: true } : { string: value },
      }),
    ),
    { kind: 'reconfigure', context: 'context' },
  ];
}

/** What is asked of the filesystem, as options. */
function superblockValues({ mount, superblock, data }: ParsedOptions): string[] {
  const access: readonly [number, string][] = [
    [mount.set, 'ro'],
    [mount.clear, 'rw'],
  ];
  const flags = access.filter(([bits]) => bits & MOUNT_ATTR.MOUNT_ATTR_RDONLY).map(([, flag]) => flag);
  return [...flags, ...superblock, ...data];
}

const changes = ({ set, clear }: AttributeChange): boolean => set !== 0 || clear !== 0;
