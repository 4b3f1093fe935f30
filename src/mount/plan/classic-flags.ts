// How mount(2) says flags, options and propagation.
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, MS } from '../../sys/constants.ts';
import { dataOf } from '../data.ts';
import { invalidMount, MountError } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import type { AttributeChange, ParsedOptions } from '../options.ts';
import type { Step } from '../steps.ts';

/** What mount(2) reads of its data: a page with the final NUL (copy_mount_options). */
export const DATA_BYTES = 4095;

/** Flags of what is at the target; those of a whole tree where the kernel has the call for that. */
export function classicAttributeSteps(options: ParsedOptions, kernel: Kernel): Step[] {
  return [...treeSteps(options, kernel), ...topSteps(options.mount)];
}

function treeSteps({ recursive }: ParsedOptions, kernel: Kernel): Step[] {
  if (recursive.set === 0 && recursive.clear === 0) return [];
  if (!kernel.has('mount-setattr')) {
    throw unsupported('flags of a whole tree (rro, rnosuid, ...) need mount_setattr(2), Linux 5.12');
  }
  return [{ kind: 'setAttributes', on: 'mount', ...recursive, recursive: true, propagation: 0 }];
}

function topSteps(change: AttributeChange): Step[] {
  if (change.set === 0 && change.clear === 0) return [];
  return [{ kind: 'remountBind', ...msChange(change) }];
}

/** A change of attributes as one of MS flags. */
export function msChange({ set, clear }: AttributeChange): { set: number; clear: number } {
  if (!(clear & MOUNT_ATTR__ATIME)) return { set: msFlags(set), clear: msFlags(clear) };
  // The access time mode is one field there and bits here, of which a remount without any keeps what was.
  const mode = set & MOUNT_ATTR__ATIME ? 0 : MS.MS_RELATIME;
  const modes = MS.MS_NOATIME | MS.MS_RELATIME | MS.MS_STRICTATIME;
  return { set: msFlags(set) | mode, clear: msFlags(clear & ~MOUNT_ATTR__ATIME) | modes };
}

export function classicPropagationSteps({ propagation }: ParsedOptions): Step[] {
  if (propagation === undefined) return [];
  return [{ kind: 'propagationCall', type: propagation.type, recursive: propagation.recursive }];
}

/** @throws MountError when it does not fit the page, with the remedy */
export function classicData(type: string, options: readonly string[], remedy: string): string {
  return onePage(dataOf(type, options), remedy);
}

/** As classicData, of a text. */
export function onePage(data: string, remedy: string): string {
  const bytes = Buffer.byteLength(data);
  if (bytes > DATA_BYTES) {
    throw invalidMount(`the options have ${bytes} bytes, mount(2) takes ${DATA_BYTES}; ${remedy}`);
  }
  return data;
}

/** Flags of a new filesystem: the mount's and the superblock's. */
export function classicFlags({ mount, superblock }: ParsedOptions): number {
  return msFlags(mount.set) | bitsOfSuperblock(superblock);
}

/** Flags of a new superblock alone. */
export function classicSuperblockFlags({ mount, superblock }: ParsedOptions): number {
  return msFlags(mount.set & MOUNT_ATTR.MOUNT_ATTR_RDONLY) | bitsOfSuperblock(superblock);
}

function bitsOfSuperblock(names: readonly string[]): number {
  return names.reduce((flags, name) => flags | (SUPERBLOCK_FLAGS[name] ?? 0), 0);
}

/** Those that say "not" have no bit: it is absent. */
export const SUPERBLOCK_FLAGS: Readonly<Record<string, number>> = {
  sync: MS.MS_SYNCHRONOUS,
  dirsync: MS.MS_DIRSYNC,
  mand: MS.MS_MANDLOCK,
  lazytime: MS.MS_LAZYTIME,
};

const MS_OF: readonly [attribute: number, flag: number][] = [
  [MOUNT_ATTR.MOUNT_ATTR_RDONLY, MS.MS_RDONLY],
  [MOUNT_ATTR.MOUNT_ATTR_NOSUID, MS.MS_NOSUID],
  [MOUNT_ATTR.MOUNT_ATTR_NODEV, MS.MS_NODEV],
  [MOUNT_ATTR.MOUNT_ATTR_NOEXEC, MS.MS_NOEXEC],
  [MOUNT_ATTR.MOUNT_ATTR_NOATIME, MS.MS_NOATIME],
  [MOUNT_ATTR.MOUNT_ATTR_STRICTATIME, MS.MS_STRICTATIME],
  [MOUNT_ATTR.MOUNT_ATTR_NODIRATIME, MS.MS_NODIRATIME],
  [MOUNT_ATTR.MOUNT_ATTR_NOSYMFOLLOW, MS.MS_NOSYMFOLLOW],
];

function msFlags(attributes: number): number {
  return MS_OF.reduce((flags, [attribute, flag]) => (attributes & attribute ? flags | flag : flags), 0);
}

export function requireIdmap(kernel: Kernel): void {
  if (kernel.has('open-tree') && kernel.has('mount-setattr') && kernel.has('move-mount')) return;
  throw unsupported('an ID mapping needs open_tree(2), mount_setattr(2) and move_mount(2), Linux 5.12');
}

function unsupported(message: string): MountError {
  return new MountError({ reason: 'kernel-unsupported', message, rolledBack: true });
}
