// A mount for which the file descriptors run out, wherever that is.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { mountPlace, type TemporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { injecting } from '../../support/strace.ts';
import type { Try } from './few-descriptors.fixture.ts';

describe('a mount without enough file descriptors', () => {
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    needTool(this, 'prlimit', 'a process with few descriptors');
  });

  const fixture = fileURLToPath(new URL('./few-descriptors.fixture.ts', import.meta.url));

  /** @param below what the process is started by */
  function tries(place: TemporaryDirectory, api: string, type: string, below: readonly string[] = []): Try[] {
    writeFiles(place.path, { 'source/': '', 'target/': '' });
    const command = [process.execPath, fixture, api, type, place.at('source'), place.at('target')];
    const said = execFileSync('prlimit', ['--nofile=128', ...below, ...command], { encoding: 'utf8' });
    return JSON.parse(said) as Try[];
  }

  const nothing: Try = { failed: { reason: 'node-exhausted', rolledBack: true }, mounts: 0 };
  for (const api of ['modern', 'classic']) {
    for (const type of ['bind', 'tmpfs']) {
      it(`of a ${type}, ${api}, leaves nothing, wherever they run out`, () => {
        using place = mountPlace();
        const all = tries(place, api, type);
        const failed = all.slice(0, -1);
        expect(failed).to.have.length.greaterThan(0);
        expect(failed).to.deep.equal(failed.map(() => nothing));
        expect(all.at(-1)).to.deep.equal({ failed: false, mounts: 1 } satisfies Try);
      });
    }
  }

  it('that cannot be taken away again says that it is left', function () {
    needTool(this, 'strace', 'it makes system calls fail');
    using place = mountPlace();
    // The first one is of the unmount before all tries.
    const below = ['strace', ...injecting('umount2', 'error=EPERM:when=2')];
    const left = tries(place, 'classic', 'bind', below).filter(({ failed, mounts }) => failed && mounts > 0);
    expect(left[0]).to.deep.equal({ failed: { reason: 'node-exhausted', rolledBack: false }, mounts: 1 });
  });
});
