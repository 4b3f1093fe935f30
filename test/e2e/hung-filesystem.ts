// A filesystem whose server has stopped answering: FUSE, where we are the server, and never read a request.
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { unmountCommand } from '../support/fixtures.ts';

export interface HungFilesystem extends Disposable {
  readonly path: string;
}

/** Whatever goes beyond its root directory waits; all that waits fails when it is disposed of, once or more. */
export function hungFilesystem(path: string): HungFilesystem {
  mkdirSync(path, { recursive: true });
  const device = openSync('/dev/fuse', 'r+');
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
  const { status, stderr } = spawnSync('mount', ['-i', '-t', 'fuse', '-o', options, 'hung', path], {
    stdio: ['ignore', 'ignore', 'pipe', device],
    encoding: 'utf8',
  });
  if (status !== 0) {
    closeSync(device);
    throw new Error(`mount -t fuse: ${stderr}`);
  }
  const held = new DisposableStack();
  held.defer(() => unmountCommand('--lazy', path));
  held.adopt(device, closeSync);
  return { path, [Symbol.dispose]: () => held.dispose() };
}
