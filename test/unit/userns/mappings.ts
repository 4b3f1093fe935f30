// Mappings for properties: valid ones of few ids, so that extents of two of them meet.
import fc from 'fast-check';
import { type IdExtent, type IdMapping, parseIdMapping } from '../../../src/userns/mapping.ts';

/** No id of `anyMapping` on either side is larger. */
export const LARGEST = 39;
export const IDS = Array.from({ length: LARGEST + 21 }, (_, id) => id);

/** Extents of their own order on either side, with and without gaps, listed in any order. */
export const anyMapping: fc.Arbitrary<IdMapping> = fc
  .array(fc.record({ size: fc.integer({ min: 1, max: 5 }), skip: fc.nat(3) }), { minLength: 1, maxLength: 5 })
  .chain((parts) => {
    const container = placed(parts);
    const anyOrder = fc.shuffledSubarray([...parts.keys()], { minLength: parts.length });
    return fc.tuple(anyOrder, anyOrder).map(([onHost, listed]) => {
      const host = placed(onHost.map((i) => parts[i] as Part));
      const extents = onHost.map((i, at) => ({
        container: container[i] as number,
        host: host[at] as number,
        size: (parts[i] as Part).size,
      }));
      return listed.map((i) => extents[i] as IdExtent);
    });
  });

interface Part {
  readonly size: number;
  readonly skip: number;
}

/** Where each begins, one after the other. */
function placed(parts: readonly Part[]): number[] {
  let next = 0;
  return parts.map(({ size, skip }) => {
    const begin = next + skip;
    next = begin + size;
    return begin;
  });
}

export const read = (text: string): IdMapping => parseIdMapping(text, 'uidmap');

/** Id by id, as the definition of a mapping says, and not as the code under test does it. */
export function tableOf(mapping: IdMapping): ReadonlyMap<number, number> {
  return new Map(
    mapping.flatMap(({ container, host, size }) =>
      Array.from({ length: size }, (_, i) => [container + i, host + i] as const),
    ),
  );
}

/** As much as the kernel reads, which is less than a page: 255 lines of 16 bytes and one of 15. */
export const longestMapping: IdMapping = Array.from({ length: 256 }, (_, i) => ({
  container: i === 0 ? 1000 : 10_000 + 10 * i,
  host: 1_000_000 + 10 * i,
  size: 1,
}));
