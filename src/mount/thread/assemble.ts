// An overlay made inside the private namespace, of directories that are known by descriptor: each has a short name below
// DESCRIPTORS, so that hundreds fit the page that mount(2) takes, and the finished overlay is taken out as a detached mount.
//
//   data           way                                   because
//   <= 255 bytes   fsopen, fsconfig(lowerdir), fsmount   the kernel says in words what it refuses
//   more           mount(2), open_tree(OPEN_TREE_CLONE)  a string of fsconfig(2) has at most 255 bytes
import { AT_FDCWD, MOVE_MOUNT, OPEN_TREE, UMOUNT } from '../../sys/constants.ts';
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
import { dataOf } from '../data.ts';
import { keyAndValue } from '../options.ts';
import { EMPTY_LAYER } from '../steps/row.ts';
import type { OverlayParts } from './jobs.ts';

const LONGEST_FSCONFIG_STRING = 255;
/** A page, with the zero at its end: what does not fit the kernel leaves out without a word. */
const LONGEST_DATA = 4095;

/** This process's open descriptors, as links: where the namespace has /proc/self/fd (thread-worker.ts). */
export const DESCRIPTORS = 'd';

export function assembleOverlay(parts: OverlayParts): number {
  using prepared = new DisposableStack();
  for (const [i, copy] of parts.copies.entries()) prepared.use(attach(copy, String(i)));
  if (parts.upper) prepared.use(nameUpper(parts.upper));
  const options = [...layerOptions(parts), ...parts.data];
  const short = options.every((option) => Buffer.byteLength(option) <= LONGEST_FSCONFIG_STRING);
  using _user = parts.user && asFilesystemUser(parts.user);
  const { source, superblock } = parts;
  if (parts.context && short) return byContext(source, [...superblock.words, ...options]);
  return byMount(source, superblock.flags, options);
}

const nameOf = (fd: number): string => `${DESCRIPTORS}/${fd}`;

function layerOptions({ layers, upper }: OverlayParts): string[] {
  const lowerdir = layers
    .map(({ fd, dataOnly }, i) => `${i === 0 ? '' : dataOnly ? '::' : ':'}${nameOf(fd)}`)
    .join('');
  if (upper === undefined) {
    if (layers.length > 1) return [`lowerdir=${lowerdir}`];
    makeDirectory(EMPTY_LAYER);
    return [`lowerdir=${lowerdir}:${EMPTY_LAYER}`];
  }
  return [`lowerdir=${lowerdir}`, `upperdir=${upper.name}`, `workdir=${nameOf(upper.work)}`];
}

/** Its name tells others whose it is. */
function nameUpper({ name, upper }: NonNullable<OverlayParts['upper']>): Disposable {
  symlinkat(nameOf(upper), AT_FDCWD, name);
  return { [Symbol.dispose]: () => unlinkat(AT_FDCWD, name, 0) };
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

/** Those that the namespace has; they are kept. */
const made = new Set<string>();

function makeDirectory(name: string): void {
  if (made.has(name)) return;
  mkdirat(AT_FDCWD, name, 0o700);
  made.add(name);
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
  const data = dataOf('overlay', options);
  const bytes = Buffer.byteLength(data);
  if (bytes > LONGEST_DATA) {
    const why = 'with descriptors of its layers in place of their paths';
    throw new Error(
      `an overlay with options of ${bytes} bytes, ${why}; mount(2) takes ${LONGEST_DATA}; use fewer of either`,
    );
  }
  makeDirectory('m');
  mount(source, 'm', 'overlay', flags, data);
  try {
    return openTree(AT_FDCWD, 'm', OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC).release();
  } finally {
    umount2('m', UMOUNT.MNT_DETACH);
  }
}
