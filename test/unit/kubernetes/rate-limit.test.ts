// The token bucket, on a clock of the test's own.
import { expect } from 'chai';
import { rateLimit } from '../../../src/kubernetes/rate-limit.ts';

describe('the rate limit', () => {
  let time = 0;
  const limit = (remembered = 10) => rateLimit({ burst: 2, refillMs: 100, remembered, now: () => time });
  const taken = (take: (key: string) => boolean, keys: string) => [...keys].map((key) => take(key));

  beforeEach(() => {
    time = 0;
  });

  it('lets a burst through, then none, for each key by itself', () => {
    expect(taken(limit(), 'aaaab')).to.deep.equal([true, true, false, false, true]);
  });

  it('gives one more after a while, and never more than a burst', () => {
    const take = limit();
    taken(take, 'aa');
    time = 99;
    expect(take('a')).to.equal(false);
    time = 100;
    expect(taken(take, 'aa')).to.deep.equal([true, false]);
    time = 10_000;
    expect(taken(take, 'aaa')).to.deep.equal([true, true, false]);
  });

  it('asking in vain puts nothing off', () => {
    const take = limit();
    taken(take, 'aa');
    for (time = 10; time < 100; time += 10) expect(take('a')).to.equal(false);
    time = 101;
    expect(take('a')).to.equal(true);
  });

  it('forgets the key that was not asked for the longest', () => {
    const take = limit(2);
    taken(take, 'aabb');
    expect(take('a')).to.equal(false);
    expect(take('c'), 'in place of b').to.equal(true);
    expect(taken(take, 'ab')).to.deep.equal([false, true]);
  });
});
