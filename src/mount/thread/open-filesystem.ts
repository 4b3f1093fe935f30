// A filesystem mounted by mount(2) in the private namespace, for who works on it by descriptor: it is detached at once
// and lives as long as its root is open. The namespace has no /dev, so the device gets a node of its own there.
import { AT_FDCWD, O, S_IF, UMOUNT } from '../../sys/constants.ts';
import { deviceNumber } from '../../sys/loop-structs.ts';
import { AT_REMOVEDIR, mkdirat, mknodat, mount, openat, umount2, unlinkat } from '../../sys/syscalls.ts';
import type { Jobs } from './jobs.ts';

export function openFilesystem({ major, minor, type }: Jobs['openFilesystem']['args']): number {
  using undo = new DisposableStack();
  mknodat(AT_FDCWD, 'device', S_IF.S_IFBLK | 0o600, deviceNumber(major, minor));
  undo.defer(() => unlinkat(AT_FDCWD, 'device', 0));
  mkdirat(AT_FDCWD, 'root', 0o700);
  undo.defer(() => unlinkat(AT_FDCWD, 'root', AT_REMOVEDIR));
  mount('device', 'root', type, 0, '');
  undo.defer(() => umount2('root', UMOUNT.MNT_DETACH));
  return openat(AT_FDCWD, 'root', O.O_DIRECTORY).release();
}
