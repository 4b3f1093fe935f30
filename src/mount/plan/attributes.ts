// The attribute steps that every kind of mount shares.
import { MOUNT_ATTR__ATIME, PROPAGATION } from '../../sys/constants.ts';
import type { IdmapRequest } from '../idmap-options.ts';
import type { AttributeChange, ParsedOptions } from '../options.ts';
import type { Slot } from '../steps/row.ts';
import type { Step } from '../steps.ts';

/** A user namespace for what is asked for, in the slot `userns`, once the mount whose root counts is in its slot. */
export function usernsSteps({ mapping, root }: IdmapRequest, of: Slot): Step[] {
  return [{ kind: 'createUserNamespace', mapping, root: root && { ...root, of }, as: 'userns' }];
}

/** The mount in the slot is mapped by now. */
export function checkRootSteps({ root }: IdmapRequest, of: Slot): Step[] {
  return root === undefined ? [] : [{ kind: 'checkRoot', ...root, of }];
}

/** What is said of a tree, said of its top: of a mount that has none below it, or that is alone of a tree. */
export function ofOneMount(options: ParsedOptions): ParsedOptions {
  const { mount, recursive } = options;
  const set = (recursive.set & ~mount.clear) | mount.set;
  const clear = (recursive.clear & ~(mount.set & ~MOUNT_ATTR__ATIME)) | mount.clear;
  return { ...options, mount: { set, clear }, recursive: { set: 0, clear: 0 } };
}

export interface AttributePlan {
  readonly on: Slot;
  readonly options: ParsedOptions;
  /** Map the ids of the mount, as the options ask for; not of one that is made of mapped mounts. */
  readonly idmap: boolean;
  /** The mount is a tree: an ID map covers all of it. */
  readonly tree: boolean;
}

/** At most two calls: what concerns the whole tree, then what concerns its top. */
export function attributeSteps({ on, options, idmap: maps, tree }: AttributePlan): Step[] {
  const idmap = maps && options.idmap !== undefined;
  const { mount, recursive, propagation } = options;
  const type = propagation ? detachedPropagation(propagation.type) : 0;
  const treeWide = propagation?.recursive === true && tree;
  return [
    idmap ? usernsSteps(options.idmap, on) : [],
    step(on, true, recursive, treeWide ? type : 0, idmap && tree),
    step(on, false, mount, treeWide ? 0 : type, idmap && !tree),
    idmap ? checkRootSteps(options.idmap, on) : [],
  ].flat();
}

/**
 * Propagation is set on the detached copy too: a bind of a shared mount is born into the source's peer group, and
 * the attach would carry that group to where it is seen. An unbindable one cannot be attached below a shared
 * parent, so it is private until it is.
 */
function detachedPropagation(type: number): number {
  return type === PROPAGATION.MS_UNBINDABLE ? PROPAGATION.MS_PRIVATE : type;
}

function step(
  on: Slot,
  recursive: boolean,
  change: AttributeChange,
  propagation: number,
  idmap: boolean,
): Step[] {
  if (change.set === 0 && change.clear === 0 && propagation === 0 && !idmap) return [];
  const { set, clear } = change;
  return [
    { kind: 'setAttributes', on, set, clear, recursive, propagation, ...(idmap && { userns: 'userns' }) },
  ];
}
