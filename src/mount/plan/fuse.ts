// A filesystem in a process: the program NAME of the types `fuse.NAME` and `fuse3.NAME` mounts it at the target by
// itself, and serves it from then on.
//
//   note what is mounted at the target      so that what came after can be taken away again
//   start NAME, wait for mount and answer
//   ensure attributes                       those that libfuse does not know, and those that NAME left out
//
// or, ID-mapped, where kernel and server can (FUSE_ALLOW_IDMAP, Linux 6.12):
//
//   open_tree(target, OPEN_TREE_CLONE); mount_setattr(MOUNT_ATTR_IDMAP)
//   the helper's own mount is replaced by the mapped one; the server notices nothing
//
// The mount is visible before it is complete, unlike all others: the helper makes it. `allow_other`, without which
// nobody but the helper's own user sees it (mount.fuse3(8)), is the caller's to give.
import { MOUNT_ATTR } from '../../sys/constants.ts';
import { invalidMount } from '../errors.ts';
import { escapeOption, type Helper, helperOfType } from '../fuse/command.ts';
import type { Kernel } from '../kernel.ts';
import type { ParsedOptions } from '../options.ts';
import type { ParsedMount, Planner } from '../plan.ts';
import type { Step } from '../steps.ts';
import { attributeSteps } from './attributes.ts';
import { classicAttributeSteps, classicPropagationSteps, requireIdmap } from './classic-flags.ts';
import { propagationSteps } from './finish.ts';

/** `fuse.NAME`, and what only looks like it and gets told so. */
export const isFuseType = (type: string): boolean => /^fuse(3|blk)?(\.|$)/.test(type);

export const planFuse: Planner = (mount, kernel) => [
  ...mountByHelper(mount, kernel),
  ...(mount.options.idmap === undefined ? ensured(mount.options) : []),
  ...propagationSteps(mount.options),
  { kind: 'verify', mount: 'mount' },
];

/** Attributes and propagation by mount(2). */
export const planClassicFuse: Planner = (mount, kernel) => [
  ...mountByHelper(mount, kernel),
  ...(mount.options.idmap === undefined ? classicAttributeSteps(mount.options, kernel) : []),
  ...classicPropagationSteps(mount.options),
  { kind: 'verify', mount: 'mount' },
];

/** Up to the attached mount, which is in the slot `mount`. */
function mountByHelper({ type, source, options }: ParsedMount, kernel: Kernel): Step[] {
  const helper = readHelper(type, source, options);
  const start: Step[] = [{ kind: 'noteMounts' }, { kind: 'startHelper', ...helper }];
  if (options.idmap === undefined) return [...start, { kind: 'openMounted', as: 'mount' }];
  requireIdmap(kernel);
  return [
    ...start,
    { kind: 'cloneTarget', as: 'mount' },
    ...attributeSteps({ on: 'mount', options, idmap: true, tree: false }),
    { kind: 'detachTarget', mount: 'mount' },
    { kind: 'attach', mount: 'mount' },
  ];
}

function ensured({ mount: { set, clear } }: ParsedOptions): Step[] {
  return set === 0 && clear === 0 ? [] : [{ kind: 'ensureAttributes', on: 'mount', set, clear }];
}

function readHelper(type: string, source: string, options: ParsedOptions): Helper {
  const helper = helperOfType(type);
  if (helper === undefined) {
    throw invalidMount(
      `type ${type}: name the helper, as in fuse.bindfs or fuse3.squashfuse: up to 63 letters, digits and . _ + -`,
    );
  }
  const { name } = helper;
  if (/^-|\0/.test(source)) {
    throw invalidMount(
      `source ${JSON.stringify(source)}: ${name} would take it for a flag; give the path from the root on`,
    );
  }
  const data = options.data.map((option) => {
    if (/^[A-Za-z0-9_][^\0]*$/s.test(option)) return escapeOption(option);
    throw invalidMount(
      `option ${JSON.stringify(option)}: ${name} could take it for a flag; an option of a helper begins with a letter or digit`,
    );
  });
  return {
    ...helper,
    source,
    options: [...flagsOf(options), ...options.superblock, ...data],
  };
}

const A = MOUNT_ATTR;
/**
 * The mount attributes that libfuse 2 and 3 know as options. It refuses all others (`nodiratime`, `strictatime`,
 * `nosymfollow`), which are set afterwards. Without any, it mounts `nosuid,nodev`.
 */
const KNOWN: readonly [bit: number, on: string, off: string][] = [
  [A.MOUNT_ATTR_RDONLY, 'ro', 'rw'],
  [A.MOUNT_ATTR_NOSUID, 'nosuid', 'suid'],
  [A.MOUNT_ATTR_NODEV, 'nodev', 'dev'],
  [A.MOUNT_ATTR_NOEXEC, 'noexec', 'exec'],
];

function flagsOf({ mount: { set, clear } }: ParsedOptions): string[] {
  return [
    ...KNOWN.flatMap(([bit, on, off]) => (set & bit ? [on] : clear & bit ? [off] : [])),
    ...(set & A.MOUNT_ATTR_NOATIME ? ['noatime'] : []),
  ];
}
