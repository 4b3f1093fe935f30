// Records as text and as names of files.
import { expect } from 'chai';
import fc from 'fast-check';
import {
  currentIn,
  fieldsOf,
  fileNameOf,
  formatRecord,
  isOfRequest,
  layerNameOf,
  outlivesMachine,
  parseRecord,
  SCHEMA,
  type VolumeRecord,
} from '../../../src/journal/record.ts';

const RECORD: VolumeRecord = {
  schema: SCHEMA,
  kind: 'publish',
  volumeId: 'volume',
  path: '/var/lib/kubelet/pods/8f1d/volumes/kubernetes.io~csi/data/mount',
  state: 'done',
  fingerprint: 'f00d',
  accessMode: 'SINGLE_NODE_WRITER',
  mount: { type: 'overlay', device: '0:42', root: '/' },
  bootId: '0123-4567',
};

const REQUEST = {
  volumeContext: {},
  mountFlags: [],
  fsType: '',
  fsGroup: 7,
  accessMode: 'SINGLE_NODE_WRITER',
  readonly: false,
  block: false,
} satisfies VolumeRecord['request'];

/** No key that gRPC's decoder, as every assignment in JavaScript, takes for the prototype: no context has it. */
const contextKey = fc.string().filter((key) => key !== '__proto__');

const anyRecord: fc.Arbitrary<VolumeRecord> = fc.record({
  schema: fc.constant(SCHEMA),
  kind: fc.constantFrom('stage', 'publish'),
  volumeId: fc.string({ unit: 'binary' }),
  path: fc.string({ unit: 'binary' }),
  state: fc.constantFrom('intended', 'waiting', 'done'),
  fingerprint: fc.string(),
  accessMode: fc.string(),
  mount: fc.option(fc.record({ type: fc.string(), device: fc.string(), root: fc.string() }), {
    nil: undefined,
  }),
  device: fc.option(fc.record({ image: fc.string() }), { nil: undefined }),
  shape: fc.option(fc.constantFrom('mount', 'tree', 'device', 'nothing'), { nil: undefined }),
  volume: fc.option(fc.record({ kind: fc.string(), type: fc.string(), sources: fc.array(fc.string()) }), {
    nil: undefined,
  }),
  layer: fc.option(fc.boolean(), { nil: undefined }),
  growTo: fc.option(fc.nat(), { nil: undefined }),
  letGo: fc.option(fc.boolean(), { nil: undefined }),
  pod: fc.option(
    fc.record({ namespace: fc.string(), name: fc.string(), uid: fc.string(), serviceAccount: fc.string() }),
    { nil: undefined },
  ),
  request: fc.option(
    fc.record({
      volumeContext: fc.dictionary(contextKey, fc.string(), { noNullPrototype: true }),
      mountFlags: fc.array(fc.string()),
      fsType: fc.string(),
      fsGroup: fc.option(fc.nat(2 ** 32 - 2), { nil: undefined }),
      accessMode: fc.string(),
      readonly: fc.boolean(),
      stagingPath: fc.option(fc.string(), { nil: undefined }),
      block: fc.boolean(),
    }),
    { nil: undefined },
  ),
  bootId: fc.string(),
});

describe('a record as text', () => {
  it('is read back as it was', () => {
    fc.assert(
      fc.property(anyRecord, (record) => {
        // As JSON has it: what is undefined is not there.
        expect(parseRecord(formatRecord(record))).to.deep.equal(JSON.parse(JSON.stringify(record)));
      }),
    );
  });

  it('is a line, which begins with its schema', () => {
    expect(formatRecord(RECORD)).to.match(/^\{"schema":2,"kind":"publish",[^\n]*\}\n$/);
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
    ['null', 'null', /expected object/],
    ['a number', '7', /expected object/],
    ['a list', '[]', /expected object/],
    ['no schema', withChange({ schema: undefined }), /schema: .*expected number/],
    ['schema 0', withChange({ schema: 0 }), /schema: Too small/],
    [
      'a later schema without a path',
      withChange({ schema: 3, path: 7 }),
      /schema 3, this version reads 2: path/,
    ],
    ['an unknown kind', withChange({ kind: 'attach' }), /kind: Invalid option/],
    ['an unknown state', withChange({ state: 'begun' }), /state: Invalid option/],
    ...(['volumeId', 'path', 'fingerprint', 'accessMode', 'bootId'] as const).flatMap(
      (field): [string, string, RegExp][] => [
        [`no ${field}`, withChange({ [field]: undefined }), new RegExp(`${field}: .*expected string`)],
        [`${field} is a number`, withChange({ [field]: 7 }), new RegExp(`${field}: .*expected string`)],
      ],
    ),
    ['a later schema that is no number', withChange({ schema: '3' }), /schema: .*expected number/],
    ['a pod without a uid', withChange({ pod: { namespace: 'a', name: 'b' } }), /pod.uid/],
    ['a mount that is none', withChange({ mount: 'overlay' }), /mount/],
    ['a mount of nothing', withChange({ mount: null }), /mount/],
    ['an unknown shape', withChange({ shape: 'heap' }), /shape: Invalid option/],
    ['a volume without sources', withChange({ volume: { kind: 'bind', type: 'bind' } }), /volume.sources/],
    ['a request without a filesystem', withChange({ request: { ...REQUEST, fsType: undefined } }), /fsType/],
    ['a group as text', withChange({ request: { ...REQUEST, fsGroup: '7' } }), /request.fsGroup/],
    ['a group that is none', withChange({ request: { ...REQUEST, fsGroup: -1 } }), /request.fsGroup/],
    ['a mount without a device', withChange({ mount: { type: 'overlay', root: '/' } }), /mount/],
  ];
  for (const [what, text, message] of damaged) {
    it(`is refused: ${what}`, () => expect(() => parseRecord(text)).to.throw(message));
  }

  it('of schema 1 is read: what it did not know is undefined', () => {
    expect(parseRecord(withChange({ schema: 1 }))).to.deep.equal({ ...RECORD, schema: 1 });
  });

  it('of a later schema is read as far as it means what it means here', () => {
    const changes = {
      schema: 3,
      state: 'dreaming',
      fingerprint: 7,
      mount: 'm',
      pod: 'p',
      shape: 'heap',
      volume: 'v',
      request: { ...REQUEST, fsGroup: '7' },
      layer: true,
      news: 1,
    };
    expect(parseRecord(withChange(changes))).to.deep.equal({
      ...RECORD,
      ...{ schema: 3, state: 'done', fingerprint: '', mount: undefined, pod: undefined, layer: true },
      ...{ shape: undefined, volume: undefined, request: undefined },
    });
    expect(parseRecord(withChange({ schema: 3 }))).to.deep.equal({ ...RECORD, schema: 3 });
  });

  it('any text is a record or an error', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(() => parseRecord(text)).to.throw(Error);
      }),
    );
  });
});

describe('the record of a file', () => {
  const line = (fields: Partial<VolumeRecord>) => formatRecord({ ...RECORD, ...fields });
  const FIRST = line({ state: 'intended' });
  const SECOND = line({ state: 'done' });

  it('is its last line', () => {
    expect(currentIn(FIRST)).to.equal(FIRST.trimEnd());
    expect(currentIn(FIRST + SECOND)).to.equal(SECOND.trimEnd());
  });

  it('is the last whole one, wherever the next was cut off', () => {
    for (let length = 0; length < SECOND.length; length++) {
      expect(currentIn(FIRST + SECOND.slice(0, length))).to.equal(FIRST.trimEnd());
    }
  });

  it('is all of it where it has one document on many lines, as the first versions wrote it', () => {
    const text = `${JSON.stringify(RECORD, null, 1)}\n`;
    expect(currentIn(text)).to.equal(text);
  });

  it('is never one before the last whole line, which may be damaged', () => {
    for (const damaged of ['x\n', '\n', '\0\0\n']) {
      expect(() => parseRecord(currentIn(FIRST + damaged)), JSON.stringify(damaged)).to.throw();
    }
  });
});

describe('what a volume makes', () => {
  const volume = (kind: string) => ({ volume: { kind, type: kind, sources: [] } });
  const CASES: readonly (readonly [what: string, fields: Partial<VolumeRecord>, outlives: boolean])[] = [
    ['mounts alone', volume('bind'), false],
    ['a filesystem in memory', volume('tmpfs'), false],
    ['an overlay of layers that are there', { ...volume('overlay'), layer: false }, false],
    ['a writable layer', { ...volume('overlay'), layer: true }, true],
    ['a loop device', { ...volume('bind'), device: { image: '/image' } }, true],
    ['an image, if need be', volume('image'), true],
    ['what a helper makes', volume('fuse'), true],
    ['several mounts', volume('mounts'), true],
    ['something of a kind to come', volume('dreams'), true],
    ['it is not known what', { volume: undefined }, true],
  ];
  for (const [what, fields, outlives] of CASES) {
    it(`${what}: ${outlives ? 'outlives the machine' : 'ends with it'}`, () =>
      expect(outlivesMachine({ ...RECORD, ...fields })).to.equal(outlives));
  }
});

describe('the request of a record', () => {
  it('is known by its fingerprint', () => {
    expect(isOfRequest(RECORD, RECORD.fingerprint)).to.equal(true);
    expect(isOfRequest(RECORD, 'another')).to.equal(false);
  });

  it('is the same with fsGroup and without, which is a matter of the node, and not with another', () => {
    const withGroup = { ...RECORD, fingerprint: 'f00d+2000' };
    expect(isOfRequest(withGroup, 'f00d+2000')).to.equal(true);
    expect(isOfRequest(withGroup, 'f00d')).to.equal(true);
    expect(isOfRequest(RECORD, 'f00d+2000')).to.equal(true);
    expect(isOfRequest(withGroup, 'f00d+3000')).to.equal(false);
    expect(isOfRequest(withGroup, 'd00f+2000')).to.equal(false);
    expect(isOfRequest(withGroup, 'd00f')).to.equal(false);
  });

  it('of another schema is taken for the one that is meant: they have other fingerprints', () => {
    for (const schema of [SCHEMA - 1, SCHEMA + 1])
      expect(isOfRequest({ ...RECORD, schema }, 'another')).to.equal(true);
  });

  it('is no better known when this version has written its record again', () => {
    for (const schema of [SCHEMA - 1, SCHEMA + 1]) {
      const again = { ...fieldsOf({ ...RECORD, schema }), bootId: RECORD.bootId, schema: SCHEMA };
      expect(isOfRequest(again, 'another')).to.equal(true);
    }
    expect(fieldsOf(RECORD)).to.include({ fingerprint: 'f00d', state: 'done' });
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

  it('and that of its layer belong together', () => {
    expect(`${layerNameOf(RECORD)}.json`).to.equal(fileNameOf(RECORD));
  });

  it('stays as it is: records of earlier versions are found by it', () => {
    expect(fileNameOf(RECORD)).to.equal('publish-7313291ed7fe976f664a4eaa4dad18e53916ad96.json');
  });
});

function withChange(change: Record<string, unknown>): string {
  return JSON.stringify({ ...RECORD, ...change });
}
