import { expect } from 'chai';
import fc from 'fast-check';
import { leavesFirst } from '../../../src/mount/unmount/recursive.ts';
import type { SeenMount } from '../../../src/mount/view.ts';

const mount = (id: number, parentId: number, target: string): SeenMount => ({
  id: BigInt(id),
  parentId: BigInt(parentId),
  info: {
    id,
    parentId,
    device: '0:1',
    root: '/',
    target,
    options: [],
    propagation: [],
    type: 'tmpfs',
    source: 'x',
    superblockOptions: [],
  },
});

const ids = (mounts: readonly SeenMount[]) => leavesFirst(mounts).map(({ info }) => info.id);

/** Mounts on earlier ones, at their root or at one of three directories. */
const trees = fc
  .array(fc.record({ on: fc.nat(), at: fc.constantFrom('', '/a', '/ab', '/a/b') }), { maxLength: 30 })
  .map((choices) => {
    const made: SeenMount[] = [];
    for (const [i, { on, at }] of choices.entries()) {
      const parent = made[on % (made.length + 1)];
      made.push(mount(i + 2, parent?.info.id ?? 1, `${parent?.info.target ?? '/t'}${at}`));
    }
    return made;
  });

describe('leavesFirst', () => {
  it('lists a mount after what stands on it', () => {
    expect(ids([mount(2, 1, '/t'), mount(3, 2, '/t/a'), mount(4, 3, '/t/a/b')])).to.deep.equal([4, 3, 2]);
  });

  it('lists a stack from its top', () => {
    expect(ids([mount(2, 1, '/t'), mount(4, 3, '/t'), mount(3, 2, '/t')])).to.deep.equal([4, 3, 2]);
  });

  it('lists what covers a mount before what it covers', () => {
    const covered = mount(3, 2, '/t/sub/deep');
    const cover = mount(4, 2, '/t/sub');
    expect(ids([mount(2, 1, '/t'), covered, cover, mount(5, 4, '/t/sub/deep')])).to.deep.equal([5, 4, 3, 2]);
  });

  it('keeps every mount, each after all that stand on it, whatever their order', () => {
    fc.assert(
      fc.property(
        trees.chain((tree) => fc.shuffledSubarray(tree, { minLength: tree.length })),
        (mounts) => {
          const order = ids(mounts);
          expect(order.toSorted()).to.deep.equal(mounts.map(({ info }) => info.id).toSorted());
          for (const { info } of mounts) {
            const parentAt = order.indexOf(info.parentId);
            if (parentAt !== -1) expect(order.indexOf(info.id)).to.be.below(parentAt);
          }
        },
      ),
    );
  });

  it('takes a stack of 100,000', () => {
    const stack = Array.from({ length: 100_000 }, (_, i) => mount(i + 2, i + 1, '/t'));
    expect(ids(stack)[0]).to.equal(100_001);
  });
});
