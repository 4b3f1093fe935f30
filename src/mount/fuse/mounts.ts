// Which mounts are at a place, and which of them are FUSE: from mountinfo, which no server is asked for.
import { readlinkSync } from 'node:fs';
import path from 'node:path';
import { type MountInfo, readMountinfo } from '../mountinfo.ts';
import type { Target } from '../target.ts';

/** `fuse`, `fuse.NAME`, `fuseblk` and `fuseblk.NAME`: the part after the point is a name, not a type of its own. */
export function isFuse({ type }: Pick<MountInfo, 'type'>): boolean {
  return /^fuse(blk)?(\.|$)/.test(type);
}

/** Where the target is, as mountinfo writes it. */
export function shownPath(target: Target): string {
  const { dir, base } = path.parse(target.pathByParent);
  return path.join(readlinkSync(dir), base);
}

/** Every mount at exactly this place, in no order that means anything. */
export function mountsAt(target: Target): MountInfo[] {
  const shown = shownPath(target);
  return readMountinfo().filter((mount) => mount.target === shown);
}

/** Of the mounts at one place, the one that is seen: no other stands on it. */
export function topOf(mounts: readonly MountInfo[]): MountInfo | undefined {
  return mounts.find(({ id }) => !mounts.some(({ parentId }) => parentId === id));
}
