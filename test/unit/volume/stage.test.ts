// What is shared on the node, and which mounts make it.
import { expect } from 'chai';
import { SHARED_MODE } from '../../../src/volume/ownership.ts';
import { isShared, planStage, preparationOf, type Staging } from '../../../src/volume/stage.ts';
import type { ImageVolume, Volume } from '../../../src/volume/volume.ts';
import {
  blockVolume,
  INLINE,
  MAPPING,
  NAMES,
  type Name,
  planned,
  STAGING,
  theMount,
  valuesOf,
  volumeOf,
} from './volumes.ts';

const stage = (volume: Volume, more: Partial<Staging> = {}) => planStage(volume, { ...STAGING, ...more });
const staged = (name: Name, more: Partial<Staging> = {}) => theMount(stage(volumeOf(name), more).mounts);
const IDS = ['uidmap', 'gidmap', 'rootuid', 'rootgid'];

/** Each publish makes its own. */
const NOT_SHARED: readonly Name[] = [
  ...(['bind', 'bind, mapped', 'bind with an owner', 'bind, idmap: pod'] as const),
  'ephemeral overlay',
  'overlay, idmap: pod',
  'persistent overlay, idmap: pod',
  'fuse, idmap: pod',
];
const SHARED = NAMES.filter((name) => !NOT_SHARED.includes(name));

describe('what is staged', () => {
  for (const name of SHARED) {
    it(`${name}: is shared, and can be planned`, () => {
      expect(isShared(volumeOf(name), undefined)).to.equal(true);
      const { mounts } = stage(volumeOf(name));
      expect(mounts).to.not.be.empty;
      for (const mount of mounts) expect(planned(mount)).to.not.be.empty;
    });
  }

  for (const name of NOT_SHARED) {
    it(`${name}: nothing, each publish makes its own`, () => {
      expect(isShared(volumeOf(name), undefined)).to.equal(false);
      expect(stage(volumeOf(name))).to.deep.equal({ before: {}, mounts: [] });
    });
  }

  it('a block device: nothing, its loop device comes with the first publish', () => {
    expect(stage(blockVolume())).to.deep.equal({ before: {}, mounts: [] });
  });

  it('nothing of an inline volume is shared', () => {
    for (const name of NAMES) {
      if (name !== 'mounts') expect(isShared(volumeOf(name, INLINE), undefined), name).to.equal(false);
    }
  });

  it('a read-only overlay is not shared between pods whose group it shows', () => {
    expect(isShared(volumeOf('read-only overlay'), 7)).to.equal(false);
    expect(isShared(volumeOf('persistent overlay'), 7)).to.equal(true);
  });

  it('tmpfs: with its limit', () => {
    const mount = theMount(
      stage(volumeOf('tmpfs'), { terms: { options: [], parts: [{ options: [], sizeLimit: 1 << 20 }] } })
        .mounts,
    );
    expect(mount).to.include({ type: 'tmpfs', source: 'tmpfs' });
    expect(valuesOf(mount, 'size')).to.deep.equal(['1048576']);
  });

  it('image and device: by the filesystem, from their source', () => {
    expect(staged('image')).to.include({ type: 'auto', source: '/srv/a.img' });
    expect(staged('new image')).to.include({ type: 'xfs', source: '/srv/a.img' });
    expect(staged('device')).to.include({ type: 'ext4', source: '/dev/vdb' });
  });

  it('fuse: by its helper, for every user', () => {
    const { type, source, options } = staged('fuse');
    expect({ type, source }).to.deep.equal({ type: 'fuse.bindfs', source: '/srv' });
    expect(options).to.include.members(['allow_other', 'default_permissions']);
  });

  it('overlay: its layers in order, and those that are written', () => {
    expect(valuesOf(staged('read-only overlay'), 'lowerdir')).to.deep.equal(['/b:/a']);
    expect(staged('read-only overlay').options.join()).to.not.match(/upperdir|workdir/);
    const { options } = staged('persistent overlay');
    expect(options).to.include.members(['lowerdir=/b:/a', 'upperdir=/u', 'workdir=/w']);
  });

  it('mounts: all of them, the first at the root', () => {
    const { mounts } = stage(volumeOf('mounts'));
    expect(mounts.map(({ type, target }) => [type, target])).to.deep.equal([
      ['bind', undefined],
      ['overlay', 'b'],
    ]);
  });

  describe('ids', () => {
    it('are those on disk, where each publish can map its own view', () => {
      for (const name of ['tmpfs', 'image', 'device'] as const) {
        const mount = staged(name, { group: 7 });
        for (const option of IDS) expect(valuesOf(mount, option), `${name} ${option}`).to.be.empty;
      }
    });

    it('are those of the mapping, where none can be made later', () => {
      for (const name of ['read-only overlay, mapped', 'persistent overlay, mapped'] as const) {
        expect(valuesOf(staged(name), 'uidmap'), name).to.deep.equal([MAPPING]);
        expect(valuesOf(staged(name), 'gidmap'), name).to.deep.equal([MAPPING]);
      }
    });

    it('are not those of the first pod: a group is for its own view', () => {
      for (const name of ['read-only overlay', 'persistent overlay', 'fuse'] as const) {
        expect(staged(name, { group: 7 })).to.deep.equal(staged(name));
      }
    });

    it('of a tmpfs are made for the group', () => {
      const mount = staged('tmpfs', { group: 7 });
      expect(valuesOf(mount, 'gid')).to.deep.equal(['7']);
      expect(valuesOf(mount, 'mode')).to.deep.equal(['2775']);
    });
  });

  it('is read-only by its superblock when the access mode lets nobody write', () => {
    for (const name of SHARED) {
      const mounts = (readOnly: boolean) => stage(volumeOf(name), { readOnly }).mounts;
      for (const { options } of mounts(true)) expect(options.at(-1), name).to.equal('ro');
      for (const { options } of mounts(false)) expect(options, name).to.not.include('ro');
    }
  });
});

describe('what is done to an image first', () => {
  const imageOf = (name: 'image' | 'new image', more = {}) => volumeOf(name, more) as ImageVolume;
  const AS_ASKED = { group: undefined, readOnly: false };

  it('it is checked where it will be written', () => {
    expect(preparationOf(imageOf('image'), AS_ASKED).image).to.deep.equal({
      ...{ path: '/srv/a.img', filesystem: 'auto', make: undefined },
      check: true,
    });
  });

  it('it is left alone where it will not', () => {
    expect(preparationOf(imageOf('image'), { ...AS_ASKED, readOnly: true }).image).to.include({
      check: false,
    });
    expect(preparationOf(imageOf('image', { options: 'ro' }), AS_ASKED).image).to.include({ check: false });
  });

  it('it is made, and given to the group', () => {
    const make = { filesystem: 'xfs', bytes: 2 ** 30, root: undefined };
    expect(preparationOf(imageOf('new image'), AS_ASKED).image).to.deep.include({ make, filesystem: 'xfs' });
    const root = { uid: 0, gid: 7, mode: SHARED_MODE };
    const forGroup = { ...AS_ASKED, group: 7 };
    expect(preparationOf(imageOf('new image'), forGroup).image).to.deep.include({ make: { ...make, root } });
  });

  it('only images are', () => {
    for (const name of NAMES) {
      expect(stage(volumeOf(name)).before.image !== undefined, name).to.equal(/image/.test(name));
    }
  });
});
