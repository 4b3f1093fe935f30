import { expect } from 'chai';
import { soakOf, toSoak, withSoak } from '../../../bench/soak-page.ts';

const figures = (volumes: number) => ({
  ...{ seed: 7, seconds: 600, callers: 100, volumes },
  codes: { CANCELLED: 2, OK: 40 },
  looks: [
    { second: 0, volumes: 100, mounts: 0, heap: 18_432 },
    { second: 600, volumes, mounts: 68, heap: 19_712 },
  ],
});

describe('bench: the soak in RESULTS.md', () => {
  it('has the calls by their answers, and a line for each look', () => {
    const section = toSoak(figures(2_500));
    expect(section).to.contain('2500 volumes, 42 calls: 40 OK, 2 CANCELLED.');
    expect(section).to.contain('| second | volumes | mounts | heap, MiB |');
    expect(section).to.contain('| 600 | 2500 | 68 | 19.3 |');
  });

  it('is added to a page without one, and takes the place of the one before', () => {
    const once = withSoak('# Results\n', toSoak(figures(1)));
    expect(once).to.equal(`# Results\n${toSoak(figures(1))}`);
    expect(withSoak(once, toSoak(figures(2)))).to.equal(`# Results\n${toSoak(figures(2))}`);
  });

  it('is kept by whoever writes the page anew', () => {
    expect(soakOf('# Results\n')).to.equal('');
    expect(soakOf(withSoak('# Results\n', toSoak(figures(1))))).to.equal(toSoak(figures(1)));
  });
});
