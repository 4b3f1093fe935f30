// One mount that a volume asks for, beside one rule: what checks and terms are worked out from.
import type { PartVolume } from '../volume/volume.ts';
import type { Rule } from './policy.ts';
import type { Bindings } from './roots.ts';
import type { Place } from './sources.ts';

export interface Asked {
  readonly rule: Rule;
  readonly volume: PartVolume;
  /** The request lets nobody write. */
  readonly readOnly: boolean;
  /** Variables of the rule's roots. */
  readonly bindings: Bindings;
  readonly places: readonly Place[];
}

/**
 * Whether its layers are written by administrators alone, so that an overlay may follow what their files say. Never
 * inline: those who choose layers there must not choose by that what they read.
 */
export function isTrusted({ rule, places }: Asked): boolean {
  return rule.class === 'persistent' && places.every(({ root }) => root?.trusted === true);
}
