// Process ids that are used again at once: a child that is gone is noticed, however soon another has its number.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { needPermission, needTool } from '../../support/need.ts';
import { describeWays } from './ways.ts';

const PID_MAX = '/proc/sys/kernel/pid_max';
/** The kernel takes no less than 301. */
const FEW = 400;
const LOWERED = `echo ${FEW} >${PID_MAX}; exec "$@"`;
/**
 * Before Linux 6.14 the limit is the whole machine's: it is put back by a shell that outlives this run, should that be
 * killed.
 */
const RESTORING = `
trap : INT TERM HUP
before=$1; shift
"$@"; status=$?
[ "$(cat ${PID_MAX})" = "$before" ] || echo "$before" >${PID_MAX}
exit $status`;

/** Before that, all that runs on the machine meanwhile would be short of process ids. */
const LIMIT_OF_NAMESPACE = [6, 14] as const;

function hasLimitOfItsOwn(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const [since, point] = LIMIT_OF_NAMESPACE;
  return major > since || (major === since && minor >= point);
}

describeWays('a child whose process id is reused', ({ without }) => {
  const limit = () => readFileSync(PID_MAX, 'utf8').trim();
  const before = limit();
  after(() => expect(limit()).to.equal(before));

  it('is told from the other process, and made anew', async function () {
    needTool(this, 'unshare', 'a pid namespace with a limit of its own');
    const isAlone = process.env.TEST_LOWER_PID_MAX !== undefined;
    needPermission(
      this,
      isAlone || hasLimitOfItsOwn(),
      'the limit is that of the whole machine before Linux 6.14; TEST_LOWER_PID_MAX=1 says that it may be lowered',
    );
    const fixture = join(import.meta.dirname, 'reuse.fixture.ts');
    const { stdout } = await promisify(execFile)('sh', [
      ...['-c', RESTORING, 'sh', before],
      ...['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--'],
      ...['sh', '-ec', LOWERED, 'sh', process.execPath, fixture, without.join()],
    ]);
    const { rounds, always } = JSON.parse(stdout) as {
      rounds: { starts: number; isForeign: boolean; foreignMap: string }[];
      always: { starts: number; failure: string };
    };
    expect(rounds).to.have.length(10);
    for (const round of rounds) expect(round).to.deep.equal({ starts: 2, isForeign: false, foreignMap: '' });
    expect(always.failure).to.match(/= ESRCH: the child of the new namespace was killed 10 times/);
    expect(always.starts).to.equal(10);
  });
});
