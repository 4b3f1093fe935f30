// Whether V8 takes the flags, which it would pass over in silence: asked of programs of their own, with them and without.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

const MODULE = join(import.meta.dirname, '../../../src/sys/small-heap.ts');
const KEEP_SMALL = `import { keepHeapSmall } from ${JSON.stringify(MODULE)}; keepHeapSmall();`;

/** The number that a program prints. */
function numberFrom(program: string): number {
  const args = ['--allow-natives-syntax', '--input-type=module', '--eval', program];
  return Number(execFileSync(process.execPath, args, { encoding: 'utf8' }));
}

/** Of %GetOptimizationStatus(): the bits for code of an optimising compiler, of Maglev, of TurboFan. */
const OPTIMISED = 0b111 << 4;

describe('keepHeapSmall()', () => {
  it('keeps the space for new objects as it begins', () => {
    const program = `
      import v8 from 'node:v8';
      const kept = [];
      for (let i = 0; i < 3_000_000; i++) kept[i % 100_000] = { i };
      const space = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
      console.log(space.space_size);`;
    expect(numberFrom(KEEP_SMALL + program))
      .to.be.above(0)
      .and.at.most(numberFrom(program) / 4);
  });

  it('has no code of an optimising compiler, however often it runs', () => {
    const program = `
      function sum(n) { let all = 0; for (let i = 0; i < n; i++) all += i % 7; return all; }
      let optimised = 0;
      for (let i = 0; i < 200 && optimised === 0; i++) {
        for (let j = 0; j < 100; j++) sum(1_000);
        // Compilers work beside it.
        await new Promise((resolve) => setTimeout(resolve, 1));
        optimised = %GetOptimizationStatus(sum) & ${OPTIMISED};
      }
      console.log(optimised);`;
    expect(numberFrom(program)).not.to.equal(0);
    expect(numberFrom(KEEP_SMALL + program)).to.equal(0);
  });

  it('has less garbage gather until it is collected', () => {
    const program = (flag: string) => `${KEEP_SMALL}
      import v8 from 'node:v8';
      v8.setFlagsFromString('${flag}');
      const [kept, used] = [[], []];
      for (let round = 0; round < 600; round++) {
        for (let i = 0; i < 2_000; i++) kept[Math.floor(Math.random() * 30_000)] = { list: [i] };
        await new Promise((resolve) => setImmediate(resolve));
        const old = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space');
        if (round >= 300) used.push(old.space_used_size);
      }
      console.log(Math.max(...used) - Math.min(...used));`;
    const usual = numberFrom(program('--incremental-marking-soft-trigger=0'));
    // Of 4 MiB and 9.
    expect(numberFrom(program('--optimize-for-size'))).to.be.below(0.8 * usual);
  });
});
