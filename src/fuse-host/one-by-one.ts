// Work on one of many after another, where the failure of one must neither keep the others from their turn nor end this
// process, with which every FUSE mount of the node would end.
import { messageOf } from '../mount/errors.ts';
import type { LogFields, Logger } from '../observe/logger.ts';

export type OneByOne<T> = (all: Iterable<T>, work: (one: T) => void) => void;

/** A failure is logged once, until it is another one, or the work on the same goes well again. */
export function oneByOne<T extends object>(
  log: Pick<Logger, 'error'>,
  message: string,
  factsOf: (one: T) => LogFields,
): OneByOne<T> {
  const told = new WeakMap<T, string>();
  return (all, work) => {
    for (const one of all) {
      try {
        work(one);
        told.delete(one);
      } catch (error) {
        const problem = messageOf(error);
        if (told.get(one) !== problem) log.error(message, { ...factsOf(one), problem });
        told.set(one, problem);
      }
    }
  };
}
