// Records as text and as names of files.
import { expect } from 'chai';
import fc from 'fast-check';
import { fileNameOf, formatRecord, parseRecord, type VolumeRecord } from '../../../src/journal/record.ts';

const RECORD: VolumeRecord = {
  kind: 'publish',
  volumeId: 'volume',
  path: '/var/lib/kubelet/pods/8f1d/volumes/kubernetes.io~csi/data/mount',
  state: 'done',
  fingerprint: 'f00d',
  accessMode: 'SINGLE_NODE_WRITER',
  mount: { type: 'overlay', device: '0:42', root: '/' },
  bootId: '0123-4567',
};

const anyRecord: fc.Arbitrary<VolumeRecord> = fc.record({
  kind: fc.constantFrom('stage', 'publish'),
  volumeId: fc.string({ unit: 'binary' }),
  path: fc.string({ unit: 'binary' }),
  state: fc.constantFrom('intended', 'done'),
  fingerprint: fc.string(),
  accessMode: fc.string(),
  mount: fc.option(fc.record({ type: fc.string(), device: fc.string(), root: fc.string() }), {
    nil: undefined,
  }),
  bootId: fc.string(),
});

describe('a record as text', () => {
  it('is read back as it was', () => {
    fc.assert(
      fc.property(anyRecord, (record) => {
        const { mount, ...rest } = parseRecord(formatRecord(record));
        const { mount: expected, ...others } = record;
        expect(rest).to.deep.equal(others);
        expect(mount).to.deep.equal(expected);
      }),
    );
  });

  it('is for people too, and ends with a newline', () => {
    const text = formatRecord(RECORD);
    expect(text.split('\n').slice(0, 3)).to.deep.equal(['{', ' "schema": 1,', ' "kind": "publish",']);
    expect(text).to.match(/\n\}\n$/);
  });

  it('every beginning of it is refused: a file that is cut off is no record', () => {
    const text = formatRecord(RECORD).trimEnd();
    for (let length = 0; length < text.length; length++) {
      expect(() => parseRecord(text.slice(0, length)), String(length)).to.throw();
    }
  });

  const damaged: readonly (readonly [what: string, text: string, message: RegExp])[] = [
    ['empty', '', /JSON/],
    ['NULs, as after a crash', '\0'.repeat(100), /JSON/],
    ['null', 'null', /not a JSON object/],
    ['a number', '7', /not a JSON object/],
    ['a list', '[]', /schema undefined/],
    ['no schema', JSON.stringify(RECORD), /schema undefined, this version reads 1/],
    ['a later schema', withChange({ schema: 2 }), /schema 2, this version reads 1/],
    ['an unknown kind', withChange({ kind: 'attach' }), /kind attach/],
    ['an unknown state', withChange({ state: 'begun' }), /state begun/],
    ...(['volumeId', 'path', 'fingerprint', 'accessMode', 'bootId'] as const).flatMap(
      (field): [string, string, RegExp][] => [
        [`no ${field}`, withChange({ [field]: undefined }), /a field is missing/],
        [`${field} is a number`, withChange({ [field]: 7 }), /a field is missing/],
      ],
    ),
    ['a mount that is none', withChange({ mount: 'overlay' }), /mount/],
    ['a mount of nothing', withChange({ mount: null }), /mount/],
    ['a mount without a device', withChange({ mount: { type: 'overlay', root: '/' } }), /mount/],
  ];
  for (const [what, text, message] of damaged) {
    it(`is refused: ${what}`, () => expect(() => parseRecord(text)).to.throw(message));
  }

  it('any text is a record or an error', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(() => parseRecord(text)).to.throw(Error);
      }),
    );
  });
});

describe('the name of a record', () => {
  it('depends on kind, volume and path alone', () => {
    fc.assert(
      fc.property(anyRecord, anyRecord, ({ kind, volumeId, path }, other) => {
        expect(fileNameOf({ ...other, kind, volumeId, path })).to.equal(fileNameOf({ kind, volumeId, path }));
      }),
    );
  });

  it('differs with each of them', () => {
    fc.assert(
      fc.property(anyRecord, anyRecord, (a, b) => {
        const same = a.kind === b.kind && a.volumeId === b.volumeId && a.path === b.path;
        expect(fileNameOf(a) === fileNameOf(b)).to.equal(same);
      }),
    );
    // Joined without care, these would be one.
    expect(fileNameOf({ kind: 'stage', volumeId: 'a', path: '/b/c' })).to.not.equal(
      fileNameOf({ kind: 'stage', volumeId: 'a/b', path: '/c' }),
    );
    expect(fileNameOf({ kind: 'stage', volumeId: 'a","', path: 'b' })).to.not.equal(
      fileNameOf({ kind: 'stage', volumeId: 'a', path: '","b' }),
    );
  });

  it('is the name of a file, whatever the volume is called', () => {
    fc.assert(
      fc.property(anyRecord, (record) => {
        expect(fileNameOf(record)).to.match(/^(stage|publish)-[0-9a-f]{40}\.json$/);
      }),
    );
  });

  it('stays as it is: records of earlier versions are found by it', () => {
    expect(fileNameOf(RECORD)).to.equal('publish-7313291ed7fe976f664a4eaa4dad18e53916ad96.json');
  });
});

function withChange(change: Record<string, unknown>): string {
  return JSON.stringify({ schema: 1, ...RECORD, ...change });
}
