// Two mappings as one.
import { expect } from 'chai';
import fc from 'fast-check';
import {
  composeMappings,
  formatIdMapping,
  type IdMapping,
  MappingError,
  parseIdMapping,
} from '../../../src/userns/mapping.ts';

const read = (text: string): IdMapping => parseIdMapping(text, 'uidmap');
const through = (mapping: IdMapping, id: number): number | undefined => {
  const extent = mapping.find(({ container, size }) => id >= container && id < container + size);
  return extent && extent.host + id - extent.container;
};

describe('mappings are composed', () => {
  const rows: readonly [first: string, second: string, both: string][] = [
    ['0:1000:10', '1000:5000:10', '0:5000:10'],
    ['0:1000:10', '1005:5000:10', '5:5000:5'],
    ['0:1000:5,5:1005:5', '1000:0:10', '0:0:10'],
    ['0:0:65536', '0:100000:65536', '0:100000:65536'],
    ['0:10:1,1:20:1', '20:7:1,10:6:1', '0:6:2'],
  ];
  for (const [first, second, both] of rows) {
    it(`${first}, then ${second}: ${both}`, () => {
      expect(formatIdMapping(composeMappings(read(first), read(second)))).to.equal(both);
    });
  }

  it('is refused where nothing is left, with what the source shows', () => {
    expect(() => composeMappings(read('0:1000:1'), read('0:5:1'))).to.throw(MappingError, /0:1000:1/);
  });

  /** Extents side by side on both sides, so that none overlap. */
  const mapping = fc
    .array(fc.record({ size: fc.integer({ min: 1, max: 5 }), skip: fc.integer({ min: 0, max: 3 }) }), {
      minLength: 1,
      maxLength: 5,
    })
    .chain((parts) =>
      fc.shuffledSubarray(parts, { minLength: parts.length }).map((shuffled) => {
        let [container, host] = [0, 0];
        const extents = new Map<object, { container: number; host: number; size: number }>();
        for (const part of parts) {
          extents.set(part, { container: container + part.skip, host: 0, size: part.size });
          container += part.skip + part.size;
        }
        return shuffled.map((part) => {
          const extent = extents.get(part) ?? { container: 0, host: 0, size: 1 };
          const placed = { ...extent, host: host + part.skip };
          host += part.skip + part.size;
          return placed;
        });
      }),
    );

  it('id by id, as one after the other', () => {
    fc.assert(
      fc.property(mapping, mapping, (first, second) => {
        const expected = (id: number) => {
          const shown = through(first, id);
          return shown === undefined ? undefined : through(second, shown);
        };
        const ids = Array.from({ length: 60 }, (_, id) => id);
        if (ids.every((id) => expected(id) === undefined)) return;
        const both = composeMappings(first, second);
        for (const id of ids) expect(through(both, id)).to.equal(expected(id));
      }),
    );
  });
});
