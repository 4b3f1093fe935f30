// Somebody else's name on files, for the length of a block.
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { PR } from '../../../src/sys/constants.ts';
import { asFilesystemUser } from '../../../src/sys/filesystem-user.ts';
import { prctl } from '../../../src/sys/syscalls.ts';
import { temporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { needRoot } from '../../support/need.ts';

/** What the kernel says of this thread. */
function status(): Record<string, string | undefined> {
  const text = readFileSync('/proc/thread-self/status', 'utf8');
  const lineOf = (key: string) => new RegExp(`^${key}:\\t(.*)$`, 'm').exec(text)?.[1];
  return { uid: lineOf('Uid'), gid: lineOf('Gid'), capabilities: lineOf('CapEff') };
}

describe('asFilesystemUser', () => {
  before(function () {
    needRoot(this, 'another user takes CAP_SETUID');
  });

  it('makes files in his name, with the capabilities that were there', () => {
    using directory = temporaryDirectory();
    writeFiles(directory.path, { 'closed/secret': { content: 'secret', mode: 0o600 } });
    const before = status();
    {
      using _user = asFilesystemUser({ uid: 100_000, gid: 100_001 });
      writeFileSync(directory.at('closed/made'), '');
      expect(readFileSync(directory.at('closed/secret'), 'utf8')).to.equal('secret');
      expect(status()).to.deep.equal({
        ...before,
        uid: before.uid?.replace(/\d+$/, '100000'),
        gid: before.gid?.replace(/\d+$/, '100001'),
      });
    }
    const { uid, gid } = statSync(directory.at('closed/made'));
    expect([uid, gid]).to.deep.equal([100_000, 100_001]);
    expect(status()).to.deep.equal(before);
    expect(prctl(PR.PR_GET_DUMPABLE, 0)).to.equal(1);
  });

  it('is over after a failure too', () => {
    const before = status();
    expect(() => {
      using _user = asFilesystemUser({ uid: 7, gid: 8 });
      throw new Error('in between');
    }).to.throw('in between');
    expect(status()).to.deep.equal(before);
  });

  it('is refused for what is no user, and leaves nobody', () => {
    const before = status();
    for (const user of [
      { uid: 2 ** 32 - 1, gid: 7 },
      { uid: 7, gid: 2 ** 32 - 1 },
    ]) {
      expect(() => asFilesystemUser(user)).to.throw(/EPERM/);
      expect(status()).to.deep.equal(before);
    }
  });
});
