// Flags of a mount that stands already: reading them, and changing those that are named.
//
// A user namespace must not clear a flag that a more privileged one has set ("locked", mount_namespaces(7)).
// mount_setattr(2) leaves alone what is not named, so that only a request to clear one is refused. mount(2) sets all
// flags at once; there those that the mount has are given again (steps/classic.ts, remountBind).
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, MOUNT_SETATTR } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { mountSetattr } from '../sys/syscalls.ts';
import { MountError } from './errors.ts';
import type { AttributeChange } from './options.ts';
import { mountIdOf, mountView } from './view.ts';

export interface FlagChange extends AttributeChange {
  /** Of all mounts below, too. */
  readonly recursive: boolean;
}

const A = MOUNT_ATTR;

/** A flag by its names, in mountinfo and as attribute, and the option that clears it. */
const FLAGS: readonly { name: string; attribute: number; clearedBy: string }[] = [
  { name: 'ro', attribute: A.MOUNT_ATTR_RDONLY, clearedBy: 'rw' },
  { name: 'nosuid', attribute: A.MOUNT_ATTR_NOSUID, clearedBy: 'suid' },
  { name: 'nodev', attribute: A.MOUNT_ATTR_NODEV, clearedBy: 'dev' },
  { name: 'noexec', attribute: A.MOUNT_ATTR_NOEXEC, clearedBy: 'exec' },
  { name: 'nodiratime', attribute: A.MOUNT_ATTR_NODIRATIME, clearedBy: 'diratime' },
  { name: 'nosymfollow', attribute: A.MOUNT_ATTR_NOSYMFOLLOW, clearedBy: 'symfollow' },
];

/** The access time modes, which are one field. mountinfo shows strictatime as the absence of the others. */
const ATIMES: readonly { name: string; attribute: number }[] = [
  { name: 'relatime', attribute: 0 },
  { name: 'noatime', attribute: A.MOUNT_ATTR_NOATIME },
  { name: 'strictatime', attribute: A.MOUNT_ATTR_STRICTATIME },
];

/** The attributes that a mount has (MOUNT_ATTR): its own, not those of its filesystem, which is not asked. */
export function flagsOf(mount: Fd): number {
  const view = mountView();
  const found = view.find(mountIdOf(mount, view));
  if (found === undefined) throw new Error(`the mount of ${mount} is not to be seen from here`);
  return flagsNamed(found.info.options);
}

/** Pure. Mount options of mountinfo as attributes. */
export function flagsNamed(options: readonly string[]): number {
  const has = ({ name }: { readonly name: string }) => options.includes(name);
  const atime = ATIMES.find(has)?.attribute ?? A.MOUNT_ATTR_STRICTATIME;
  return FLAGS.filter(has).reduce((all, { attribute }) => all | attribute, atime);
}

/** Pure. What a mount has after the change. */
export const changed = (flags: number, { set, clear }: AttributeChange): number => (flags & ~clear) | set;

/**
 * @throws MountError (not-permitted) when a flag is locked
 * @throws SyscallError
 */
export function changeFlags(mount: Fd, change: FlagChange): void {
  const { set, clear, recursive } = change;
  try {
    const flag = recursive ? MOUNT_SETATTR.AT_RECURSIVE : 0;
    mountSetattr(mount, flag, { set, clear, propagation: 0, usernsFd: 0 });
  } catch (error) {
    throw hasErrno(error, 'EPERM') ? lockedFlags(mount, change, error) : error;
  }
}

function lockedFlags(mount: Fd, change: FlagChange, cause: unknown): MountError {
  return new MountError(
    {
      reason: 'not-permitted',
      message: `remount: ${lockedMeaning(refusedOptions(flagsOf(mount), change))}`,
      rolledBack: true,
      errno: 'EPERM',
    },
    { cause },
  );
}

/** What EPERM means for a change of flags. */
export function lockedMeaning(options: readonly string[]): string {
  if (options.length === 0) return 'its flags may not be changed from this user namespace';
  return (
    `${options.join(',')} would change flags that a more privileged user namespace has set, which locks them ` +
    '(mount_namespaces(7)); leave out what would change them'
  );
}

/**
 * Pure. The options behind a change that take something away from these flags, or may do so where the flags are not
 * known.
 */
export function refusedOptions(flags: number | undefined, { set, clear }: AttributeChange): string[] {
  const has = (attribute: number) => flags === undefined || (flags & attribute) !== 0;
  const cleared = FLAGS.filter(({ attribute }) => attribute & clear & ~set && has(attribute));
  const atime = ATIMES.filter(
    ({ attribute }) =>
      (clear & MOUNT_ATTR__ATIME) !== 0 &&
      attribute === (set & MOUNT_ATTR__ATIME) &&
      (flags === undefined || attribute !== (flags & MOUNT_ATTR__ATIME)),
  );
  // How access times are kept is locked as a whole.
  const nodiratime = A.MOUNT_ATTR_NODIRATIME & set & ~(flags ?? 0) ? ['nodiratime'] : [];
  return [...cleared.map(({ clearedBy }) => clearedBy), ...atime.map(({ name }) => name), ...nodiratime];
}
