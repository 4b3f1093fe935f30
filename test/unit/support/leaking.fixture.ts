// Leaks one of everything, on purpose: leaks.test.ts runs it in a mocha of its own and reads what that says.
// What the leak check does not take away itself goes when this process ends.
import { execFileSync, spawn } from 'node:child_process';
import { openSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Fd } from '../../../src/sys/fd.ts';
import { createUserNamespace } from '../../../src/userns/create.ts';
import { mountCommand, mountPlace, temporaryDirectory, writeFiles } from '../../support/fixtures.ts';

const leak = process.env.LEAK?.split(',') ?? [];
const leaks = (kind: string, make: () => void) => leak.includes(kind) && it(`leaks: ${kind}`, make);

describe('a file that leaks', () => {
  leaks('file', () => void openSync('/etc/passwd', 'r'));
  leaks('socket', () => void createServer().listen().unref());
  leaks('directory', () => void temporaryDirectory());
  leaks('process', () => {
    // An orphan in a session of its own, whose parent has ended.
    const code =
      "const c = require('child_process').spawn('sleep', ['300'], {detached: true, stdio: 'ignore'}); c.unref(); console.log(c.pid)";
    const orphan = Number(execFileSync(process.execPath, ['-e', code], { encoding: 'utf8' }));
    process.on('exit', () => process.kill(orphan));
  });
  leaks('child', () => {
    const child = spawn('sleep', ['300'], { stdio: 'ignore' });
    child.unref();
    process.on('exit', () => child.kill());
  });
  leaks('namespace', () => {
    const ids = [{ container: 0, host: 1, size: 1 }];
    kept.push(createUserNamespace({ uid: ids, gid: ids }));
  });
  leaks('mount', () => mountCommand('-t', 'tmpfs', 'leaked', temporaryDirectory().path));
  leaks('place', () => {
    using place = mountPlace();
    writeFiles(place.path, { 'left/': '' });
    mountCommand('-t', 'tmpfs', 'left', place.at('left'));
  });
  leaks('loop', () => {
    const image = temporaryDirectory().at('image');
    writeFileSync(image, '');
    truncateSync(image, 1 << 20);
    const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    process.on('exit', () => execFileSync('losetup', ['--detach', device]));
  });
  it('passes', () => undefined);
});

const kept: Fd[] = [];

describe('a file that comes after it', () => {
  it('is not blamed', () => undefined);
});

if (leak.includes('outside')) it('leaks outside of any describe()', () => void openSync('/etc/group', 'r'));
