import { expect } from 'chai';
import { type Finding, judge, type Result } from '../../../bench/finding.ts';
import { GOALS, type GoalName, goalOf } from '../../../bench/goals.ts';
import { toPage } from '../../../bench/page.ts';
import { toLines, toTable } from '../../../bench/report.ts';

const sample = (name: string, ...values: number[]) => ({ name, values });
const bind = (...ours: number[]): Finding => ({
  goal: 'bind',
  ours: sample('ours', ...ours),
  peer: sample('containerd', 0.02, 0.04, 0.03),
  limit: sample('bare', 0.01),
});
const start = (...ours: number[]): Finding => ({ goal: 'start', ours: sample('ours', ...ours) });

describe('bench: goals', () => {
  it('have either a peer or a unit, and a number', () => {
    for (const name of Object.keys(GOALS) as GoalName[]) {
      const goal = goalOf(name);
      expect(goal.peer === undefined, name).to.equal(goal.unit !== undefined);
      expect(goal.most, name).to.be.at.least(0);
    }
  });

  it('are called differently, each', () => {
    const names = Object.values(GOALS).map(({ what }) => what);
    expect(new Set(names).size).to.equal(names.length);
  });
});

describe('bench: verdicts', () => {
  it('hold the ratio of medians to the goal, not the median of ratios', () => {
    expect(judge(bind(0.06, 0.01, 0.03))).to.include({ value: 1, isReached: true, isFar: false });
  });

  it('tell what is missed from what is missed by half', () => {
    expect(judge(bind(0.04))).to.include({ isReached: false, isFar: false });
    expect(judge(bind(0.0451))).to.include({ isReached: false, isFar: true });
  });

  it('hold p99 to p99 where the goal says so', () => {
    const values = Array.from({ length: 100 }, (_, i) => i + 1);
    const result: Finding = {
      goal: 'publish-1-p99',
      ours: sample('ours', ...values),
      peer: sample('peer', ...values.map((value) => (value < 99 ? value : 198))),
    };
    expect(judge(result).value).to.equal(0.5);
  });

  it('hold a bound to the figure itself', () => {
    expect(judge(start(100, 300, 900))).to.include({ value: 300, isReached: true });
  });

  it('say how far above the bare system calls it is', () => {
    expect(judge(bind(0.03)).aboveLimit).to.be.closeTo(3, 1e-9);
  });

  it('do not take what has no peer for a ratio', () => {
    expect(() => judge({ goal: 'bind', ours: sample('ours', 1) })).to.throw('bind: nothing of its peer');
  });
});

describe('bench: reports', () => {
  const results: Result[] = [
    bind(0.0451),
    { ...start(512.345), note: 'as it is shipped' },
    { goal: 'nri', skipped: 'no Go' },
  ];

  it('begin each with its verdict, and give what it rests on', () => {
    const [far = '', bound = '', skipped = ''] = results.map(toLines);
    expect(far)
      .to.match(/^FAR +1\.50 x of <= 1 x containerd /)
      .and.match(/ours +45\.1 us$/m);
    expect(far).to.match(/containerd +20 us \/ 30 us \/ 40 us/);
    expect(bound)
      .to.match(/^FAR +512 ms of <= 300 ms /)
      .and.contain('as it is shipped');
    expect(skipped).to.equal(`skipped  ${GOALS.nri.what}: no Go`);
  });

  it('have a row of the table for each, with as many cells as its head', () => {
    const rows = toTable(results).split('\n');
    expect(rows).to.have.length(2 + results.length);
    expect(new Set(rows.slice(0, -1).map((row) => row.split(' | ').length)).size).to.equal(1);
    expect(rows[2]).to.contain('**missed**').and.contain('4.51 x');
  });

  it('count on the page what is reached, and say what it was measured on', () => {
    const page = toPage({
      machine: [['kernel', '6.18']],
      results: [...results, bind(0.01)],
      chart: 'x.svg',
      fuse: [sample('while 5 hang', 1, 2, 3)],
    });
    expect(page).to.contain('1 of 4 reached').and.contain('| kernel | 6.18 |').and.contain('](x.svg)');
    expect(page).to.contain('while 5 hang: 1 ms / 2 ms / 3 ms');
  });
});
