// Mappings made of mappings.
import { expect } from 'chai';
import fc from 'fast-check';
import {
  formatIdMapping,
  formatKernelMap,
  type IdExtent,
  type IdMapping,
  MappingError,
  parseIdMapping,
  parseKernelMap,
  shownId,
} from '../../../src/userns/mapping.ts';
import {
  canonicalText,
  composeMappings,
  composeUserMappings,
  identityMapping,
  invertMapping,
  isIdentity,
  mergeExtents,
  swapMapping,
  withHostRoot,
} from '../../../src/userns/mapping-algebra.ts';
import { anyMapping, IDS, LARGEST, read, tableOf } from './mappings.ts';

const LAST = 2 ** 32 - 2;
/** Nothing to compose: the ids that one shows and those that the other knows have none in common. */
const apart = (first: IdMapping, second: IdMapping): boolean => {
  const known = tableOf(second);
  return [...tableOf(first).values()].every((id) => !known.has(id));
};

describe('mergeExtents', () => {
  it('keeps what every id is shown as', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        expect(tableOf(mergeExtents(mapping))).to.deep.equal(new Map([...tableOf(mapping)].sort(byFirst)));
      }),
    );
  });

  it('leaves nothing that could be merged, and is in order', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        const merged = mergeExtents(mapping);
        for (const [i, next] of merged.entries()) {
          const last = merged[i - 1];
          if (!last) continue;
          expect(next.container).to.be.at.least(last.container + last.size);
          const joins = last.container + last.size === next.container && last.host + last.size === next.host;
          expect(joins).to.equal(false);
        }
      }),
    );
  });

  it('gives one text for one meaning, however it was cut up and listed', () => {
    const cut = (mapping: IdMapping): IdExtent[] =>
      mapping
        .flatMap(({ container, host, size }) =>
          Array.from({ length: size }, (_, i) => ({ container: container + i, host: host + i, size: 1 })),
        )
        .reverse();
    fc.assert(
      fc.property(anyMapping, anyMapping, (uid, gid) => {
        const text = canonicalText({ uid, gid });
        expect(canonicalText({ uid: cut(uid), gid: cut(gid) })).to.equal(text);
        const same = canonicalText({ uid: gid, gid: uid }) === text;
        expect(same).to.equal(sameTable(uid, gid));
        expect(canonicalText({ uid, gid: uid }) === text).to.equal(sameTable(uid, gid));
        expect(canonicalText({ uid: gid, gid }) === text).to.equal(sameTable(uid, gid));
      }),
    );
  });
});

describe('invertMapping', () => {
  it('turns each id back', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        const back = invertMapping(mapping);
        const table = tableOf(mapping);
        for (const [disk, shown] of table) expect(shownId(back, shown)).to.equal(disk);
        expect(tableOf(back).size).to.equal(table.size);
      }),
    );
  });

  it('twice is the mapping itself', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        expect(invertMapping(invertMapping(mapping))).to.deep.equal(mergeExtents(mapping));
      }),
    );
  });

  it('after the mapping shows every mapped id as itself', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        const both = composeMappings(mapping, invertMapping(mapping));
        expect(isIdentity(both)).to.equal(true);
        expect([...tableOf(both).keys()].sort(up)).to.deep.equal([...tableOf(mapping).keys()].sort(up));
      }),
    );
  });
});

describe('composeMappings', () => {
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

  it('shows each id as one mapping after the other would', () => {
    fc.assert(
      fc.property(anyMapping, anyMapping, (first, second) => {
        fc.pre(!apart(first, second));
        const both = composeMappings(first, second);
        for (const id of IDS) {
          const shown = shownId(first, id);
          expect(shownId(both, id)).to.equal(shown === undefined ? undefined : shownId(second, shown));
        }
      }),
    );
  });

  it('is refused where nothing is left, with what the source shows', () => {
    expect(() => composeMappings(read('0:1000:1'), read('0:5:1'))).to.throw(MappingError, /0:1000:1/);
    fc.assert(
      fc.property(anyMapping, anyMapping, (first, second) => {
        fc.pre(apart(first, second));
        expect(() => composeMappings(first, second)).to.throw(MappingError, 'maps none of the ids');
      }),
    );
  });

  it('is refused where it comes to more than the kernel takes, each half of which it does', () => {
    // The cuts of one lie in the middle of the extents of the other.
    const chequered = (offset: number) =>
      read(
        Array.from({ length: 200 }, (_, i) => 2 * i + offset)
          .map((id) => `${id}:${id % 4 === offset ? id + 2 : id - 2}:2`)
          .join(','),
      );
    expect(() => composeMappings(chequered(0), chequered(1))).to.throw(
      MappingError,
      /on top of .*: 399 extents, the kernel takes at most 340$/,
    );
  });

  it('is refused where its text does not fit what the kernel reads', () => {
    const far = read(
      Array.from({ length: 230 }, (_, i) => `${10 + 2 * i}:${1_000_000_000 + 2 * i}:1`).join(','),
    );
    expect(composeMappings(read('10:10:900'), far)).to.deep.equal(far);
    expect(() => composeMappings(read('4000000000:10:900'), far)).to.throw(
      MappingError,
      /on top of .* less than a page/,
    );
  });
});

describe('swapMapping', () => {
  const rows: readonly [a: number, b: number, text: string][] = [
    [7, 7, `0:0:${LAST + 1}`],
    [0, 1, `0:1:1,1:0:1,2:2:${LAST - 1}`],
    [0, 5, `0:5:1,1:1:4,5:0:1,6:6:${LAST - 5}`],
    [1000, 1001, `0:0:1000,1000:1001:1,1001:1000:1,1002:1002:${LAST - 1001}`],
    [0, LAST, `0:${LAST}:1,1:1:${LAST - 1},${LAST}:0:1`],
    [2000, 1000, `0:0:1000,1000:2000:1,1001:1001:999,2000:1000:1,2001:2001:${LAST - 2000}`],
  ];
  for (const [a, b, text] of rows) {
    it(`of ${a} and ${b}: ${text}`, () => expect(formatIdMapping(swapMapping(a, b))).to.equal(text));
  }

  const anyId = fc.oneof(fc.nat(LAST), fc.nat(5), fc.integer({ min: LAST - 5, max: LAST }));
  it('exchanges the two, leaves all others, and is its own inverse in as few extents as can be', () => {
    fc.assert(
      fc.property(anyId, anyId, anyId, (a, b, other) => {
        const swap = swapMapping(a, b);
        expect(shownId(swap, a)).to.equal(b);
        expect(shownId(swap, b)).to.equal(a);
        if (other !== a && other !== b) expect(shownId(swap, other)).to.equal(other);
        expect(swap.reduce((sum, { size }) => sum + size, 0)).to.equal(LAST + 1);
        expect(parseIdMapping(formatIdMapping(swap), 'swap')).to.deep.equal(swap);
        expect(invertMapping(swap)).to.deep.equal(swap);
        expect(mergeExtents(swap)).to.deep.equal(swap);
        expect(composeMappings(swap, swap)).to.deep.equal(identityMapping);
      }),
    );
  });

  for (const id of [-1, 1.5, LAST + 1, Number.NaN]) {
    it(`refuses ${id}`, () => expect(() => swapMapping(0, id)).to.throw(MappingError, `${id} is no id`));
  }
});

describe('isIdentity', () => {
  it('is so where each mapped id is shown as itself', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        const each = [...tableOf(mapping)].every(([disk, shown]) => disk === shown);
        expect(isIdentity(mapping)).to.equal(each);
      }),
    );
    expect(isIdentity(identityMapping)).to.equal(true);
    expect(isIdentity(swapMapping(0, LARGEST))).to.equal(false);
  });
});

describe('the kernel form', () => {
  it('is read as it is written', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        expect(parseKernelMap(formatKernelMap(mapping), 'uid_map')).to.deep.equal(mapping);
      }),
    );
  });

  it('is read as /proc shows it, in columns', () => {
    expect(
      formatIdMapping(
        parseKernelMap('         0     100000      65536\n     65536          7          1\n', 'uid_map'),
      ),
    ).to.equal('0:100000:65536,65536:7:1');
  });

  const refused: readonly [text: string, message: string][] = [
    ['', 'uid_map: "" is not three decimal numbers; a map of the kernel has lines such as'],
    ['0 1\n', 'uid_map: "0 1" is not three decimal numbers'],
    ['0 1 1\n\n', 'uid_map: "" is not three decimal numbers'],
    ['0 1 0\n', 'uid_map: "0 1 0" has a size of 0'],
    ['0 4294967295 1\n', 'uid_map: "0 4294967295 1" goes past the largest id, 4294967294'],
    ['0 0 2\n1 5 1\n', 'uid_map: 0:0:2 and 1:5:1 overlap in their container ids'],
  ];
  for (const [text, message] of refused) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseKernelMap(text, 'uid_map')).to.throw(MappingError, message);
    });
  }
});

const up = (a: number, b: number): number => a - b;
const byFirst = ([a]: readonly [number, number], [b]: readonly [number, number]): number => a - b;
const sameTable = (a: IdMapping, b: IdMapping): boolean => {
  const other = tableOf(b);
  const table = tableOf(a);
  return table.size === other.size && [...table].every(([disk, shown]) => other.get(disk) === shown);
};

describe('composeUserMappings', () => {
  it('composes users with users, and groups with groups', () => {
    fc.assert(
      fc.property(anyMapping, anyMapping, anyMapping, anyMapping, (uid, gid, u, g) => {
        fc.pre(!apart(uid, u) && !apart(gid, g));
        expect(composeUserMappings({ uid, gid }, { uid: u, gid: g })).to.deep.equal({
          uid: composeMappings(uid, u),
          gid: composeMappings(gid, g),
        });
      }),
    );
  });
});

describe('withHostRoot', () => {
  const withRoot = (mapping: IdMapping) => withHostRoot({ uid: mapping, gid: mapping }).uid;

  it('leaves every id as it is, and shows one that was nobody as root of the host', () => {
    fc.assert(
      fc.property(anyMapping, (mapping) => {
        const more = withRoot(mapping);
        for (const id of tableOf(mapping).keys()) expect(shownId(more, id)).to.equal(shownId(mapping, id));
        const roots = [...tableOf(more)].filter(([, shown]) => shown === 0);
        expect(roots).to.have.length(1);
        expect(more.length - mapping.length).to.equal([...tableOf(mapping).values()].includes(0) ? 0 : 1);
        expect(parseIdMapping(formatIdMapping(more), 'uidmap')).to.deep.equal(more);
      }),
    );
  });

  it('takes the largest id that is free', () => {
    expect(formatIdMapping(withRoot(read('0:65536:65536')))).to.equal(`0:65536:65536,${LAST}:0:1`);
    expect(formatIdMapping(withRoot(read(`${LAST - 1}:5:2,7:8:1`)))).to.match(
      new RegExp(`,${LAST - 2}:0:1$`),
    );
    expect(formatIdMapping(withRoot(read(`${LAST}:5:1,${LAST - 4}:7:2`)))).to.match(
      new RegExp(`,${LAST - 1}:0:1$`),
    );
  });

  it('is refused where there is no room for one more extent', () => {
    const many = Array.from({ length: 340 }, (_, i) => ({ container: 2 * i, host: 2 * i + 1, size: 1 }));
    expect(() => withRoot(many)).to.throw(MappingError, /and root of the host: 341 extents/);
  });
});
