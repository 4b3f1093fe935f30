// Asking a filesystem in a process of its own, where there is no room for one.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

describe('asking whether a filesystem answers', () => {
  it('says nothing against it, and ends nobody, where no more files can be opened', () => {
    const fixture = join(import.meta.dirname, 'probe-without-files.fixture.ts');
    const limited = 'ulimit -n 64 && exec "$0" "$@"';
    const said = execFileSync('sh', ['-c', limited, process.execPath, fixture], { encoding: 'utf8' });
    expect(JSON.parse(said)).to.deep.equal([{ answers: true }, { answers: true }]);
  });
});
