// The connection between the kernel and a FUSE server. To abort it fails every request that waits for an answer and
// all that will come (ENOTCONN), whatever the server is doing: the only way to free those who wait for a server that
// does not answer (Documentation/filesystems/fuse.rst, "Aborting a filesystem connection").
import { writeFileSync, writeSync } from 'node:fs';
import { O, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { fsconfig, fsmount, fsopen, openat2, statx } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import type { MountInfo } from '../mountinfo.ts';
import type { Target } from '../target.ts';

/**
 * Aborts the connection behind the FUSE mount at a place, and so behind every other mount of the same filesystem. No error
 * when it is not there any more, or cannot be reached: MNT_FORCE does the same as the mount is taken away (umount2(2)), but
 * to whatever is mounted there by then.
 *
 * A connection is known by a number, which the next filesystem gets as soon as this one is gone. So the mount is held.
 */
export function abortConnection(at: Target, { device }: Pick<MountInfo, 'device'>): void {
  try {
    using held = at.open();
    const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
    const { deviceMajor, deviceMinor } = statx(held, '', flags, STATX_MASK.STATX_BASIC_STATS);
    if (`${deviceMajor}:${deviceMinor}` === device) abortByNumber(connectionName(device));
  } catch (error) {
    if (!(error instanceof MountError) || error.reason !== 'bad-target') throw error;
  }
}

function abortByNumber(name: string): void {
  try {
    abortThroughOwnMount(name);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return;
    if (!hasErrno(error, 'ENOSYS', 'EPERM', 'ENODEV')) throw error;
    abortThroughSys(name);
  }
}

/** The kernel's `dev_t` in decimal: 12 bits of major and 20 of minor, the major 0 but for fuseblk. */
export function connectionName(device: string): string {
  const [major = 0, minor = 0] = device.split(':').map(Number);
  return String(major * 2 ** 20 + minor);
}

/** A mount of fusectl that nobody else sees: /sys/fs/fuse/connections is often empty, in containers above all. */
function abortThroughOwnMount(name: string): void {
  using context = fsopen('fusectl', 1);
  fsconfig(context, { by: 'create' });
  using mount = fsmount(context, 1, 0);
  const how = { flags: O.O_WRONLY | O.O_CLOEXEC, mode: 0, resolve: 0 };
  using abort = openat2(mount, `${name}/abort`, how);
  writeSync(abort.number, '1');
}

function abortThroughSys(name: string): void {
  try {
    writeFileSync(`/sys/fs/fuse/connections/${name}/abort`, '1');
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'EACCES', 'EROFS')) throw error;
  }
}
