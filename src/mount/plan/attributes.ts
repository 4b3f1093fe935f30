// The attribute steps that every kind of mount shares.
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

/** At most two calls: what concerns the whole tree, and what concerns its top. */
export function attributeSteps({ on, options, idmap, tree }: AttributePlan): Step[] {
  const { mount, recursive, propagation } = options;
  // On the detached copy too: a bind of a shared mount is born into the source's peer group, and the attach
  // would carry that group to where it is seen.
  const type = propagation?.type ?? 0;
  const base = { kind: 'setAttributes', on, propagation: 0 } as const;
  const steps: Step[] = [];
  if (idmap && tree) {
    steps.push({ ...base, ...recursive, recursive: true, userns: 'userns' });
  } else if (changes(recursive)) {
    steps.push({ ...base, ...recursive, recursive: true });
  }
  if (idmap && !tree)
    steps.push({ ...base, ...mount, propagation: type, recursive: false, userns: 'userns' });
  else if (changes(mount) || type !== 0) {
    steps.push({ ...base, ...mount, propagation: type, recursive: propagation?.recursive === true && tree });
  }
  return steps;
}

const changes = ({ set, clear }: AttributeChange): boolean => set !== 0 || clear !== 0;
