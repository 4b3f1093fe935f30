// The text of ID mappings: what is read, what is refused and in which words.
import { expect } from 'chai';
import fc from 'fast-check';
import {
  formatIdMapping,
  formatKernelMap,
  type IdExtent,
  MappingError,
  parseIdMapping,
  shownId,
} from '../../../src/userns/mapping.ts';
import { cases } from '../../support/cases.ts';
import { longestMapping } from './mappings.ts';

const LAST = 2 ** 32 - 2;

describe('parseIdMapping', () => {
  const accepted: readonly [text: string, extents: readonly IdExtent[]][] = [
    ['0:100000:65536', [{ container: 0, host: 100_000, size: 65_536 }]],
    ['5:5:1', [{ container: 5, host: 5, size: 1 }]],
    [
      '0:1000:1,1:0:1',
      [
        { container: 0, host: 1000, size: 1 },
        { container: 1, host: 0, size: 1 },
      ],
    ],
    // Adjacent on both sides, in any order.
    [
      '10:20:10,0:10:10',
      [
        { container: 10, host: 20, size: 10 },
        { container: 0, host: 10, size: 10 },
      ],
    ],
    [`0:0:${LAST + 1}`, [{ container: 0, host: 0, size: LAST + 1 }]],
    [`${LAST}:${LAST}:1`, [{ container: LAST, host: LAST, size: 1 }]],
    ['007:08:01', [{ container: 7, host: 8, size: 1 }]],
  ];
  for (const [text, extents] of accepted) {
    it(`reads ${text}`, () => expect(parseIdMapping(text, 'uidmap')).to.deep.equal(extents));
  }

  const refused: readonly [text: string, message: string][] = [
    ['', 'uidmap: "" is not three decimal numbers; write container:host:size'],
    ['0:1', 'uidmap: "0:1" is not three decimal numbers'],
    ['0:1:2:3', 'uidmap: "0:1:2:3" is not three decimal numbers'],
    ['0:1:2,', 'uidmap: "" is not three decimal numbers'],
    ['0:1:2,,5:6:7', 'uidmap: "" is not three decimal numbers'],
    ['0:-1:2', 'uidmap: "0:-1:2" is not three decimal numbers'],
    ['0x0:1:2', 'uidmap: "0x0:1:2" is not three decimal numbers'],
    ['0: 1:2', 'uidmap: "0: 1:2" is not three decimal numbers'],
    ['0:1:2\n', 'uidmap: "0:1:2\\n" is not three decimal numbers'],
    ['0:1:1e3', 'uidmap: "0:1:1e3" is not three decimal numbers'],
    ['0:1:12345678901', 'uidmap: "0:1:12345678901" is not three decimal numbers'],
    ['٠:1:2', 'uidmap: "٠:1:2" is not three decimal numbers'],
    ['0:1:0', 'uidmap: "0:1:0" has a size of 0'],
    [`0:0:${LAST + 2}`, `uidmap: "0:0:${LAST + 2}" goes past the largest id, ${LAST}`],
    [`${LAST + 1}:0:1`, `uidmap: "${LAST + 1}:0:1" goes past the largest id, ${LAST}`],
    [`0:${LAST}:2`, `uidmap: "0:${LAST}:2" goes past the largest id, ${LAST}`],
    ['0:100:10,5:500:10', 'uidmap: 0:100:10 and 5:500:10 overlap in their container ids; each id maps once'],
    ['0:100:10,50:105:10', 'uidmap: 0:100:10 and 50:105:10 overlap in their host ids; each id maps once'],
    ['7:1:1,7:2:1', 'uidmap: 7:1:1 and 7:2:1 overlap in their container ids'],
  ];
  for (const [text, message] of refused) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseIdMapping(text, 'uidmap')).to.throw(MappingError, message);
    });
  }

  it('names the field that it was told', () => {
    expect(() => parseIdMapping('x', 'gidmap of volume 7')).to.throw('gidmap of volume 7: "x"');
  });

  it('takes as many extents as the kernel does, and no more', () => {
    const extents = (count: number) => Array.from({ length: count }, (_, i) => `${i}:${i}:1`).join(',');
    expect(parseIdMapping(extents(340), 'uidmap')).to.have.length(340);
    expect(() => parseIdMapping(extents(341), 'uidmap')).to.throw(
      'uidmap: 341 extents, the kernel takes at most 340',
    );
  });

  it('takes as much text as the kernel does, and no more', () => {
    expect(formatKernelMap(longestMapping)).to.have.length(4095);
    expect(parseIdMapping(formatIdMapping(longestMapping), 'uidmap')).to.deep.equal(longestMapping);
    const longer = longestMapping.map((extent, i) => (i === 0 ? { ...extent, size: 10 } : extent));
    expect(() => parseIdMapping(formatIdMapping(longer), 'uidmap')).to.throw(
      MappingError,
      'uidmap: the kernel reads a mapping of less than a page, and this one has 4096 bytes',
    );
  });
});

const extent = fc
  .record({ container: fc.nat(LAST), host: fc.nat(LAST), size: fc.integer({ min: 1, max: LAST + 1 }) })
  .map((e) => ({ ...e, size: Math.min(e.size, LAST + 1 - Math.max(e.container, e.host)) }));
/** Few ids, so that extents meet. */
const small = fc.record({ container: fc.nat(40), host: fc.nat(40), size: fc.integer({ min: 1, max: 8 }) });

function overlaps(extents: readonly IdExtent[]): boolean {
  return (['container', 'host'] as const).some((side) => {
    const ids = extents.flatMap((e) => Array.from({ length: e.size }, (_, i) => e[side] + i));
    return new Set(ids).size !== ids.length;
  });
}

describe('ID mappings', () => {
  it('of one extent are read as they are written, whatever the ids', () => {
    fc.assert(
      fc.property(extent, (e) => void expect(parseIdMapping(formatIdMapping([e]), 'm')).to.deep.equal([e])),
    );
  });

  it('are refused where two extents share an id, and only then; else read as written', () => {
    fc.assert(
      fc.property(fc.array(small, { minLength: 1, maxLength: 6 }), (extents) => {
        const read = () => parseIdMapping(formatIdMapping(extents), 'm');
        if (overlaps(extents)) expect(read).to.throw(MappingError, 'overlap');
        else expect(read()).to.deep.equal(extents);
      }),
      { numRuns: cases(1000) },
    );
  });

  it('show each id where the mapping says, and others nowhere', () => {
    fc.assert(
      fc.property(fc.array(small, { minLength: 1, maxLength: 6 }), fc.nat(60), (extents, id) => {
        fc.pre(!overlaps(extents));
        const shown = extents.flatMap((e) =>
          Array.from({ length: e.size }, (_, i) => [e.container + i, e.host + i] as const),
        );
        expect(shownId(extents, id)).to.equal(new Map(shown).get(id));
      }),
    );
  });

  it('are given to the kernel a line an extent', () => {
    expect(formatKernelMap(parseIdMapping('0:1000:1,1:100000:65535', 'm'))).to.equal(
      '0 1000 1\n1 100000 65535\n',
    );
  });

  it('are not changed by being read, formatted or searched for overlaps', () => {
    const mapping = Object.freeze(parseIdMapping('10:20:10,0:10:10', 'm').map((e) => Object.freeze(e)));
    expect(formatIdMapping(mapping)).to.equal('10:20:10,0:10:10');
    expect(shownId(mapping, 3)).to.equal(13);
  });
});
