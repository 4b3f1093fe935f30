// `unmount`: takes away the mount at a target.
import path from 'node:path';
import { localEngine } from '../mount/engine.ts';

export interface UnmountFlags {
  readonly all?: boolean;
  readonly lazy?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** A target that is a symbolic link is not followed, as umount(2) with UMOUNT_NOFOLLOW. */
export async function unmountCommand(target: string, flags: UnmountFlags): Promise<void> {
  await using engine = localEngine();
  const place = { path: path.resolve(target) };
  const unmounted = await engine.unmount({
    target: place,
    all: flags.all === true,
    lazy: flags.lazy === true,
    force: flags.force === true,
  });
  if (flags.json) console.log(JSON.stringify({ unmounted }));
  if (unmounted === 0) throw new Error(`${target} is not a mount point`);
}
