// From a detached mount in the slot `mount` to one that is seen: what all kinds have in common.
import type { Kernel } from '../kernel.ts';
import type { ParsedOptions } from '../options.ts';
import type { Step } from '../steps.ts';
import { attributeSteps } from './attributes.ts';
import { classicAttributeSteps, classicPropagationSteps } from './classic-flags.ts';

export interface Detached {
  readonly options: ParsedOptions;
  /** Map the ids of the mount with the slot `userns`. */
  readonly idmap: boolean;
  /** The mount is a tree of mounts. */
  readonly tree: boolean;
  readonly kernel: Kernel;
}

/** Attributes are set before the attach, so that the mount is seen once, complete. Propagation only holds after. */
export function finishDetached({ options, idmap, tree, kernel }: Detached): Step[] {
  const attach: Step = { kind: 'attach', mount: 'mount' };
  const verify: Step = { kind: 'verify', mount: 'mount' };
  if (!kernel.has('mount-setattr')) {
    return [attach, ...classicAttributeSteps(options, kernel), ...classicPropagationSteps(options), verify];
  }
  const { propagation } = options;
  const propagate: Step[] = propagation
    ? [{ kind: 'setPropagation', on: 'mount', type: propagation.type, recursive: propagation.recursive }]
    : [];
  return [...attributeSteps({ on: 'mount', options, idmap, tree }), attach, ...propagate, verify];
}
