// A filesystem on a disk or in a file.
//
//   options      type     made from
//   loop         any      a loop device of the file
//   loop         erofs    the file itself, where the kernel can (Linux 6.12); else a loop device
//   none         known    the source as it is; should it turn out to be a file, a loop device of it
//   any          auto     what blkid finds: as above, as soon as that is known
//
//   fsopen(type); attach the file; fsconfig(source = the device, flags, data...); fsconfig(CMD_CREATE); fsmount()
//   mount_setattr(...)     attributes and ID map of the detached mount
//
// The mount holds the device from then on, so the loop device goes with the last mount of it.
import { MOUNT_ATTR } from '../../sys/constants.ts';
import { invalidMount } from '../errors.ts';
import type { LoopRequest } from '../loop-options.ts';
import type { ParsedOptions } from '../options.ts';
import type { ParsedMount, Planner } from '../plan.ts';
import type { Step } from '../steps.ts';
import { attributeSteps } from './attributes.ts';
import { isReadOnly, parameterSteps, superblockSteps } from './filesystem.ts';
import { attachSteps } from './finish.ts';

/** Filesystems on disks that are mounted from image files too. */
const ON_DISK: ReadonlySet<string> = new Set([
  ...['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'f2fs', 'vfat', 'exfat', 'ntfs3', 'udf'],
  ...['squashfs', 'erofs', 'iso9660', 'cramfs', 'romfs'],
]);
/** Those that cannot be written: their mounts are read-only without being told. */
const READ_ONLY: ReadonlySet<string> = new Set(['squashfs', 'erofs', 'iso9660', 'cramfs', 'romfs']);
/** What no image holds. */
const NOT_ON_DISK = /^(bind|rbind|overlay|tmpfs|ramfs|proc|sysfs|fuse.*)$/;
/** fsconfig(2): a string has less than 256 bytes. */
const MAX_SOURCE_BYTES = 255;

export const NO_RANGE: LoopRequest = { directIo: false, offset: 0, sizeLimit: 0 };

export function isImage(type: string, { loop, bind }: ParsedOptions): boolean {
  return loop !== undefined || (bind === undefined && (type === 'auto' || ON_DISK.has(type)));
}

export const planImage: Planner = (mount, kernel) => {
  const { type, source, options } = mount;
  checkImage(mount);
  const made: Step[] =
    type === 'auto'
      ? [openImage(source), { kind: 'findFilesystem', image: 'image', mount, api: 'modern' }]
      : imageSteps(mount, { open: false, isFile: options.loop !== undefined });
  return [...made, ...attachSteps(options, kernel)];
};

/** What both ways to mount an image refuse. */
export function checkImage({ type, source, options }: ParsedMount): void {
  if (options.bind !== undefined || NOT_ON_DISK.test(type)) {
    throw invalidMount(`loop is for filesystems in image files, not for ${options.bind ?? type}; remove it`);
  }
  if (source === '')
    throw invalidMount(`${type}: a filesystem on disk needs a source: an image file or a device`);
}

/** What is known of the source. */
export interface KnownImage {
  /** It is in the slot `image`. */
  readonly open: boolean;
  /** It is a file, or must be one. */
  readonly isFile: boolean;
}

/** From the source to a finished, detached mount in the slot `mount`, the type being known. */
export function imageSteps(mount: ParsedMount, { open, isFile }: KnownImage): Step[] {
  const typed = { ...mount, options: optionsOf(mount) };
  const onLoop = [...(open ? [] : [openImage(mount.source)]), ...loopSteps(typed)];
  const direct = !isFile || mountsFromFile(mount);
  return [
    ...(direct && fits(mount) ? directSteps(typed, onLoop) : onLoop),
    ...attributeSteps({ on: 'mount', options: typed.options, idmap: true, tree: false }),
  ];
}

/** A held one goes by a short name. */
const fits = ({ source, held }: ParsedMount): boolean =>
  held || Buffer.byteLength(source) <= MAX_SOURCE_BYTES;

function mountsFromFile({ type, options: { loop = NO_RANGE } }: ParsedMount): boolean {
  return type === 'erofs' && loop.offset === 0 && loop.sizeLimit === 0 && !loop.directIo;
}

export const openImage = (path: string): Step => ({ kind: 'openImage', path, as: 'image' });

function directSteps({ type, source, options }: ParsedMount, otherwise: Step[]): Step[] {
  return [
    { kind: 'openFilesystem', type, as: 'context' },
    ...superblockSteps(type, source, options),
    { kind: 'createImageMount', context: 'context', type, from: { path: source }, as: 'mount', otherwise },
  ];
}

function loopSteps({ type, source, options }: ParsedMount): Step[] {
  const { directIo, offset, sizeLimit } = options.loop ?? NO_RANGE;
  const readOnly = isReadOnly(options);
  // Before the file is attached: a type that the kernel does not have is told without touching it.
  return [
    { kind: 'openFilesystem', type, as: 'loopContext' },
    { kind: 'attachLoop', image: 'image', path: source, readOnly, directIo, offset, sizeLimit, as: 'loop' },
    { kind: 'useDevice', context: 'loopContext', device: 'loop' },
    ...parameterSteps('loopContext', type === 'xfs' && readOnly ? withoutUuidCheck(options) : options),
    { kind: 'createImageMount', context: 'loopContext', type, from: { device: 'loop' }, as: 'mount' },
  ];
}

/**
 * xfs refuses the copy of a filesystem that is mounted, for fear of two ways to one disk. A file has one way here, its
 * loop device, and nothing is written through this one: a read-only copy is safe beside the other, and does not keep
 * that from being mounted later. For writing, the user must say so.
 */
export function withoutUuidCheck(options: ParsedOptions): ParsedOptions {
  return options.data.includes('nouuid') ? options : { ...options, data: [...options.data, 'nouuid'] };
}

/** What the type adds to the options. */
export function optionsOf({ type, options }: ParsedMount): ParsedOptions {
  if (READ_ONLY.has(type) && !isReadOnly(options)) {
    const { set, clear } = options.mount;
    const readOnly = MOUNT_ATTR.MOUNT_ATTR_RDONLY;
    return { ...options, mount: { set: set | readOnly, clear: clear & ~readOnly } };
  }
  return options;
}
