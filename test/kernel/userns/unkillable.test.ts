// A child that may not be killed: it ends by itself, and is waited for, before its stack is freed.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';
import { needEveryCall } from '../../support/need.ts';

const WITHOUT = join(import.meta.dirname, '../../support/without-syscalls.ts');
const FIXTURE = join(import.meta.dirname, 'unkillable.fixture.ts');

describe('a child that may not be killed', () => {
  it('is waited for all the same, and the refusal told', function () {
    needEveryCall(this, 'its pidfd');
    const command = [WITHOUT, 'pidfd_send_signal', process.execPath, FIXTURE];
    const said = execFileSync(process.execPath, command, { encoding: 'utf8' });
    expect(JSON.parse(said)).to.deep.equal({ refused: 'pidfd_send_signal: ENOSYS', isThere: false });
  });
});
