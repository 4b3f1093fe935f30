// Owner and mode of the root directory of a filesystem that has just been made and has no name yet. Programs that
// make filesystems each take them in a way of their own, or not; so it is mounted, by descriptors alone: the mount is
// never attached, nobody can see it, and it is gone with this process, its loop device too.
import { fchmodSync, fchownSync, fsyncSync } from 'node:fs';
import { O } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { fsconfig, fsmount, fsopen, openat } from '../../sys/syscalls.ts';
import { invalidMount, MountError } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { bindFreeLoop } from '../loop/bind.ts';
import { reopen } from '../loop/image.ts';
import { loopPath } from '../loop/nodes.ts';

export interface RootOwner {
  readonly uid: number;
  readonly gid: number;
  /** With the set-group-id and sticky bits: 0o2775. */
  readonly mode: number;
}

const MOST_ID = 2 ** 32 - 2;
const MODE_BITS = 0o7777;

/** @throws MountError (invalid-mount, kernel-unsupported) */
export function checkRoot({ uid, gid, mode }: RootOwner, { api, has }: Kernel): void {
  const check = (name: string, value: number, most: number) => {
    if (Number.isInteger(value) && value >= 0 && value <= most) return;
    throw invalidMount(`${name} ${value} of an image's root: must be a whole number from 0 to ${most}`);
  };
  check('uid', uid, MOST_ID);
  check('gid', gid, MOST_ID);
  check('mode', mode, MODE_BITS);
  if (api !== 'classic' && has('fsopen')) return;
  throw new MountError({
    reason: 'kernel-unsupported',
    message:
      'the root of a new image gets its owner in a mount that nobody sees, which needs fsopen(2) (Linux 5.2); ' +
      'leave the owner out, and set it when the image is mounted',
    rolledBack: true,
  });
}

/** @param file the image, which nobody else has: it is not looked for among the loop devices, nor locked */
export function giveRoot(
  file: Fd,
  { name, type, root }: { readonly name: string; readonly type: string; readonly root: RootOwner },
): void {
  using backing = reopen(file, O.O_RDWR);
  const { number, fd } = bindFreeLoop({
    ...{ file: backing, fileName: name, readOnly: false, autoclear: true, blockSize: 0 },
    ...{ offset: 0, sizeLimit: 0, directIo: false, stepwise: false },
  });
  using _device = fd;
  using context = fsopen(type, 1);
  fsconfig(context, { by: 'string', key: 'source', value: loopPath(number) });
  fsconfig(context, { by: 'create' });
  using mount = fsmount(context, 1, 0);
  using top = openat(mount, '.', O.O_DIRECTORY);
  fchownSync(top.number, root.uid, root.gid);
  // After the owner, whose change takes the set-id bits away.
  fchmodSync(top.number, root.mode);
  fsyncSync(top.number);
}
