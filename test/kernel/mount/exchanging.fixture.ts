// Exchanges what sources are called, over and over, for sources-attack.test.ts: `node exchanging.fixture.ts DIRECTORY`.
//
//   DIRECTORY/link    a symbolic link: to `dir`, to ../outside/dir, and to the latter from the root on
//   DIRECTORY/w       the directory `w`, and a symbolic link to ../outside/w
//   DIRECTORY/image   the file `.image`, and a symbolic link to ../outside/image
import { linkSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

const [, , root = ''] = process.argv;
const at = (name: string) => join(root, name);

/** In place of what has the name, at one stroke. */
function put(name: string, make: (path: string) => void): void {
  make(at('.new'));
  renameSync(at('.new'), at(name));
}

process.stdout.write('begun\n');
for (;;) {
  put('link', (path) => symlinkSync('../outside/dir', path));
  put('image', (path) => symlinkSync('../outside/image', path));
  put('link', (path) => symlinkSync('dir', path));
  renameSync(at('w'), at('.w'));
  symlinkSync('../outside/w', at('w'));
  put('link', (path) => symlinkSync(join(root, '../outside/dir'), path));
  unlinkSync(at('w'));
  renameSync(at('.w'), at('w'));
  put('image', (path) => linkSync(at('.image'), path));
  put('link', (path) => symlinkSync('dir', path));
}
