// Whether V8 takes the flags, which it would pass over in silence: asked of a program of its own.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

const MODULE = join(import.meta.dirname, '../../../src/sys/small-heap.ts');

/** How far the space for new objects grows, in bytes, while many are made. */
function newSpaceOf(before: string): number {
  const program = `
    import v8 from 'node:v8';
    import { keepHeapSmall } from ${JSON.stringify(MODULE)};
    ${before}
    const kept = [];
    for (let i = 0; i < 3_000_000; i++) kept[i % 100_000] = { i };
    const space = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
    console.log(space.space_size);
  `;
  return Number(
    execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' }),
  );
}

describe('keepHeapSmall()', () => {
  it('keeps the space for new objects as it begins', () => {
    expect(newSpaceOf('keepHeapSmall();'))
      .to.be.above(0)
      .and.at.most(newSpaceOf('') / 4);
  });
});
