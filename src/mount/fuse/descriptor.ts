// A FUSE mount that is made here rather than by its helper. The helper gets the open /dev/fuse, by the mount point
// `/dev/fd/N` that libfuse 3.3 and later understand, and needs no privilege for the rest: it can be an ordinary user.
//
//   open(/dev/fuse); fsopen(fuse), fd=; fsmount      the connection; the kernel's first request waits in it
//   the helper is started with it, ours is closed    a spare one would have the dead helper's callers hang
//   it answers; move_mount                           so the mount is seen once, complete, and never dead
//
// Options of libfuse that are in truth the kernel's go to both: the helper does not mount, but some look at them. Everybody
// may reach the mount (`allow_other`): else its user alone could, and not even root see whether it answers.
import { openSync } from 'node:fs';
import { MOUNT_ATTR, O } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { fsconfig, fsmount, fsopen } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { keyAndValue } from '../options.ts';
import type { Helper } from './command.ts';
import type { ProgramUser } from './program.ts';

/** A connection without a server, and its mount, which is attached nowhere. Both are closed with it. */
export interface Connection extends Disposable {
  readonly device: Fd;
  readonly mount: Fd;
}

const A = MOUNT_ATTR;
const ATTRIBUTES: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  ro: [A.MOUNT_ATTR_RDONLY, 0],
  rw: [0, A.MOUNT_ATTR_RDONLY],
  nosuid: [A.MOUNT_ATTR_NOSUID, 0],
  suid: [0, A.MOUNT_ATTR_NOSUID],
  nodev: [A.MOUNT_ATTR_NODEV, 0],
  dev: [0, A.MOUNT_ATTR_NODEV],
  noexec: [A.MOUNT_ATTR_NOEXEC, 0],
  exec: [0, A.MOUNT_ATTR_NOEXEC],
  noatime: [A.MOUNT_ATTR_NOATIME, 0],
};
/** As libfuse has it. */
const ALWAYS = A.MOUNT_ATTR_NOSUID | A.MOUNT_ATTR_NODEV;

/** Of the superblock, without a value. */
const FLAGS: ReadonlySet<string> = new Set(['ro', 'sync', 'dirsync', 'default_permissions']);

/** @throws MountError (kernel-unsupported), SyscallError */
export function openConnection({ name, options }: Helper, { uid, gid }: ProgramUser): Connection {
  using undo = new DisposableStack();
  const device = undo.use(new Fd(openSync('/dev/fuse', O.O_RDWR | O.O_CLOEXEC)));
  using context = openContext(name);
  const given = options.map((option) => keyAndValue(unescaped(option)));
  const last = (key: string) => given.findLast(([name]) => name === key)?.[1];
  const strings = {
    source: last('fsname') ?? name,
    subtype: last('subtype') ?? name,
    fd: String(device.number),
    rootmode: '40000',
    user_id: String(uid),
    group_id: String(gid),
    max_read: last('max_read'),
  };
  for (const [key, value] of Object.entries(strings)) {
    if (value !== undefined) fsconfig(context, { by: 'string', key, value });
  }
  for (const [key] of given) if (FLAGS.has(key)) fsconfig(context, { by: 'flag', key });
  fsconfig(context, { by: 'flag', key: 'allow_other' });
  fsconfig(context, { by: 'create' });
  let attributes = ALWAYS;
  for (const [key] of given) {
    const [set, clear] = (Object.hasOwn(ATTRIBUTES, key) && ATTRIBUTES[key]) || [0, 0];
    attributes = (attributes & ~clear) | set;
  }
  const mount = undo.use(fsmount(context, 1, attributes));
  const owned = undo.move();
  return { device, mount, [Symbol.dispose]: () => owned.dispose() };
}

function openContext(name: string): Fd {
  try {
    return fsopen('fuse', 1);
  } catch (error) {
    if (!hasErrno(error, 'ENOSYS')) throw error;
    const message = `the helper ${name} cannot run as an ordinary user here: that takes fsopen(2), Linux 5.2`;
    throw new MountError({ reason: 'kernel-unsupported', message, rolledBack: true }, { cause: error });
  }
}

/** What escapeOption() did for fuse_opt_parse(3) is undone for the kernel. */
const unescaped = (option: string): string => option.replace(/\\(.)/gs, '$1');
