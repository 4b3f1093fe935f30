// What every run of mocha has for itself, so that runs side by side do not fail each other:
//
//   mount namespace       one that is copied while a test has an image mounted keeps that mount, and so the image's loop
//                         device, for as long as the copy lives, and an unmount says so (root only)
//   temporary directory   what a killed process leaves in it, or the engine makes in it, is nobody else's leak
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { CLONE, MS, UMOUNT } from '../../src/sys/constants.ts';
import { mount, umount2, unshare } from '../../src/sys/syscalls.ts';
import { mountTargets, RUN_PREFIX } from './leaks.ts';
import { isOnHost } from './on-host.ts';

/** Set in a run that is isolated, and in what it starts: to the process that has to remove the directory. */
const VARIABLE = 'TEST_RUN';

/**
 * Begins this program anew, isolated. To be called before anything else is done: other threads of this process stay in
 * the namespace that they are in, and only a program that begins has none.
 */
export function isolate(): void {
  if (process.env[VARIABLE] !== undefined || isOnHost()) return;
  const directory = mkdtempSync(join(tmpdir(), RUN_PREFIX));
  // Also for who is nobody, as /tmp is.
  chmodSync(directory, 0o1777);
  if (process.getuid?.() === 0) enterOwnNamespace();
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, ...compileCache(), TMPDIR: directory, [VARIABLE]: String(process.pid) };
  process.execve?.(process.execPath, args, env);
}

/**
 * Compiled code is kept from run to run, or the many short programs would spend most of their time on that; not where
 * coverage is measured, which it would blur.
 */
function compileCache(): NodeJS.ProcessEnv {
  if (process.env.NODE_V8_COVERAGE) return {};
  return { NODE_COMPILE_CACHE: join(import.meta.dirname, '../../node_modules/.cache/compile') };
}

function enterOwnNamespace(): void {
  const others = mountTargets().filter(({ target }) => target.includes(`/${RUN_PREFIX}`));
  unshare(CLONE.CLONE_NEWNS);
  mount(null, '/', null, MS.MS_REC | MS.MS_PRIVATE, null);
  // Of runs that are not isolated, which may need to let go of them.
  for (const { target } of others.toReversed()) umount2(target, UMOUNT.MNT_DETACH);
}

/** As this process found it when it began, whatever its tests do to the environment. */
const ownDirectory = process.env[VARIABLE] === String(process.pid) ? process.env.TMPDIR : undefined;

/** To be called last. What is mounted in it goes with the namespace, and nothing is removed through it before. */
export function removeOwnDirectory(): void {
  if (ownDirectory === undefined || !basename(ownDirectory).startsWith(RUN_PREFIX)) return;
  if (mountTargets().some(({ target }) => target.startsWith(`${ownDirectory}/`))) return;
  rmSync(ownDirectory, { recursive: true, force: true });
}
