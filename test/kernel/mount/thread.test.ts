// A thread of the engine that does not start: in time, as on a node with no processor time to spare, or at all. strace(1)
// holds it up, or has it fail, at a call that only it makes.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { mountPlace, writeFiles } from '../../support/fixtures.ts';
import { needEveryCall, needRoot, needTool } from '../../support/need.ts';
import { injecting } from '../../support/strace.ts';
import { mountsIn } from './engines.ts';
import type { Answer } from './failing-thread.fixture.ts';

/** More than it is waited for. */
const LATE_US = 33_000_000;

describe('a thread of the engine that does not start', function () {
  this.timeout('3m');
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    needTool(this, 'strace', 'it holds the thread up at a system call');
    needEveryCall(this, 'there may be no private thread');
  });

  it('is for want of processor time, and leaves nothing', () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/': '', 'b/': '', 'target/': '' });
    const before = mountsIn(place.path);
    const hold = injecting('pivot_root', `delay_enter=${LATE_US}`);
    const { status, stderr } = spawnSync(
      'strace',
      [
        ...hold,
        ...[
          'bin/csi-driver-idmap',
          'mount',
          '-t',
          'overlay',
          '--disable-kernel-feature',
          'overlay-layers-by-fd',
        ],
        ...['-o', `lowerdir=${place.at('a')}:${place.at('b')},uidmap=0:100000:65536,gidmap=0:100000:65536`],
        ...['overlay', place.at('target')],
      ],
      { encoding: 'utf8' },
    );
    expect(stderr).to.contain('the private thread of the engine did not start within 30000 ms');
    expect(stderr).to.contain('short of processor time');
    expect(status).to.equal(1);
    expect(mountsIn(place.path)).to.equal(before);
  });

  it('is ended where the kernel refuses what it needs, and so is its copy of the mounts of the host', () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/': '', 'b/': '', 'target/': '' });
    const fixture = fileURLToPath(import.meta.resolve('./failing-thread.fixture.ts'));
    const refuse = injecting('pivot_root', 'error=EINVAL');
    const { stdout, stderr } = spawnSync('strace', [...refuse, process.execPath, fixture, place.path], {
      encoding: 'utf8',
    });
    expect(stderr).to.equal('');
    const { failures, threads, namespaces } = JSON.parse(stdout) as Answer;
    expect(failures).to.have.length(3);
    for (const failure of failures) expect(failure).to.contain('pivot_root').and.contain('EINVAL');
    expect(threads.after).to.equal(threads.before);
    expect(namespaces).to.equal(1);
  });
});
