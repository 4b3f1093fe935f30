// The attribute steps that every kind of mount shares.
import { PROPAGATION } from '../../sys/constants.ts';
import type { UserMapping } from '../../userns/mapping.ts';
import type { AttributeChange, ParsedOptions } from '../options.ts';
import type { Slot } from '../steps/row.ts';
import type { Step } from '../steps.ts';

/** A user namespace for the mapping, when there is one. */
export function usernsSteps(mapping: UserMapping | undefined): Step[] {
  return mapping === undefined ? [] : [{ kind: 'createUserNamespace', mapping, as: 'userns' }];
}

export interface AttributePlan {
  readonly on: Slot;
  readonly options: ParsedOptions;
  /** Map the ids of the mount with the slot `userns`. */
  readonly idmap: boolean;
  /** The mount is a tree: an ID map covers all of it. */
  readonly tree: boolean;
}

/** At most two calls: what concerns the whole tree, then what concerns its top. */
export function attributeSteps({ on, options, idmap, tree }: AttributePlan): Step[] {
  const { mount, recursive, propagation } = options;
  const type = propagation ? detachedPropagation(propagation.type) : 0;
  const treeWide = propagation?.recursive === true && tree;
  return [
    step(on, true, recursive, treeWide ? type : 0, idmap && tree),
    step(on, false, mount, treeWide ? 0 : type, idmap && !tree),
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
