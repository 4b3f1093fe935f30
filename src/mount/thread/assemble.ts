// An overlay made inside the private namespace: layers attached under the names 0, 1, 2, ..., so that hundreds fit
// the page that mount(2) takes, and the finished overlay taken out as a detached mount.
//
//   data           way                                   because
//   <= 255 bytes   fsopen, fsconfig(lowerdir), fsmount   the kernel says in words what it refuses
//   more           mount(2), open_tree(OPEN_TREE_CLONE)  a string of fsconfig(2) has at most 255 bytes
import { AT_FDCWD, MOVE_MOUNT, OPEN_TREE, UMOUNT } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { asFilesystemUser } from '../../sys/filesystem-user.ts';
import {
  fsconfig,
  fsmount,
  fsopen,
  mkdirat,
  mount,
  moveMount,
  openTree,
  symlinkat,
  umount2,
  unlinkat,
} from '../../sys/syscalls.ts';
import { escapeData } from '../layers.ts';
import { keyAndValue } from '../options.ts';
import { EMPTY_LAYER } from '../steps/row.ts';
import type { OverlayParts } from './jobs.ts';

const LONGEST_FSCONFIG_STRING = 255;

export function assembleOverlay(parts: OverlayParts): number {
  using attached = new DisposableStack();
  for (const [i, { fd }] of parts.layers.entries()) attached.use(attach(fd, String(i)));
  if (parts.upper) attached.use(nameUpper(parts.upper));
  const options = [...layerOptions(parts), ...parts.data];
  const short = options.every((option) => Buffer.byteLength(option) <= LONGEST_FSCONFIG_STRING);
  using _user = parts.user && asFilesystemUser(parts.user);
  const { source, superblock } = parts;
  if (parts.context && short) return byContext(source, [...superblock.words, ...options]);
  return byMount(source, superblock.flags, options);
}

function layerOptions({ layers, upper }: OverlayParts): string[] {
  const lowerdir = layers.map(({ dataOnly }, i) => `${i === 0 ? '' : dataOnly ? '::' : ':'}${i}`).join('');
  if (upper === undefined) {
    if (layers.length > 1) return [`lowerdir=${lowerdir}`];
    makeDirectory(EMPTY_LAYER);
    return [`lowerdir=${lowerdir}:${EMPTY_LAYER}`];
  }
  return [`lowerdir=${lowerdir}`, `upperdir=${upper.name}`, `workdir=${WORK}`];
}

const [PROC, TREE, WORK] = ['proc', 'upper', 'work'];

/** Short names for both directories: links to their descriptors, so that no name on the way to them counts. */
function nameUpper({ tree, proc, name, upper, work }: NonNullable<OverlayParts['upper']>): Disposable {
  using named = new DisposableStack();
  named.use(attach(proc, PROC));
  named.use(attach(tree, TREE));
  for (const [link, fd] of [
    [name, upper],
    [WORK, work],
  ] as const) {
    symlinkat(`${PROC}/self/fd/${fd}`, AT_FDCWD, link);
    named.defer(() => unlinkat(AT_FDCWD, link, 0));
  }
  return named.move();
}

/** Attaches a detached mount; taken away again when the overlay, which has copies of its own, stands. */
function attach(number: number, name: string): Disposable {
  makeDirectory(name);
  const fd = new Fd(number);
  try {
    moveMount(fd, '', AT_FDCWD, name, MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
  } finally {
    fd.release(); // the caller's
  }
  // Lazily: the caller's descriptor still refers to it.
  return { [Symbol.dispose]: () => umount2(name, UMOUNT.MNT_DETACH) };
}

function makeDirectory(name: string): void {
  try {
    mkdirat(AT_FDCWD, name, 0o700);
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
  }
}

function byContext(source: string, options: readonly string[]): number {
  using context = fsopen('overlay', 1);
  for (const option of [`source=${source}`, ...options]) {
    const [key, value] = keyAndValue(option);
    fsconfig(context, value === undefined ? { by: 'flag', key } : { by: 'string', key, value });
  }
  fsconfig(context, { by: 'create' });
  return fsmount(context, 1, 0).release();
}

/** @param flags MS_*: before Linux 6.5 an overlay takes no `ro` among its options */
function byMount(source: string, flags: number, options: readonly string[]): number {
  makeDirectory('m');
  mount(source, 'm', 'overlay', flags, escapeData(options));
  try {
    return openTree(AT_FDCWD, 'm', OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC).release();
  } finally {
    umount2('m', UMOUNT.MNT_DETACH);
  }
}
