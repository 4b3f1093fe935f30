// The timeouts of tests on a machine that is slower than usual.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

const MODULE = join(import.meta.dirname, '../../support/time-scale.ts');

/** What a runnable of mocha says that was given these timeouts one after another. */
function timeoutsSaid(scale: string, given: readonly number[]): number[] {
  const script = `
    import Mocha from 'mocha';
    import { scaleTimeouts } from '${MODULE}';
    scaleTimeouts(Mocha.Runnable.prototype);
    const test = new Mocha.Test('a test', () => {});
    const said = ${JSON.stringify(given)}.map((ms) => {
      test.timeout(ms);
      return test.timeout();
    });
    console.log(JSON.stringify(said));`;
  return JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TEST_TIME_SCALE: scale },
    }),
  );
}

describe('timeouts by TEST_TIME_SCALE', () => {
  it('are as many times as long, and none where there is none', () => {
    expect(timeoutsSaid('15', [2_000, 90_000, 0])).to.deep.equal([30_000, 1_350_000, 0]);
    expect(timeoutsSaid('1', [2_000])).to.deep.equal([2_000]);
  });

  it('are not by what is no number', () => {
    expect(() => timeoutsSaid('fast', [1])).to.throw('TEST_TIME_SCALE is fast, and must be a number above 0');
  });
});
