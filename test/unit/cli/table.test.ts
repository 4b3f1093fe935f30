// Tables for the terminal.
import { expect } from 'chai';
import fc from 'fast-check';
import { table } from '../../../src/cli/table.ts';

describe('table', () => {
  it('pads each column to its widest cell, with a rule below the head and nothing at line ends', () => {
    const rows = [
      ['of-root', '0:0', ''],
      ['x', '100000:100000', 'yes'],
    ];
    expect(table(['file', 'owner', 'here'], rows).split('\n')).to.deep.equal([
      'file     owner          here',
      '-------  -------------  ----',
      'of-root  0:0',
      'x        100000:100000  yes',
    ]);
  });

  it('a head alone', () => expect(table(['a', 'bc'], [])).to.equal('a  bc\n-  --'));

  it('rows that are too short', () => {
    expect(table(['a', 'b'], [['1'], []])).to.equal('a  b\n-  -\n1\n');
  });

  it('every column begins at the same place in every line', () => {
    const cell = fc.string({ unit: fc.constantFrom(...'abc123'), minLength: 1, maxLength: 12 });
    const row = fc.tuple(cell, cell, cell);
    fc.assert(
      fc.property(row, fc.array(row), (head, rows) => {
        const lines = table(head, rows).split('\n');
        expect(lines).to.have.length(rows.length + 2);
        const starts = (line = '') => [...line.matchAll(/(?:^| {2})(?=\S)/g)].map(({ index }) => index);
        for (const line of lines) expect(starts(line)).to.deep.equal(starts(lines[1]));
      }),
    );
  });
});
