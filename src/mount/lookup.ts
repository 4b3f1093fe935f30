// Which mount is at a path.
import { readlinkSync } from 'node:fs';
import path from 'node:path';
import { STATX_ATTR_MOUNT_ROOT, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import { type MountInfo, readMountinfo } from './mountinfo.ts';
import { openTarget, type TargetSpec } from './target.ts';

/**
 * The top mount at exactly this path; undefined when the path is not a mount point, or is not there.
 * May hang with the server of a filesystem above it: run it where that does no harm (engine.ts).
 */
export function lookup(spec: TargetSpec): MountInfo | undefined {
  try {
    using target = openTarget(spec);
    try {
      const { attributes, mountId } = target.stat(STATX_MASK.STATX_MNT_ID);
      if ((attributes & STATX_ATTR_MOUNT_ROOT) === 0n) return undefined;
      return readMountinfo().find(({ id }) => BigInt(id) === mountId);
    } catch (error) {
      // The root of a dead FUSE or network filesystem cannot be asked, but mountinfo knows it.
      if (!hasErrno(error, 'ENOTCONN', 'EIO', 'ESTALE', 'EACCES')) throw error;
      const shown = realPath(target.pathByParent);
      return readMountinfo().findLast((mount) => mount.target === shown);
    }
  } catch (error) {
    if (hasErrno(causeOf(error), 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

const causeOf = (error: unknown): unknown =>
  error instanceof Error && error.cause !== undefined ? error.cause : error;

/** `/proc/self/fd/N/name` as mountinfo writes it. */
function realPath(pathByParent: string): string {
  return path.join(readlinkSync(path.dirname(pathByParent)), path.basename(pathByParent));
}
