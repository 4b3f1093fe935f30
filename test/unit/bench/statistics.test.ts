import { expect } from 'chai';
import { pairDifferences, pairRatios, summarise } from '../../../bench/statistics.ts';

describe('bench: statistics', () => {
  it('summarises by values that were measured, never by something between two', () => {
    expect(summarise([4, 1, 3, 2])).to.deep.equal({ count: 4, min: 1, median: 2, p99: 4, max: 4 });
    const hundred = Array.from({ length: 200 }, (_, i) => 200 - i);
    expect(summarise(hundred)).to.include({ median: 100, p99: 198, max: 200 });
  });

  it('leaves the values in their order', () => {
    const values = [3, 1, 2];
    summarise(values);
    expect(values).to.deep.equal([3, 1, 2]);
  });

  it('says of nothing that it is not a number', () => {
    expect(summarise([]).median).to.be.NaN;
  });

  it('compares pair by pair, as far as both go', () => {
    expect(pairRatios([1, 6, 9], [2, 3])).to.deep.equal([0.5, 2]);
    expect(pairDifferences([1, 6, 9], [2, 3])).to.deep.equal([-1, 3]);
  });
});
