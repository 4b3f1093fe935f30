import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';
import { toldBy } from '../../support/report.ts';

const LONG = join(import.meta.dirname, '../../long.ts');

const long = (...parts: string[]) =>
  spawnSync(process.execPath, [LONG, ...parts], {
    encoding: 'utf8',
    env: { ...process.env, FUZZ_CASES: 'no number' },
  });

describe('the run of everything that takes long', () => {
  it('goes on after a part that fails, sums up, and fails', () => {
    const { status, stdout } = long('fuzz', 'fuzz');
    expect(status).to.equal(1);
    const [, summary = ''] = stdout.split('\n=== in all\n');
    expect(summary).to.match(/^(FAILED \(1\) {2}fuzz, \d+\.\d min: .*\n){2}$/);
  });

  it('knows its parts', () => {
    const { status, stderr } = long('fuzz', 'sleep');
    expect(status).to.equal(1);
    expect(stderr).to.contain('sleep: what takes long is fuzz, soak, crash, faults');
  });

  it('finds what a part has tried in what it says', () => {
    expect(toldBy('      figures: 3 kills')).to.equal('3 kills');
    expect(toldBy('3 kills')).to.equal(undefined);
  });
});
