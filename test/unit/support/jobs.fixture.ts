// Ends in each of the ways that a job of the tests can: jobs.test.ts runs it and reads what is made of it.
import { needPermission } from '../../support/need.ts';

const how = process.env.JOB_ENDS;

describe('a job', () => {
  it('passes', () => undefined);
  it('fails', () => {
    if (how === 'failing') throw new Error('as it was told');
  });
  it('is skipped', function () {
    needPermission(this, how !== 'skipping', 'nothing is allowed today');
  });
  it('is killed', () => {
    if (how === 'killed') process.kill(process.pid, 'SIGKILL');
  });
});

describe('a part of it', () => {
  before(function () {
    needPermission(this, how !== 'skipping', 'nothing is allowed today');
  });
  it('is skipped too', () => undefined);
});
