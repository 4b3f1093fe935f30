// Kubelet's record of a pod's ID mapping: what is read of it, and all that is refused.
import { expect } from 'chai';
import fc from 'fast-check';
import { parsePodRecord } from '../../../src/userns/kubelet-record.ts';
import { formatKernelMap, parseKernelMap } from '../../../src/userns/mapping.ts';
import { cases } from '../../support/cases.ts';

const UNIT = 65_536;
/** The host ids from 0 on, in units. */
const UNITS = 2 ** 32 / UNIT;
/** As Go's encoding/json writes kubelet's structs. */
const recordOf = (hostId: number, length: number): string => {
  const list = `[{"hostId":${hostId},"containerId":0,"length":${length}}]`;
  return `{"uidMappings":${list},"gidMappings":${list}}`;
};
const changed = (from: string, to: string): string => recordOf(UNIT, UNIT).replace(from, to);

describe('parsePodRecord', () => {
  it('reads what kubelet writes', () => {
    const ids = [{ container: 0, host: 1_769_472, size: UNIT }];
    expect(parsePodRecord(recordOf(1_769_472, UNIT))).to.deep.equal({
      is: 'mapped',
      mapping: { uid: ids, gid: ids },
    });
  });

  it('takes an empty record for none, as kubelet does', () => {
    expect(parsePodRecord('')).to.deep.equal({ is: 'none' });
  });

  it('reads every range that kubelet can give, and the kernel takes it', () => {
    const ranges = fc
      .integer({ min: 1, max: 300 })
      .chain((units) =>
        fc.tuple(fc.constant(units * UNIT), fc.integer({ min: 1, max: Math.floor(UNITS / units) - 2 })),
      );
    fc.assert(
      fc.property(ranges, ([length, nth]) => {
        const read = parsePodRecord(recordOf(nth * length, length));
        const ids = [{ container: 0, host: nth * length, size: length }];
        expect(read).to.deep.equal({ is: 'mapped', mapping: { uid: ids, gid: ids } });
        expect(parseKernelMap(formatKernelMap(ids), 'uid_map')).to.deep.equal(ids);
      }),
    );
  });

  const refused: readonly [what: string, text: string, because: string][] = [
    ['no JSON', '{', 'it is not JSON: '],
    ['half a record', recordOf(UNIT, UNIT).slice(0, -1), 'it is not JSON: '],
    ['two records', recordOf(UNIT, UNIT).repeat(2), 'it is not JSON: '],
    ['no object', '[]', 'the record is no object'],
    ['null', 'null', 'the record is no object'],
    ['no lists', '{}', 'the record has no uidMappings'],
    ['one list', '{"uidMappings":[]}', 'the record has no gidMappings'],
    ['a key more', changed('{"uid', '{"mode":1,"uid'), 'the record has "mode", which is not known here'],
    [
      'a key of every object',
      changed('{"uid', '{"__proto__":1,"uid'),
      'the record has "__proto__", which is not known here',
    ],
    ['a key more in a range', changed('"length"', '"x":1,"length"'), 'uidMappings[0] has "x", which is not'],
    ['a list that is none', '{"uidMappings":{},"gidMappings":[]}', 'uidMappings is no list'],
    ['no range', '{"uidMappings":[],"gidMappings":[]}', 'uidMappings has 0 entries'],
    ['two ranges', '{"uidMappings":[1,2],"gidMappings":[1]}', 'uidMappings has 2 entries'],
    ['a range that is none', '{"uidMappings":[1],"gidMappings":[1]}', 'uidMappings[0] is no object'],
    ['a range without a field', changed('"hostId":65536,', ''), 'uidMappings[0] has no hostId'],
    ['a root that is not mapped', changed('"containerId":0', '"containerId":1'), 'containerId is 1; it is 0'],
    ['a text for a number', changed('"containerId":0', '"containerId":"0"'), 'containerId is "0"; it is 0'],
    [
      'a text for a length',
      changed('"length":65536', '"length":"65536"'),
      'length is "65536"; it is a multiple',
    ],
    [
      'a text for an id',
      changed('"hostId":65536', '"hostId":"65536"'),
      'hostId is "65536"; it is a multiple',
    ],
    ["the host's own ids", recordOf(0, UNIT), 'uidMappings[0].hostId is 0; it is a multiple of the length'],
    ['a range between two', recordOf(UNIT + 1, UNIT), 'uidMappings[0].hostId is 65537; it is a multiple'],
    ['a range that is not its turn', recordOf(UNIT, 2 * UNIT), 'hostId is 65536; it is a multiple of the'],
    ['negative ids', recordOf(-UNIT, UNIT), 'uidMappings[0].hostId is -65536'],
    ['no length', recordOf(UNIT, 0), 'uidMappings[0].length is 0; it is a multiple of 65536'],
    ['a negative length', recordOf(UNIT, -UNIT), 'uidMappings[0].length is -65536'],
    ['a length between two', recordOf(UNIT, UNIT - 1), 'uidMappings[0].length is 65535'],
    ['ids that are none', recordOf(2 ** 32, UNIT), 'goes past the largest id, 4294967294'],
    ['the id that means none', recordOf(2 ** 32 - UNIT, UNIT), 'goes past the largest id, 4294967294'],
    ['an endless number', changed('"hostId":65536', '"hostId":1e999'), 'uidMappings[0].hostId is null'],
    [
      'other groups than users',
      recordOf(UNIT, UNIT).replace(
        '65536,"containerId":0,"length":65536}]}',
        '131072,"containerId":0,"length":65536}]}',
      ),
      'uidMappings and gidMappings differ',
    ],
    [
      'more groups than users',
      recordOf(2 * UNIT, UNIT).replace('"length":65536}]}', '"length":131072}]}'),
      'uidMappings and gidMappings differ',
    ],
  ];
  for (const [what, text, because] of refused) {
    it(`refuses ${what}`, () => {
      const read = parsePodRecord(text);
      expect(read.is).to.equal('invalid');
      expect(read).to.have.property('because').that.includes(because);
    });
  }

  it('never throws, and gives a mapping to nothing but what kubelet could have written', () => {
    const number = fc.oneof(
      fc.constantFrom(0, 1, UNIT - 1, UNIT, 2 * UNIT, 3 * UNIT, 2 ** 32 - UNIT, 2 ** 32 - 1, 2 ** 32, -UNIT),
      fc.integer(),
      fc.double(),
      fc.jsonValue(),
    );
    const range = fc.record(
      { hostId: number, containerId: fc.oneof(fc.constant(0), number), length: number, more: fc.jsonValue() },
      { requiredKeys: [] },
    );
    const list = fc.oneof(fc.array(range, { maxLength: 2 }), range, fc.jsonValue());
    const record = fc.oneof(
      // The same for both, or hardly any would come as far as their differences.
      list.map((both) => ({ uidMappings: both, gidMappings: both })),
      fc.record({ uidMappings: list, gidMappings: list, more: fc.jsonValue() }, { requiredKeys: [] }),
      fc.jsonValue(),
    );
    const text = fc.oneof(
      record.map((value) => JSON.stringify(value)),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(text, (garbage) => {
        const read = parsePodRecord(garbage);
        if (read.is !== 'mapped') return;
        const [ids] = read.mapping.uid;
        expect(read.mapping).to.deep.equal({ uid: [ids], gid: [ids] });
        const { host = 0, size = 0 } = ids ?? {};
        expect(JSON.parse(garbage)).to.deep.equal(JSON.parse(recordOf(host, size)));
        expect(host).to.be.within(size, 2 ** 32 - 1 - size);
      }),
      { numRuns: cases(2000) },
    );
  });

  it('refuses a record when any one number of it is another', () => {
    const places = ['hostId', 'containerId', 'length'].flatMap((field) =>
      ['uidMappings', 'gidMappings'].map((list) => ({ list, field })),
    );
    fc.assert(
      fc.property(fc.constantFrom(...places), fc.integer(), ({ list, field }, other) => {
        const record = JSON.parse(recordOf(2 * UNIT, UNIT));
        fc.pre(record[list][0][field] !== other);
        record[list][0][field] = other;
        expect(parsePodRecord(JSON.stringify(record)).is).to.equal('invalid');
      }),
    );
  });
});
