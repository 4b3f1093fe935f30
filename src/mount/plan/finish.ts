// From a detached mount in the slot `mount` to one that is seen: what all kinds have in common.
import type { Kernel } from '../kernel.ts';
import type { ParsedOptions } from '../options.ts';
import type { Step } from '../steps.ts';
import { attributeSteps } from './attributes.ts';
import { classicAttributeSteps, classicPropagationSteps } from './classic-flags.ts';

export interface Detached {
  readonly options: ParsedOptions;
  /** Map the ids of the mount, as the options ask for; not of one that is made of mapped mounts. */
  readonly idmap: boolean;
  /** The mount is a tree of mounts. */
  readonly tree: boolean;
  readonly kernel: Kernel;
}

/** Attributes are set before the attach, so that the mount is seen once, complete. */
export function finishDetached({ options, idmap, tree, kernel }: Detached): Step[] {
  // An ID map has no other way: without the call it must fail, not be left out.
  if (kernel.has('mount-setattr') || (idmap && options.idmap !== undefined)) {
    return [...attributeSteps({ on: 'mount', options, idmap, tree }), ...attachSteps(options, kernel)];
  }
  const [attach, ...rest] = attachSteps(options, kernel) as [Step, ...Step[]];
  return [attach, ...classicAttributeSteps(options, kernel), ...rest];
}

export function attachSteps(options: ParsedOptions, kernel: Kernel): Step[] {
  const propagate = kernel.has('mount-setattr')
    ? propagationSteps(options)
    : classicPropagationSteps(options);
  return [{ kind: 'attach', mount: 'mount' }, ...propagate, { kind: 'verify', mount: 'mount' }];
}

/** Propagation only holds once attached: a move below a shared parent makes the moved mount shared, as some want it. */
export function propagationSteps({ propagation }: ParsedOptions): Step[] {
  if (propagation === undefined || propagation.untilAttached) return [];
  return [{ kind: 'setPropagation', on: 'mount', type: propagation.type, recursive: propagation.recursive }];
}
