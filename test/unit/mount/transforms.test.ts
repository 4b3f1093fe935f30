import { expect } from 'chai';
import fc from 'fast-check';
import { parseLowerdir, unescapePath } from '../../../src/mount/layers.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { readonlyMounts, removeIdmap, removeVolatile } from '../../../src/mount/transforms.ts';

const overlay = (...options: string[]): Mount => ({ type: 'overlay', source: 'overlay', options });
const bind = (...options: string[]): Mount => ({ type: 'bind', source: '/data', target: 'below', options });

const rows: { title: string; transform: (mounts: Mount[]) => readonly Mount[]; from: Mount; to: Mount }[] = [
  {
    title: 'makes a bind read-only',
    transform: readonlyMounts,
    from: bind('rbind', 'rw'),
    to: bind('rbind', 'ro'),
  },
  {
    title: 'says ro once',
    transform: readonlyMounts,
    from: bind('ro', 'bind', 'ro'),
    to: bind('bind', 'ro'),
  },
  {
    title: 'leaves what is said of mounts below',
    transform: readonlyMounts,
    from: bind('rbind', 'rrw'),
    to: bind('rbind', 'rrw', 'ro'),
  },
  {
    title: 'puts the upper layer on top of the lower ones',
    transform: readonlyMounts,
    from: overlay('index=off', 'workdir=/w', 'upperdir=/u', 'lowerdir=/b:/a'),
    to: overlay('index=off', 'lowerdir=/u:/b:/a'),
  },
  {
    title: 'drops id maps, volatile and rw from a read-only overlay',
    transform: readonlyMounts,
    from: overlay(
      'rw',
      'uidmap=0:1:2',
      'gidmap=0:1:2',
      'volatile',
      'lowerdir=/a',
      'upperdir=/u',
      'workdir=/w',
    ),
    to: overlay('lowerdir=/u:/a'),
  },
  {
    title: 'leaves an overlay without an upper layer',
    transform: readonlyMounts,
    from: overlay('lowerdir=/b:/a'),
    to: overlay('lowerdir=/b:/a'),
  },
  {
    title: 'puts it above data-only layers too',
    transform: readonlyMounts,
    from: overlay('lowerdir=/a::/data', 'upperdir=/u', 'workdir=/w'),
    to: overlay('lowerdir=/u:/a::/data'),
  },
  {
    title: 'escapes a colon of the upper layer',
    transform: readonlyMounts,
    from: overlay('lowerdir=/a', 'upperdir=/u:1\\:2\\,3', 'workdir=/w'),
    to: overlay('lowerdir=/u\\:1\\:2\\,3:/a'),
  },
  {
    title: 'removes volatile',
    transform: removeVolatile,
    from: overlay('lowerdir=/a', 'volatile'),
    to: overlay('lowerdir=/a'),
  },
  {
    title: 'removes volatile from overlays only',
    transform: removeVolatile,
    from: bind('volatile'),
    to: bind('volatile'),
  },
  {
    title: 'removes id maps',
    transform: removeIdmap,
    from: bind('bind', 'uidmap=0:1:2', 'gidmap=0:1:2'),
    to: bind('bind'),
  },
];

describe('transforms of mounts', () => {
  for (const { title, transform, from, to } of rows) {
    it(title, () => {
      const given = structuredClone(from);
      expect(transform([from])).to.deep.equal([to]);
      expect(from).to.deep.equal(given);
    });
  }

  const option = fc.constantFrom(
    'ro',
    'rw',
    'volatile',
    'uidmap=0:1:1',
    'gidmap=0:1:1',
    'rootuid=7',
    'idmapupper',
    'lowerdir=/a',
    'upperdir=/u',
    'workdir=/w',
    'nosuid',
    'x=y',
  );
  const mounts = fc.array(
    fc.record({
      type: fc.constantFrom('bind', 'overlay', 'tmpfs'),
      source: fc.constant('s'),
      options: fc.array(option),
    }),
  );

  for (const transform of [readonlyMounts, removeVolatile, removeIdmap]) {
    it(`${transform.name} changes nothing that it is given, and nothing the second time`, () => {
      fc.assert(
        fc.property(mounts, (given) => {
          const before = structuredClone(given);
          const once = transform(given);
          expect(given).to.deep.equal(before);
          expect(transform(once)).to.deep.equal(once);
        }),
      );
    });
  }

  it('reads back the upper layer as the top one, whatever its name', () => {
    const path = fc.string({ minLength: 1 }).filter((name) => !/[\0]/.test(name) && !name.endsWith('\\'));
    fc.assert(
      fc.property(path, (upper) => {
        const [made] = readonlyMounts([overlay('lowerdir=/a', `upperdir=${upper}`, 'workdir=/w')]);
        const lowerdir = made?.options.at(0)?.slice('lowerdir='.length) ?? '';
        expect(parseLowerdir(lowerdir, 'lowerdir').map((layer) => layer.path)).to.deep.equal([
          unescapePath(upper),
          '/a',
        ]);
      }),
    );
  });
});
