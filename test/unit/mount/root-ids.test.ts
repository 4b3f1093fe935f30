// Which mapping shows a root as somebody else.
import { expect } from 'chai';
import fc from 'fast-check';
import { MountError } from '../../../src/mount/errors.ts';
import { showRootAs } from '../../../src/mount/root-ids.ts';
import { shownId } from '../../../src/userns/mapping.ts';
import { anyMapping, IDS, LARGEST, read } from '../userns/mappings.ts';

const NOBODY = { uid: undefined, gid: undefined };
const anyId = fc.nat(LARGEST);

describe('showRootAs', () => {
  it('swaps two ids and leaves all others', () => {
    fc.assert(
      fc.property(anyId, anyId, fc.nat(), (owner, as, other) => {
        const { uid = [] } = showRootAs({ uid: owner, gid: 0 }, { ...NOBODY, uid: as }, undefined) ?? {};
        fc.pre(owner !== as);
        expect([shownId(uid, owner), shownId(uid, as)]).to.deep.equal([as, owner]);
        if (other !== owner && other !== as) expect(shownId(uid, other)).to.equal(other);
      }),
    );
  });

  it('swaps what a mapping shows, and maps what that maps', () => {
    fc.assert(
      fc.property(anyMapping, anyId, anyId, (mapping, owner, as) => {
        const shown = shownId(mapping, owner);
        fc.pre(shown !== undefined);
        const both = { uid: mapping, gid: mapping };
        const { gid = [] } = showRootAs({ uid: 0, gid: owner }, { ...NOBODY, gid: as }, both) ?? {};
        const swap = (id: number | undefined) => (id === shown ? as : id === as ? shown : id);
        for (const id of IDS) expect(shownId(gid, id)).to.equal(swap(shownId(mapping, id)));
      }),
    );
  });

  it('is nothing where nothing would change', () => {
    expect(showRootAs({ uid: 7, gid: 8 }, { uid: 7, gid: 8 }, undefined)).to.equal(undefined);
    expect(showRootAs({ uid: 7, gid: 8 }, { ...NOBODY, gid: 8 }, undefined)).to.equal(undefined);
  });

  it('is the mapping itself where that shows it so already', () => {
    const mapping = { uid: read('7:100:2'), gid: read('0:0:1') };
    expect(showRootAs({ uid: 7, gid: 8 }, { ...NOBODY, uid: 100 }, mapping)).to.equal(mapping);
  });

  it('puts a root that the mapping leaves without an id in the place of who is shown so', () => {
    fc.assert(
      fc.property(anyMapping, anyId, fc.constantFrom(...IDS), (mapping, owner, inItsPlace) => {
        const as = shownId(mapping, inItsPlace);
        fc.pre(as !== undefined && shownId(mapping, owner) === undefined);
        const both = { uid: mapping, gid: mapping };
        const { uid = [] } = showRootAs({ uid: owner, gid: 0 }, { ...NOBODY, uid: as }, both) ?? {};
        expect([shownId(uid, owner), shownId(uid, inItsPlace)]).to.deep.equal([as, undefined]);
        const others = IDS.filter((id) => id !== owner && id !== inItsPlace);
        for (const id of others) expect(shownId(uid, id)).to.equal(shownId(mapping, id));
      }),
    );
  });

  it('is refused for a root that the mapping leaves without an id, where nobody is shown so', () => {
    const mapping = { uid: read('0:100:5'), gid: read('0:200:5') };
    expect(() => showRootAs({ uid: 0, gid: 5 }, { uid: 1, gid: 2 }, mapping))
      .to.throw(
        MountError,
        'rootgid=2: the root of the source has gid 5, which gidmap=0:200:5 does not map, and nothing is shown as 2',
      )
      .with.property('reason', 'invalid-mount');
  });
});
