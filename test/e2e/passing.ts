// What a caller may be told without having done anything wrong, when it is one of many or its plugin dies: it comes back.
import { scaled } from '../support/time-scale.ts';

/** Where tests run by emulation, threads of the engine may take longer to start than it waits: the node is exhausted. */
const IS_SLOW = scaled(1) > 1;

export const PASSING: readonly string[] = [
  ...['CANCELLED', 'DEADLINE_EXCEEDED', 'ABORTED', 'UNAVAILABLE'],
  ...(IS_SLOW ? ['RESOURCE_EXHAUSTED'] : []),
];
