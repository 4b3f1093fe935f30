// One upperdir belongs to one overlay. The kernel takes it for a second one with no more than a warning in its log, and
// both corrupt it (fs/overlayfs/super.c, ovl_setup_upper).
//
// A mount shows its upperdir in its options: as a path, or, where it was given to the kernel under a short name
// (thread/assemble.ts, temporary-layers.ts), by that, which says the directory's device and inode. Mounts of other mount
// namespaces are out of sight.
import { AT_FDCWD, LOCK, O, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import type { Statx } from '../../sys/structs.ts';
import { flock, openat, statx } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { unescapePath } from '../layers.ts';
import { type MountInfo, readMountinfo } from '../mountinfo.ts';
import { keyAndValue } from '../options.ts';
import type { Rows, Slot, Workplace } from './row.ts';

export interface ClaimSteps {
  /** The upperdir, locked against others that are about to claim it, for as long as the slot is open. */
  readonly claimUpper: { readonly upperdir: string; readonly as: Slot };
}

export const claimSteps: Rows<ClaimSteps> = {
  claimUpper: {
    describe: ({ upperdir, as }) => `${as} = lock of ${upperdir}, which no other overlay may have`,
    apply({ upperdir, as }, at) {
      const fd = openat(AT_FDCWD, at.sources.reach(upperdir), O.O_DIRECTORY);
      at.put(as, fd);
      lock(fd, upperdir);
      const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
      const other = overlayWith(statx(fd, '', flags, STATX_MASK.STATX_BASIC_STATS));
      if (other) throw inUse(upperdir, `the overlay at ${other.target} has it`);
    },
    explain: (errno, { upperdir }) =>
      errno === 'ENOENT' || errno === 'ENOTDIR'
        ? { reason: 'source-not-found', meaning: `the directory ${upperdir} does not exist` }
        : undefined,
  },
};

/** The overlay that has this upperdir. */
export function overlayWith(upperdir: Statx): MountInfo | undefined {
  const mine = upperName(upperdir);
  return readMountinfo().find(
    ({ type, superblockOptions }) =>
      type === 'overlay' && superblockOptions.some((option) => namesOfOption(option).includes(mine)),
  );
}

/** Names a directory by what it is, for an option that mountinfo shows and has no room for a path. */
export function upperName({ deviceMajor, deviceMinor, inode }: Statx): string {
  return `upper-${deviceMajor}.${deviceMinor}.${inode}`;
}

/** The same for one that is found among the sources. */
export function upperNameOf(upperdir: string, { sources }: Workplace): string {
  const flags = STATX.AT_STATX_DONT_SYNC;
  return upperName(statx(AT_FDCWD, sources.reach(upperdir), flags, STATX_MASK.STATX_BASIC_STATS));
}

/** What the upperdir may be called that an option of an overlay shows; none where that cannot be told. */
function namesOfOption(option: string): readonly string[] {
  const [key, value = ''] = keyAndValue(option);
  if (key !== 'upperdir') return [];
  if (!value.startsWith('/')) return value.split('/').slice(0, 1);
  // As mount(2) was given it, with escapes, or as fsconfig(2) was, where a backslash is one: nothing tells which.
  const paths = value.includes('\\') ? [value, unescapePath(value)] : [value];
  return paths.flatMap(nameOfPath);
}

function nameOfPath(path: string): readonly string[] {
  try {
    return [upperName(statx(AT_FDCWD, path, STATX.AT_STATX_DONT_SYNC, STATX_MASK.STATX_BASIC_STATS))];
  } catch {
    return []; // Moved or removed since: it cannot be the one that is asked for.
  }
}

function lock(fd: Fd, upperdir: string): void {
  try {
    flock(fd, LOCK.LOCK_EX | LOCK.LOCK_NB);
  } catch (error) {
    if (hasErrno(error, 'EAGAIN'))
      throw inUse(upperdir, 'another overlay is being made of it at this moment');
    throw error;
  }
}

function inUse(upperdir: string, who: string): MountError {
  return new MountError({
    reason: 'upperdir-in-use',
    message: `upperdir ${upperdir}: ${who}; two overlays on one upperdir corrupt it, so give each its own`,
    rolledBack: true,
  });
}
