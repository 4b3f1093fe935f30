// A mount namespace of its own for every run of mocha. One that is copied while a test has an image mounted keeps that
// mount, and so the image's loop device, for as long as the copy lives, and an unmount says so: tests that run at the
// same time, each making namespaces, would fail each other. Nor do they see, or wait for, each other's mounts.
import { CLONE, MS, UMOUNT } from '../../src/sys/constants.ts';
import { mount, umount2, unshare } from '../../src/sys/syscalls.ts';
import { mountTargets, TEMPORARY_PREFIX } from './leaks.ts';

/** Says that this process, or one that started it, has been here; or, with `host`, that it is to stay (on-host.ts). */
const VARIABLE = 'TEST_MOUNT_NAMESPACE';

/**
 * Begins this program anew in a mount namespace of its own. To be called before anything else is done: other threads
 * of this process stay in the namespace that they are in, and only a program that begins has none.
 */
export function enterOwnNamespace(): void {
  if (process.getuid?.() !== 0 || process.env[VARIABLE] !== undefined) return;
  unshare(CLONE.CLONE_NEWNS);
  mount(null, '/', null, MS.MS_REC | MS.MS_PRIVATE, null);
  // What runs already, in no namespace of its own, may need to let go of its mounts.
  const others = mountTargets().filter(({ target }) => target.includes(`/${TEMPORARY_PREFIX}`));
  for (const { target } of others.toReversed()) umount2(target, UMOUNT.MNT_DETACH);
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve?.(process.execPath, args, { ...process.env, [VARIABLE]: 'own' });
}
