// fstab-style options: how a string is split, and one table that says what each option is. What is not in the
// table is data for the filesystem.
//
//   scope         who holds the flag                      set by
//   mount         one mount, per view                     mount_setattr(2)
//   superblock    the filesystem, shared by all its mounts  fsconfig(2)
//   propagation   the mount's peer group                  mount_setattr(2), after the attach (`unpeered`: before it)
//   ours          the engine itself
//   remount       the engine itself: which plan is made
//   none          says what is so anyway
//
// `ro` and `rw` are the mount's; a plan that makes a new superblock gives it the same (mount(8) does too).
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, PROPAGATION } from '../sys/constants.ts';
import { invalidMount } from './errors.ts';
import { type IdmapRequest, takeIdmap } from './idmap-options.ts';
import { type LoopRequest, takeLoop } from './loop-options.ts';
import { takeDirectories } from './mkdir-options.ts';

/** A change of mount attributes: bits to clear, then bits to set (MOUNT_ATTR). */
export interface AttributeChange {
  readonly set: number;
  readonly clear: number;
}

export interface Propagation {
  /** One of PROPAGATION. */
  readonly type: number;
  readonly recursive: boolean;
  /** The attach has the last word: below a shared parent the mount becomes shared, with no peer but its own copies. */
  readonly untilAttached: boolean;
}

type Scope =
  | { readonly scope: 'mount'; readonly set: number; readonly clear: number; readonly recursive: boolean }
  | { readonly scope: 'superblock'; readonly flag: string; readonly replaces: string }
  | ({ readonly scope: 'propagation' } & Propagation)
  | { readonly scope: 'ours'; readonly bind: 'bind' | 'rbind' }
  | { readonly scope: 'remount' }
  | { readonly scope: 'none' };

export interface OptionRow {
  readonly name: string;
  readonly is: Scope;
}

const A = MOUNT_ATTR;
const ATTRIBUTES: readonly [name: string, set: number, clear: number][] = [
  ['ro', A.MOUNT_ATTR_RDONLY, 0],
  ['rw', 0, A.MOUNT_ATTR_RDONLY],
  ['nosuid', A.MOUNT_ATTR_NOSUID, 0],
  ['suid', 0, A.MOUNT_ATTR_NOSUID],
  ['nodev', A.MOUNT_ATTR_NODEV, 0],
  ['dev', 0, A.MOUNT_ATTR_NODEV],
  ['noexec', A.MOUNT_ATTR_NOEXEC, 0],
  ['exec', 0, A.MOUNT_ATTR_NOEXEC],
  ['nodiratime', A.MOUNT_ATTR_NODIRATIME, 0],
  ['diratime', 0, A.MOUNT_ATTR_NODIRATIME],
  ['nosymfollow', A.MOUNT_ATTR_NOSYMFOLLOW, 0],
  ['symfollow', 0, A.MOUNT_ATTR_NOSYMFOLLOW],
  // The access time mode is one field of three values: relatime (0), noatime, strictatime.
  ['noatime', A.MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME],
  ['atime', 0, MOUNT_ATTR__ATIME],
  ['relatime', 0, MOUNT_ATTR__ATIME],
  ['norelatime', A.MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME],
  ['strictatime', A.MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME],
  ['nostrictatime', 0, MOUNT_ATTR__ATIME],
];

/** Pairs of flags that a superblock knows by these very names (fs_context.c, common_set_sb_flag). */
const SUPERBLOCK: readonly [on: string, off: string][] = [
  ['sync', 'async'],
  ['mand', 'nomand'],
  ['lazytime', 'nolazytime'],
  // There is no name for its absence, which is the default.
  ['dirsync', ''],
];

const PROPAGATIONS: readonly [name: string, type: number, untilAttached: boolean][] = [
  ['private', PROPAGATION.MS_PRIVATE, false],
  ['shared', PROPAGATION.MS_SHARED, false],
  ['slave', PROPAGATION.MS_SLAVE, false],
  ['unbindable', PROPAGATION.MS_UNBINDABLE, false],
  // Ours: no peer of the source, and whatever the place makes of it. By mount(2), which knows no detached mounts: private.
  ['unpeered', PROPAGATION.MS_PRIVATE, true],
];

export const OPTION_TABLE: readonly OptionRow[] = [
  ...ATTRIBUTES.flatMap(([name, set, clear]): OptionRow[] => [
    { name, is: { scope: 'mount', set, clear, recursive: false } },
    { name: `r${name}`, is: { scope: 'mount', set, clear, recursive: true } },
  ]),
  ...SUPERBLOCK.flatMap(([on, off]): OptionRow[] => [
    { name: on, is: { scope: 'superblock', flag: on, replaces: off } },
    ...(off ? [{ name: off, is: { scope: 'superblock', flag: off, replaces: on } } as const] : []),
  ]),
  ...PROPAGATIONS.flatMap(([name, type, untilAttached]): OptionRow[] => [
    { name, is: { scope: 'propagation', type, recursive: false, untilAttached } },
    { name: `r${name}`, is: { scope: 'propagation', type, recursive: true, untilAttached } },
  ]),
  { name: 'bind', is: { scope: 'ours', bind: 'bind' } },
  { name: 'rbind', is: { scope: 'ours', bind: 'rbind' } },
  { name: 'remount', is: { scope: 'remount' } },
  { name: 'defaults', is: { scope: 'none' } },
];

const rowOf = new Map(OPTION_TABLE.map((row) => [row.name, row.is]));

export interface ParsedOptions {
  readonly mount: AttributeChange;
  /** Attributes of the mount and of all below it (`rro`). */
  readonly recursive: AttributeChange;
  /** Superblock flags by their fsconfig(2) names. */
  readonly superblock: readonly string[];
  readonly propagation: Propagation | undefined;
  readonly bind: 'bind' | 'rbind' | undefined;
  /** Change what is mounted at the target already. */
  readonly remount: boolean;
  readonly idmap: IdmapRequest | undefined;
  /** Names of directories to make in a new tmpfs. */
  readonly directories: readonly string[];
  /** Attach the source to a loop device. */
  readonly loop: LoopRequest | undefined;
  /** Everything else, `key` or `key=value`, in the order given: the filesystem's own. */
  readonly data: readonly string[];
}

/**
 * Later options win over earlier ones.
 * @throws MountError (invalid-mount) naming the option
 */
export function parseOptions(options: readonly string[]): ParsedOptions {
  let mount: AttributeChange = { set: 0, clear: 0 };
  let recursive: AttributeChange = { set: 0, clear: 0 };
  let propagation: ParsedOptions['propagation'];
  let bind: ParsedOptions['bind'];
  let superblock: string[] = [];
  let remount = false;
  const data: string[] = [];

  for (const option of options) {
    const row = rowOf.get(option);
    if (row === undefined) {
      if (keyAndValue(option)[0] === '') throw invalidMount(`option ${JSON.stringify(option)} has no name`);
      data.push(option);
      continue;
    }
    switch (row.scope) {
      case 'mount':
        // The top belongs to the tree: what was said of it before no longer holds.
        if (row.recursive) [recursive, mount] = [combine(recursive, row), without(mount, row)];
        else mount = combine(mount, row);
        break;
      case 'superblock':
        superblock = [...superblock.filter((flag) => flag !== row.replaces && flag !== row.flag), row.flag];
        break;
      case 'propagation':
        propagation = row;
        break;
      case 'ours':
        bind = row.bind;
        break;
      case 'remount':
        remount = true;
        break;
      case 'none':
        break;
    }
  }
  const flags = { mount, recursive, superblock, propagation, bind, remount };
  // As a bind has it: a third of what its plan takes is saved.
  if (data.length === 0) return { ...flags, idmap: undefined, directories: [], loop: undefined, data };
  const { idmap, rest: withoutIds } = takeIdmap(data);
  const { directories, rest: withoutDirectories } = takeDirectories(withoutIds);
  const { loop, rest } = takeLoop(withoutDirectories);
  return { ...flags, idmap, directories, loop, data: rest };
}

/** `later` after `earlier`, as one change: what it sets is not cleared, what it clears is not set. */
function combine(earlier: AttributeChange, later: AttributeChange): AttributeChange {
  return {
    set: (earlier.set & ~later.clear) | later.set,
    // The access time field must be cleared whole before it is set (mount_setattr(2)).
    clear: (earlier.clear & ~(later.set & ~MOUNT_ATTR__ATIME)) | later.clear,
  };
}

/** `change` without what `row` decides. */
function without({ set, clear }: AttributeChange, row: AttributeChange): AttributeChange {
  const decided = row.set | row.clear;
  return { set: set & ~decided, clear: clear & ~decided };
}

/** `key=value` as its two parts; no `=`, no value. */
export function keyAndValue(option: string): [key: string, value: string | undefined] {
  const at = option.indexOf('=');
  return at === -1 ? [option, undefined] : [option.slice(0, at), option.slice(at + 1)];
}

/**
 * Splits `a,b=c,d="x,y"` at its commas. A quoted value keeps its commas and loses its quotes; a backslash keeps
 * the next character, and stays, for the filesystem to read (overlay's `\,` and `\:`). A bare mapping extent
 * (`1:100:5`) continues the uidmap or gidmap before it.
 */
export function splitOptions(text: string): string[] {
  const options: string[] = [];
  let current = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (char === '\\' && i + 1 < text.length) current += char + text.charAt(++i);
    else if (char === '"') quoted = !quoted;
    else if (char === ',' && !quoted) {
      options.push(current);
      current = '';
    } else current += char;
  }
  if (quoted) throw invalidMount(`options ${JSON.stringify(text)}: a quotation mark is not closed`);
  options.push(current);
  return joinExtents(options.filter((option) => option !== ''));
}

function joinExtents(options: readonly string[]): string[] {
  const joined: string[] = [];
  for (const option of options) {
    const last = joined.at(-1);
    if (/^\d+:\d+:\d+$/.test(option) && last !== undefined && /^[ug]idmap=/.test(last)) {
      joined[joined.length - 1] = `${last},${option}`;
    } else joined.push(option);
  }
  return joined;
}
