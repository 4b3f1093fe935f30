// Volume contexts that cannot be served: INVALID_ARGUMENT, the key and the remedy named, where the context is at
// fault; NOT_FOUND, the path named, where the node lacks what it asks for.
import { mkdirSync } from 'node:fs';
import { expect } from 'chai';
import { mountCommand, unmountCommand, writeFiles } from '../support/fixtures.ts';
import { needRoot, needSecondMap } from '../support/need.ts';
import { expectSuccess, run } from './command.ts';
import { MAPPING } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { expectRefused, type Refusal } from './refusal.ts';
import { type Context, volumeOn } from './volume.ts';

const UNKNOWN: readonly (readonly [key: string, message: RegExp])[] = [
  ['sourc', /^sourc: .*did you mean source\?/],
  ['lowerDir', /^lowerDir: .*did you mean lowerdir\?/],
  ['upper', /^upper: .*did you mean upperdir\?/],
  ['uidMap', /^uidMap: .*did you mean uidmap\?/],
  ['option', /^option: .*did you mean options\?/],
  ['Type', /^Type: .*did you mean type\?/],
  ['compression', /^compression: .*the keys are type, source, lowerdir/],
  // Names that every object has.
  ['constructor', /^constructor: no such key/],
  ['toString', /^toString: no such key/],
];

const IDS = { uidmap: MAPPING, gidmap: MAPPING };
const BIND = { source: '/data' };
const OVERLAY = { type: 'overlay', lowerdir: '/a:/b' };
const extents = Array.from({ length: 341 }, (_, i) => `${2 * i}:${100_000 + i}:1`).join(',');

const WRONG: readonly (readonly [what: string, context: Context, message: RegExp])[] = [
  ['no source', {}, /^source: is required for type bind/],
  ['no layers', { type: 'overlay' }, /^lowerdir: is required for type overlay/],
  ['an unknown type', { type: 'fuse' }, /^type: "fuse" is no type; write bind/],
  ['a type in capitals', { type: 'TMPFS' }, /^type: "TMPFS" is no type/],
  ['a key of another type', { type: 'tmpfs', source: '/a' }, /^source: has no meaning for type tmpfs/],
  ['uidmap alone', { ...BIND, uidmap: MAPPING }, /^gidmap: missing: .*uidmap and gidmap/],
  ['gidmap alone', { ...BIND, gidmap: MAPPING }, /^uidmap: missing: .*uidmap and gidmap/],
  ['upperdir alone', { ...OVERLAY, upperdir: '/u' }, /^workdir: missing: .*upperdir and workdir/],
  ['workdir alone', { ...OVERLAY, workdir: '/w' }, /^upperdir: missing: .*upperdir and workdir/],
  ['a relative source', { source: 'data' }, /^source: "data" is not an absolute path/],
  ['an empty source', { source: '' }, /^source: "" is not an absolute path/],
  ['.. in the source', { source: '/srv/../etc' }, /^source: .*must not contain \.\./],
  ['a NUL in the source', { source: '/srv\0' }, /^source: .*control character/],
  ['a newline in the source', { source: '/srv\n/etc' }, /^source: .*control character/],
  ['a relative layer', { type: 'overlay', lowerdir: '/a:b' }, /^lowerdir: layer "b" is not an absolute/],
  ['an empty layer', { type: 'overlay', lowerdir: '/a:' }, /^lowerdir: .*empty path/],
  ['.. in a layer', { type: 'overlay', lowerdir: '/a:/b/..' }, /^lowerdir: .*must not contain \.\./],
  ['.. in upperdir', { ...OVERLAY, upperdir: '/a/..', workdir: '/w' }, /^upperdir: .*must not contain \.\./],
  ['no mapping', { ...BIND, uidmap: '', gidmap: '' }, /^uidmap: "" is not three decimal numbers/],
  ['a mapping of 341 extents', { ...BIND, ...IDS, uidmap: extents }, /^uidmap: 341 extents.* at most 340/],
  ['a mapping that overlaps', { ...BIND, ...IDS, gidmap: '0:0:5,3:10:5' }, /^gidmap: .*overlap/],
  ['an open quotation mark', { ...BIND, options: 'noatime,"exec' }, /^options: .*not closed/],
];

describe('a volume context', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    writeFiles(node.at('data'), { 'a/file': 'a', 'b/file': 'b', 'upper/': {}, 'work/': {} });
  });
  after(() => node?.[Symbol.asyncDispose]());

  describe('that makes no sense is INVALID_ARGUMENT', () => {
    const rows = [
      ...UNKNOWN.map(
        ([key, message]) => [`an unknown key, ${key}`, { ...BIND, [key]: 'x' }, message] as const,
      ),
      ...WRONG,
    ];
    for (const [what, context, message] of rows) {
      it(what, async () => {
        await using volume = volumeOn(node, { context });
        await expectRefused(node, () => volume.stage(), { code: 'INVALID_ARGUMENT', message });
      });
    }

    it('at publish too', async () => {
      await using volume = volumeOn(node, { context: { source: node.at('data/a') } });
      await volume.stage();
      const volumeContext = { ...volume.context, sourc: 'x' };
      const message = /did you mean source/;
      const { target } = volume;
      const publish = () => volume.publish({ volumeContext });
      await expectRefused(node, publish, { code: 'INVALID_ARGUMENT', message, target });
    });
  });

  it('may hold what Kubernetes adds', async () => {
    const added = {
      'csi.storage.k8s.io/pod.name': 'pod',
      'storage.kubernetes.io/csiProvisionerIdentity': 'x',
    };
    await using volume = volumeOn(node, { context: { source: node.at('data/a'), ...added } });
    expect(await volume.stage()).to.include({ code: 'OK' });
  });

  describe('that names what is not on the node is NOT_FOUND', () => {
    // Below the data; `absent` is what the message must name.
    const rows: readonly (readonly [what: string, context: Context])[] = [
      ['the source of a bind', { source: 'absent' }],
      ['the source of an idmapped bind', { source: 'absent', ...IDS }],
      ['a source below a file', { source: 'a/file/absent' }],
      ['the only layer', { type: 'overlay', lowerdir: 'absent' }],
      ['the top layer', { type: 'overlay', lowerdir: 'absent:b' }],
      ['the lowest layer', { type: 'overlay', lowerdir: 'a:absent' }],
      ['an idmapped layer', { type: 'overlay', lowerdir: 'a:absent', ...IDS }],
      ['upperdir', { type: 'overlay', lowerdir: 'a:b', upperdir: 'absent', workdir: 'work' }],
      ['workdir', { type: 'overlay', lowerdir: 'a:b', upperdir: 'upper', workdir: 'absent' }],
    ];
    for (const [what, relative] of rows) {
      it(what, async () => {
        const context = Object.fromEntries(
          Object.entries(relative).map(([key, value]) => [
            key,
            ['source', 'lowerdir', 'upperdir', 'workdir'].includes(key)
              ? value.replace(/[^:]+/g, (name) => node.at('data', name))
              : value,
          ]),
        );
        await using volume = volumeOn(node, { context });
        const message = new RegExp(`${node.at('data')}/[a-z/]*absent\\b`);
        const refusal: Refusal = { code: 'NOT_FOUND', message, target: volume.target };
        if (context.type === undefined) {
          // A bind is made by publish alone.
          expect(await volume.stage()).to.include({ code: 'OK' });
          await expectRefused(node, () => volume.publish(), refusal);
        } else await expectRefused(node, () => volume.stage(), refusal);
      });
    }
  });

  it('that wants to map what cannot be mapped is INVALID_ARGUMENT, with the remedy', async () => {
    mountCommand('-t', 'ramfs', 'ramfs', node.at('data/a'));
    try {
      await using volume = volumeOn(node, { context: { source: node.at('data/a'), ...IDS } });
      const message = /cannot be ID-mapped/;
      const { target } = volume;
      expect(await volume.stage()).to.include({ code: 'OK' });
      await expectRefused(node, () => volume.publish(), { code: 'INVALID_ARGUMENT', message, target });
    } finally {
      unmountCommand(node.at('data/a'));
    }
  });

  it('that maps nothing of what a mapped source shows is INVALID_ARGUMENT, with what that is', async function () {
    needSecondMap(this);
    mkdirSync(node.at('data/mapped'));
    const ids = `uidmap=${IDS.uidmap},gidmap=${IDS.gidmap}`;
    expectSuccess(run(['mount', '-o', `bind,${ids}`, node.at('data/a'), node.at('data/mapped')]));
    using _mapped = { [Symbol.dispose]: () => unmountCommand(node.at('data/mapped')) };
    await using volume = volumeOn(node, { context: { source: node.at('data/mapped'), ...IDS } });
    await volume.stage();
    const message = /maps none of the ids that the source shows \(0:\d+:\d+\); map those/;
    const { target } = volume;
    await expectRefused(node, () => volume.publish(), { code: 'INVALID_ARGUMENT', message, target });
  });
});
