// Whose files a pod sees: options of its mount, the root of what is made fresh, the root of a writable layer.
import { expect } from 'chai';
import fc from 'fast-check';
import { parseIdMapping, type UserMapping } from '../../../src/userns/mapping.ts';
import { VolumeError } from '../../../src/volume/errors.ts';
import {
  freshRoot,
  idmapOptions,
  layerRoot,
  type Ownership,
  SHARED_MODE,
} from '../../../src/volume/ownership.ts';
import type { Idmap } from '../../../src/volume/volume.ts';

const mappingOf = (uid: string, gid: string): UserMapping => ({
  uid: parseIdMapping(uid, 'uidmap'),
  gid: parseIdMapping(gid, 'gidmap'),
});

const POD = mappingOf('0:65536:65536', '0:131072:65536');
const IDMAPS = {
  none: { is: 'none' },
  explicit: { is: 'explicit', uidmap: '0:10000:1000', gidmap: '0:20000:1000' },
  owner: { is: 'owner', uid: 1000, gid: undefined },
  'owner and group': { is: 'owner', uid: 1000, gid: 2000 },
  pod: { is: 'pod', nestedDir: undefined },
} as const satisfies Readonly<Record<string, Idmap>>;
type Name = keyof typeof IDMAPS;

const owned = (name: Name, more: Partial<Ownership> = {}): Ownership => ({
  idmap: IDMAPS[name],
  group: undefined,
  mayMap: true,
  ...more,
});

const EXPLICIT = ['uidmap=0:10000:1000', 'gidmap=0:20000:1000'];
const EXPLICIT_IN_POD = ['uidmap=0:75536:1000,4294967294:0:1', 'gidmap=0:151072:1000,4294967294:0:1'];
/** And root of the host, that it can make directories there, as the last id there is. */
const PODS = ['uidmap=0:65536:65536,4294967294:0:1', 'gidmap=0:131072:65536,4294967294:0:1'];

describe('the options of a view', () => {
  const rows: readonly (readonly [name: Name, group: number | undefined, podMapping: boolean, string[]])[] = [
    ['none', undefined, false, []],
    ['none', 7, false, ['rootgid=7']],
    ['explicit', undefined, false, EXPLICIT],
    ['explicit', 7, false, [...EXPLICIT, 'rootgid=7']],
    ['owner', undefined, false, ['rootuid=1000']],
    ['owner', 7, false, ['rootuid=1000', 'rootgid=7']],
    ['owner and group', undefined, false, ['rootuid=1000', 'rootgid=2000']],
    // The pod's group over the volume's: it is what kubelet was asked for.
    ['owner and group', 7, false, ['rootuid=1000', 'rootgid=7']],
    ['pod', undefined, true, PODS],
    ['pod', 7, true, [...PODS, 'rootgid=131079']],
    // A group that the pod does not have cannot be shown to it.
    ['pod', 70_000, true, PODS],
    ['none', undefined, true, PODS],
    ['none', 7, true, [...PODS, 'rootgid=131079']],
    ['explicit', undefined, true, EXPLICIT_IN_POD],
    ['explicit', 7, true, [...EXPLICIT_IN_POD, 'rootgid=131079']],
    ['owner', undefined, true, [...PODS, 'rootuid=66536']],
    ['owner and group', undefined, true, [...PODS, 'rootuid=66536', 'rootgid=133072']],
    ['owner and group', 7, true, [...PODS, 'rootuid=66536', 'rootgid=131079']],
    // On the host, or where the runtime maps.
    ['pod', undefined, false, []],
    ['pod', 7, false, ['rootgid=7']],
  ];
  for (const [name, group, podMapping, options] of rows) {
    const known = podMapping ? ', its mapping known' : '';
    it(`${name}, group ${group ?? '(none)'}${known}: ${options.join(', ') || 'nothing'}`, () => {
      const ownership = owned(name, { group, podMapping: podMapping ? POD : undefined });
      expect(idmapOptions(ownership)).to.deep.equal(options);
    });
  }

  it('are refused where the pod has none of the ids', () => {
    const far: Idmap = { is: 'explicit', uidmap: '0:100000:1000', gidmap: '0:100000:1000' };
    const inPod = (idmap: Idmap) => () => idmapOptions({ ...owned('none', { podMapping: POD }), idmap });
    expect(inPod(far)).to.throw(VolumeError, /^uidmap: and gidmap show none of the ids that the pod has/);
    for (const owner of [
      { uid: 65_536, gid: undefined },
      { uid: 0, gid: 65_536 },
    ]) {
      expect(inPod({ is: 'owner', ...owner })).to.throw(VolumeError, /^owner: 65536 is none of the ids/);
    }
  });

  it('are none for a pod whose runtime maps', () => {
    for (const name of Object.keys(IDMAPS) as Name[]) {
      expect(idmapOptions(owned(name, { group: 7, mayMap: false }))).to.deep.equal([]);
    }
  });
});

describe('the root of what is made fresh', () => {
  it('is as it comes, without a group', () => {
    for (const name of Object.keys(IDMAPS) as Name[]) expect(freshRoot(owned(name))).to.equal(undefined);
  });

  const groups: readonly (readonly [name: Name, gid: number, why: string])[] = [
    ['none', 7, 'ids are shown as they are'],
    ['pod', 7, 'the pod counts from the same 0 as the disk'],
    ['explicit', 0, 'the view shows it as the group'],
    ['owner', 0, 'the view shows it as the group'],
  ];
  for (const [name, gid, why] of groups) {
    it(`${name}: belongs to group ${gid} on disk, which may write: ${why}`, () => {
      expect(freshRoot(owned(name, { group: 7 }))).to.deep.equal({ uid: 0, gid, mode: SHARED_MODE });
      expect(SHARED_MODE).to.equal(0o2775);
    });
  }
});

describe('the root of an ephemeral writable layer', () => {
  const LOWER = { uid: 5, gid: 6, mode: 0o755 };
  const rows: readonly (readonly [Name, Partial<Ownership>, uid: number, gid: number])[] = [
    ['none', {}, 5, 6],
    ['none', { group: 7 }, 5, 7],
    ['explicit', {}, 10_005, 20_006],
    ['explicit', { group: 7 }, 10_005, 7],
    ['explicit', { podMapping: POD }, 75_541, 151_078],
    ['explicit', { group: 7, podMapping: POD }, 75_541, 131_079],
    ['owner', { podMapping: POD }, 66_536, 131_078],
    ['owner and group', { podMapping: POD }, 66_536, 133_072],
    ['none', { podMapping: POD }, 65_541, 131_078],
    ['owner', {}, 1000, 6],
    ['owner', { group: 7 }, 1000, 7],
    ['owner and group', {}, 1000, 2000],
    ['owner and group', { group: 7 }, 1000, 7],
    ['pod', {}, 5, 6],
    ['pod', { group: 7 }, 5, 7],
    ['pod', { podMapping: POD }, 65_541, 131_078],
    ['pod', { group: 7, podMapping: POD }, 65_541, 131_079],
  ];
  for (const [name, more, uid, gid] of rows) {
    it(`${name}, ${JSON.stringify(more)}: ${uid}:${gid}`, () => {
      const mode = more.group === undefined ? 0o755 : SHARED_MODE;
      expect(layerRoot(owned(name, more), LOWER)).to.deep.equal({ uid, gid, mode });
    });
  }

  it('of an owner that the mapping does not have belongs to its root, never to nobody', () => {
    const nobody = { uid: 65_534, gid: 65_534, mode: 0o700 };
    expect(layerRoot(owned('explicit'), nobody)).to.include({ uid: 10_000, gid: 20_000 });
    const withoutRoot: Idmap = { is: 'explicit', uidmap: '1:501:1', gidmap: '2:502:1' };
    expect(layerRoot({ ...owned('none'), idmap: withoutRoot }, nobody)).to.include({ uid: 501, gid: 502 });
  });

  it('of a pod is always one of the ids that the pod has', () => {
    const id = fc.nat(2 ** 32 - 2);
    const name = fc.constantFrom(...(Object.keys(IDMAPS) as Name[]));
    const root = fc.record({ uid: id, gid: id, mode: fc.constantFrom(0o755, 0o700) });
    fc.assert(
      fc.property(name, root, fc.option(id, { nil: undefined }), (name, lower, group) => {
        const { uid, gid } = layerRoot(owned(name, { group, podMapping: POD }), lower);
        expect(uid).to.be.within(65_536, 65_536 + 65_535);
        expect(gid).to.be.within(131_072, 131_072 + 65_535);
      }),
    );
  });
});
