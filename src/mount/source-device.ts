// Disks among the sources, and what a filesystem is told of its source.
//
// A node of a block device is not the device: whoever may make files in a source directory may be able to make one there
// (mknod(2) is an ordinary container's right, only the use of it is not), of the disk that the node's system is on. So
// where sources have roots, a disk is only known by its node in /dev, whatever links or binds lead to that.
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, S_IF, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import type { Statx } from '../sys/structs.ts';
import { statx } from '../sys/syscalls.ts';
import { invalidMount, MountError } from './errors.ts';
import { reachBy, type Sources } from './source.ts';

/**
 * The `source` of a filesystem of this type, for fsconfig(2) and mount(2): a name as it is, a file by its descriptor, a
 * disk by its node in /dev, which is what the mount table shows then.
 */
export function filesystemSource(type: string, source: string, sources: Sources): string {
  const held = isName(type, source) ? undefined : sources.hold(source);
  return held === undefined ? source : (nodeOfDisk(held, source) ?? reachBy(held));
}

/**
 * Where a disk is in /dev; undefined for a file or directory. Anything else is refused: whoever opens a FIFO waits.
 * @throws MountError (invalid-mount, source-outside-roots)
 */
export function nodeOfDisk(held: Fd, source: string): string | undefined {
  switch (statOf(held).mode & S_IF.S_IFMT) {
    case S_IF.S_IFBLK:
      return diskNode(held, source);
    case S_IF.S_IFREG:
    case S_IF.S_IFDIR:
      return undefined;
    default:
      throw invalidMount(`source ${source}: is no file, directory or disk, of which a filesystem is made`);
  }
}

/** The node in /dev of a disk that was found among the sources. @throws MountError (source-outside-roots) */
export function diskNode(disk: Fd, source: string): string {
  const found = statOf(disk);
  const fail = (why: string, cause?: unknown) => {
    const message = `source ${source}: ${why}`;
    return new MountError({ reason: 'source-outside-roots', message, rolledBack: true }, { cause });
  };
  try {
    const device = readlinkSync(`/sys/dev/block/${found.specialMajor}:${found.specialMinor}`);
    // As the kernel makes the node: a `!` stands for a slash (cciss!c0d0).
    const node = `/dev/${path.basename(device).replaceAll('!', '/')}`;
    if (isSame(found, statx(AT_FDCWD, node, 0, STATX_MASK.STATX_BASIC_STATS))) return node;
    throw fail(`is a device node outside of /dev, which anybody may have made; name the disk by ${node}`);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
    throw fail(
      'is a device node without a disk in /dev behind it; name the disk by its place in /dev',
      error,
    );
  }
}

const isSame = (a: Statx, b: Statx): boolean =>
  a.inode === b.inode && a.deviceMajor === b.deviceMajor && a.deviceMinor === b.deviceMinor;

const statOf = (fd: Fd): Statx =>
  statx(fd, '', STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC, STATX_MASK.STATX_BASIC_STATS);

/** Whose source is never a path, though it may look like one: a label, or `//server/share`. */
const NEVER_PATH: ReadonlySet<string> = new Set(['overlay', 'tmpfs', 'ramfs', 'cifs', 'smb3']);

/** The kernel takes no path from it: `server:/export`, `tag`, `none`. */
function isName(type: string, source: string): boolean {
  if (NEVER_PATH.has(type)) return true;
  if (source.startsWith('/')) return false;
  const [first = ''] = source.split('/');
  // To a filesystem on a disk, a name would be a path from our working directory: none where that has nothing so called.
  return !takesDisk(type) || !existsSync(first);
}

/** As far as this kernel knows the type: `nodev` stands before the others (proc(5)). */
const takesDisk = (type: string): boolean =>
  !readFileSync('/proc/filesystems', 'utf8').split('\n').includes(`nodev\t${type}`);
