// `unmount`: takes away the mount at a target, or all at it and below it.
import path from 'node:path';
import { localEngine } from '../mount/engine.ts';

export interface UnmountFlags {
  readonly all?: boolean;
  readonly recursive?: boolean;
  readonly lazy?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** A target that is a symbolic link is not followed, as umount(2) with UMOUNT_NOFOLLOW. */
export async function unmountCommand(target: string, flags: UnmountFlags): Promise<void> {
  await using engine = localEngine();
  const place = { path: path.resolve(target) };
  const cut = { lazy: flags.lazy === true, force: flags.force === true };
  if (flags.recursive) {
    const targets = await engine.unmountRecursive({ target: place, ...cut });
    if (flags.json) console.log(JSON.stringify({ unmounted: targets.length, targets }));
    if (targets.length === 0) throw new Error(`nothing is mounted at ${target} or below it`);
    return;
  }
  const unmounted = await engine.unmount({ target: place, all: flags.all === true, ...cut });
  if (flags.json) console.log(JSON.stringify({ unmounted }));
  if (unmounted === 0) throw new Error(`${target} is not a mount point`);
}
