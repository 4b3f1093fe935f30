// Owner and mode of the root directory of a filesystem that has just been made and has no name yet. Programs that
// make filesystems each take them in a way of their own, or not; so it is mounted where nobody can see it, and gone with
// this process, its loop device too.
//
//   fsopen(2), fsmount(2)   a mount that is never attached
//   mount(2)                in the private namespace of a thread (thread/), detached at once
import { fchmodSync, fchownSync, fsyncSync } from 'node:fs';
import { O } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { fsconfig, fsmount, fsopen, openat } from '../../sys/syscalls.ts';
import { invalidMount, MountError } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { bindFreeLoop } from '../loop/bind.ts';
import { reopen } from '../loop/image.ts';
import { loopNumbers, loopPath } from '../loop/nodes.ts';
import { onThread } from '../thread/thread.ts';

export interface RootOwner {
  readonly uid: number;
  readonly gid: number;
  /** With the set-group-id and sticky bits: 0o2775. */
  readonly mode: number;
}

const MOST_ID = 2 ** 32 - 2;
const MODE_BITS = 0o7777;

/**
 * @param of for the message: `of a layer`
 * @throws MountError (invalid-mount)
 */
export function checkOwner({ uid, gid, mode }: RootOwner, of: string): void {
  const check = (name: string, value: number, most: number) => {
    if (Number.isInteger(value) && value >= 0 && value <= most) return;
    throw invalidMount(`${name} ${value} of the root ${of}: must be a whole number from 0 to ${most}`);
  };
  check('uid', uid, MOST_ID);
  check('gid', gid, MOST_ID);
  check('mode', mode, MODE_BITS);
}

/** @throws MountError (invalid-mount, kernel-unsupported) */
export function checkRoot(root: RootOwner, { api, has }: Kernel): void {
  checkOwner(root, 'of an image');
  if (wayOf({ api, has }) !== undefined) return;
  throw new MountError({
    reason: 'kernel-unsupported',
    message:
      'the root of a new image gets its owner in a mount that nobody sees, which needs fsopen(2) (Linux 5.2) or a ' +
      'private mount namespace; leave the owner out, and set it when the image is mounted',
    rolledBack: true,
  });
}

/** How a filesystem is mounted so that nobody sees it: gives its root, and is gone when that is closed. */
type Way = (device: number, type: string) => Fd;

function wayOf({ api, has }: Pick<Kernel, 'api' | 'has'>): Way | undefined {
  if (api !== 'classic' && has('fsopen')) return openDetached;
  return has('private-namespace') ? openPrivately : undefined;
}

function openDetached(device: number, type: string): Fd {
  using context = fsopen(type, 1);
  fsconfig(context, { by: 'string', key: 'source', value: loopPath(device) });
  fsconfig(context, { by: 'create' });
  using mount = fsmount(context, 1, 0);
  return openat(mount, '.', O.O_DIRECTORY);
}

function openPrivately(device: number, type: string): Fd {
  const [major, minor] = loopNumbers(device);
  return new Fd(onThread('private', 'openFilesystem', { major, minor, type }));
}

/** @param file the image, which nobody else has: it is not looked for among the loop devices, nor locked */
export function giveRoot(
  file: Fd,
  {
    name,
    type,
    root,
    kernel,
  }: { readonly name: string; readonly type: string; readonly root: RootOwner; readonly kernel: Kernel },
): void {
  using backing = reopen(file, O.O_RDWR);
  const { number, fd } = bindFreeLoop({
    ...{ file: backing, fileName: name, readOnly: false, autoclear: true, blockSize: 0 },
    ...{ offset: 0, sizeLimit: 0, directIo: false, stepwise: false },
  });
  using _device = fd;
  using top = openRoot(wayOf(kernel) ?? openDetached, number, type);
  fchownSync(top.number, root.uid, root.gid);
  // After the owner, whose change takes the set-id bits away.
  fchmodSync(top.number, root.mode);
  fsyncSync(top.number);
}

function openRoot(way: Way, device: number, type: string): Fd {
  try {
    return way(device, type);
  } catch (error) {
    if (!hasErrno(error, 'ENODEV')) throw error;
    const message = `this kernel has no filesystem ${type}; see /proc/filesystems`;
    throw new MountError({ reason: 'kernel-unsupported', message, rolledBack: true }, { cause: error });
  }
}
