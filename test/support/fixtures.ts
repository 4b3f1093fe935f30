// What tests stand on. Everything here is disposable (`using directory = temporaryDirectory()`), and made and
// unmade by nothing that is itself under test.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { kernelIsBefore } from './kernel-version.ts';
import { isOurs, mountTargets, TEMPORARY_PREFIX } from './leaks.ts';
import { scaled } from './time-scale.ts';

export interface TemporaryDirectory extends Disposable {
  readonly path: string;
  /** A path below it. */
  at(...names: string[]): string;
}

/**
 * A new directory. It is removed with all that is in it, but not through a mount: then nothing is removed, and
 * the end of the block throws.
 */
export function temporaryDirectory(): TemporaryDirectory {
  const name = `${TEMPORARY_PREFIX}${process.pid}-`;
  const path = realpathSync(mkdtempSync(join(tmpdir(), name)));
  chmodSync(path, 0o755);
  return {
    path,
    at: (...names) => join(path, ...names),
    [Symbol.dispose]: () => {
      expectNoMounts(path);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

/**
 * Of mountPlace(). Before Linux 6.3 a tmpfs cannot be ID-mapped; there temporary files are on ext4 (old-kernels/disks.ts).
 */
export const PLACE_TYPE = kernelIsBefore('6.3') ? 'ext4' : 'tmpfs';

/**
 * A new directory with a private tmpfs on it, so that nothing mounted below spreads, and its files can be
 * ID-mapped; or a private mount of the directory itself (PLACE_TYPE). Needs root. What a test leaves mounted below is taken
 * away for the next one's sake, and reported by hooks.ts; not thrown here, where it would stand before the failure that led
 * to it.
 */
export function mountPlace(): TemporaryDirectory {
  const directory = temporaryDirectory();
  if (PLACE_TYPE !== 'tmpfs') mountCommand('--bind', directory.path, directory.path);
  else mountCommand('-t', 'tmpfs', '-o', 'mode=755', 'test', directory.path);
  mountCommand('--make-private', directory.path);
  return {
    ...directory,
    [Symbol.dispose]: () => {
      leftMounted.push(...mountsBelow(directory.path));
      unmountCommand('--lazy', '--recursive', directory.path);
      directory[Symbol.dispose]();
    },
  };
}

/** What tests of mountPlace() have left mounted, since hooks.ts last asked. */
export const leftMounted: string[] = [];

/** mount(8), quietly: for what a test needs to find mounted. */
export function mountCommand(...args: string[]): void {
  execFileSync('mount', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Makes a directory a shared mount, as kubelet's is on a node. */
export function sharedMount(path: string): Disposable {
  mountCommand('--bind', path, path);
  mountCommand('--make-shared', path);
  return { [Symbol.dispose]: () => unmountCommand(path) };
}

export function unmountCommand(...args: string[]): void {
  execFileSync('umount', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function mountsBelow(path: string): string[] {
  return mountTargets()
    .map(({ target }) => target)
    .filter((target) => target.startsWith(`${path}/`));
}

function expectNoMounts(path: string): void {
  const mounts = mountTargets()
    .map(({ target }) => target)
    .filter((target) => target === path || target.startsWith(`${path}/`));
  if (mounts.length > 0) throw new Error(`not removing ${path}: still mounted: ${mounts.join(', ')}`);
}

/** A file of a data set: its content, or more. */
export type FileSpec =
  | string
  | { readonly content?: string; readonly uid?: number; readonly gid?: number; readonly mode?: number };

/**
 * Writes files by their paths below `directory`, with the directories on the way; a path that ends with a slash
 * is a directory.
 */
export function writeFiles(directory: string, files: Readonly<Record<string, FileSpec>>): void {
  for (const [name, given] of Object.entries(files)) {
    const spec = typeof given === 'string' ? { content: given } : given;
    const path = join(directory, name);
    if (name.endsWith('/')) mkdirSync(path, { recursive: true });
    else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, spec.content ?? '');
    }
    if (spec.mode !== undefined) chmodSync(path, spec.mode);
    if (spec.uid !== undefined || spec.gid !== undefined) lchownSync(path, spec.uid ?? 0, spec.gid ?? 0);
  }
}

/** `uid:gid` as seen at this path. */
export function ownerOf(path: string): string {
  const { uid, gid } = lstatSync(path);
  return `${uid}:${gid}`;
}

/** After the last test: what a failed test of this run left mounted or lying about. Reported before. */
export function removeLeftovers(): void {
  for (const { target } of mountTargets().toReversed()) {
    if (isOurs(target)) unmountCommand('--lazy', target);
  }
  for (const name of readdirSync(tmpdir())) {
    const path = join(tmpdir(), name);
    if (isOurs(path)) rmSync(path, { recursive: true, force: true });
  }
}

/** A FUSE filesystem that can be made to hang, and to die. */
export interface FuseMount extends AsyncDisposable {
  readonly path: string;
  /** From now on whoever asks it waits, until it is disposed; it has no request in hand that outlives SIGKILL. */
  hang(): Promise<void>;
  /** From now on whoever asks it is told ENOTCONN. */
  die(): Promise<void>;
}

/** bindfs(1): shows `source` at `target`, an existing directory. */
export async function fuseMount(source: string, target: string): Promise<FuseMount> {
  const server = spawn('bindfs', ['-f', source, target], { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(server, 'exit');
  const mounted = () => mountTargets().some((mount) => mount.target === target);
  await eventually('bindfs mounts', mounted);
  return {
    path: target,
    hang: async () => {
      server.kill('SIGSTOP');
      await eventually('all threads of bindfs are stopped', () => isStopped(server.pid));
    },
    die: async () => {
      server.kill('SIGKILL');
      await ended;
    },
    [Symbol.asyncDispose]: async () => {
      server.kill('SIGKILL');
      await ended;
      if (mounted()) unmountCommand('--lazy', target);
    },
  };
}

/** A signal is sent at once, and acted upon thread by thread. */
export function isStopped(pid: number | undefined): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    try {
      return /\) T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'));
    } catch {
      return true; // One that has ended meanwhile.
    }
  });
}

/** For a machine that is ten times as slow as usual, and not as long as a test may take. */
const PATIENCE_MS = 60_000;

/** Waits until it is so. */
export async function eventually(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + scaled(PATIENCE_MS);
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(10);
  }
}
