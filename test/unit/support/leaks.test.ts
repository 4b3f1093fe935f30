// The leak check itself: a run that leaves something behind fails and says what.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';
import { needRoot } from '../../support/need.ts';

const ROOT = join(import.meta.dirname, '../../..');

interface Run {
  readonly status: number;
  readonly output: string;
}

/** The fixture's tests in a mocha of their own. */
function mocha(...leak: string[]): Promise<Run> {
  const args = [join(ROOT, 'node_modules/mocha/bin/mocha.js'), 'test/unit/support/leaking.fixture.ts'];
  const { CI: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      args,
      { cwd: ROOT, env: { ...env, LEAK: leak.join(','), TEST_SETTLE_MS: '500' } },
      (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    );
  });
}

describe('the leak check', () => {
  it('lets a run pass that leaves nothing, and ends it with the account', async () => {
    const { status, output } = await mocha();
    expect(output).to.match(/\n2 passed, 0 failed, 0 skipped\n$/);
    expect(status).to.equal(0);
  });

  it('fails a run by a file, a socket, a directory, a child and an orphan, and names the culprit', async () => {
    const { status, output } = await mocha('file', 'socket', 'directory', 'process', 'child');
    expect(status).to.equal(1);
    expect(output).to.contain('left behind by a file that leaks (test/unit/support/leaking.fixture.ts):');
    expect(output).to.match(/file descriptor: \d+ \/etc\/passwd\n/);
    expect(output).to.match(/file descriptor: \d+ socket:\[\d+\]\n/);
    expect(output).to.match(/temporary directory: \S+\/t-\d+-\w+\n/);
    expect(output.match(/process: \d+ sleep 300 /g)).to.have.length(2);
    expect(output).to.not.contain('left behind by a file that comes after it');
  });

  it('sees what a test outside of any describe() leaves', async () => {
    const { status, output } = await mocha('outside');
    expect(status).to.equal(1);
    expect(output).to.match(/left behind by .*:\n\s+file descriptor: \d+ \/etc\/group\n/);
  });

  it('fails a run by a namespace, a mount and a loop device', async function () {
    needRoot(this, 'leaking a mount takes the right to mount');
    const { status, output } = await mocha('namespace', 'mount', 'place', 'loop');
    expect(status).to.equal(1);
    expect(output).to.match(/file descriptor: \d+ user:\[\d+\]\n/);
    expect(output).to.match(/mount: \d+ \S+\/t-\d+-\w+ \(tmpfs\)\n/);
    expect(output).to.match(/mount: \S+\/left after "a file that leaks leaks: place"\n/);
    expect(output).to.match(/loop device: loop\d+ of \S+\/image\n/);
  });
});
