// Taking a FUSE mount away. Its server may be dead, which does no harm, or may not answer, which does: whoever waits
// for it uses the mount, so that it stays busy, and an umount(2) that has something to write back waits with them.
//
//   asked           does
//   nothing         fusermount3 -u, then fusermount -u: both may also take away what an ordinary user mounted, and
//                   both make the call in a process of their own, which can be left behind if it hangs
//   lazy            the same, and where it is in use, MNT_DETACH
//   force           aborts the connection first: everyone who waits is freed, with an error
//
// Then umount2 by the caller (unmount.ts), as for any other mount, whose errno is the last word.
import { realpathSync } from 'node:fs';
import path from 'node:path';
import { MountError } from '../errors.ts';
import { type Shown, shownAt } from '../lookup.ts';
import type { MountInfo } from '../mountinfo.ts';
import type { Target } from '../target.ts';
import { isFuse, mountsAt, topOf } from './mounts.ts';
import { findProgram, run } from './program.ts';
import type { Programs } from './programs.ts';

/** The FUSE mount that is seen at the target. Asks no server. */
export function fuseMountAt(target: Target, { type }: Shown = shownAt(target)): MountInfo | undefined {
  // All others are spared the reading of every mount of the node.
  if (type === undefined || !isFuse({ type })) return undefined;
  const top = topOf(mountsAt(target));
  return top && isFuse(top) ? top : undefined;
}

export interface FusermountOptions {
  /** A later, lazy, way is there: that fusermount hangs is no error. */
  readonly lazy: boolean;
  readonly programs: Programs;
}

/**
 * True when fusermount has taken it away.
 * @throws MountError (timeout) when that hangs: so would an unmount by ourselves
 */
export function askFusermount(
  target: Target,
  mount: MountInfo,
  { lazy, programs }: FusermountOptions,
): boolean {
  const { dir, base } = path.parse(target.pathByParent);
  for (const file of fusermounts(programs)) {
    // From the held parent directory, so that no name on the way to it matters, nor what the target is called.
    const program = { argv: [file, '-u', '--', `./${base}`], directories: programs.directories, cwd: dir };
    const { outcome } = run(program, programs.deadline);
    if (outcome === 'deadline') {
      // Out of sight, and what hangs is the end of the filesystem, for which nobody else waits.
      if (fuseMountAt(target)?.id !== mount.id) return true;
      if (lazy) return false;
      throw stuck(target, path.basename(file));
    }
    if ('status' in outcome && outcome.status === 0) return true;
  }
  return false;
}

/** Each once: where there is only libfuse 3, `fusermount` is a link to `fusermount3`. */
function fusermounts({ directories }: Programs): string[] {
  const found = ['fusermount3', 'fusermount'].flatMap((name) => findProgram(name, directories) ?? []);
  return found.filter((file, i) => i === 0 || realpathSync(file) !== realpathSync(found[0] ?? file));
}

function stuck(target: Target, name: string): MountError {
  return new MountError({
    reason: 'timeout',
    message: `${target.path}: ${name} was not done within the deadline: the server of this FUSE filesystem does not answer; unmount with force to cut it off`,
    rolledBack: false,
  });
}
