import { expect } from 'chai';
import { oneByOne } from '../../../src/fuse-host/one-by-one.ts';

describe('work on one of many after another', () => {
  it('goes on after one that fails, and tells of each failure once, until that is over', () => {
    const said: unknown[] = [];
    const log = { error: (message: string, fields?: object) => said.push([message, fields]) };
    const each = oneByOne<{ name: string }>(log, 'did not work', ({ name }) => ({ name }));
    const all = ['one', 'two', 'three'].map((name) => ({ name }));
    const failing = new Map([['two', 'broken']]);
    const worked: string[] = [];
    const round = () =>
      each(all, ({ name }) => {
        const problem = failing.get(name);
        if (problem !== undefined) throw new Error(problem);
        worked.push(name);
      });
    round();
    round();
    expect(worked.splice(0)).to.deep.equal(['one', 'three', 'one', 'three']);
    expect(said.splice(0)).to.deep.equal([['did not work', { name: 'two', problem: 'broken' }]]);
    failing.set('two', 'otherwise');
    round();
    failing.clear();
    round();
    failing.set('two', 'otherwise');
    round();
    expect(said).to.have.length(2);
  });
});
