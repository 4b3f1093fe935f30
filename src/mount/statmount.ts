// One mount, and what stands on it, straight from the kernel (statmount(2), listmount(2)): what a line of
// mountinfo says, by the mount's unique id, at a cost that does not grow with the number of mounts.
//
// A unique id is never used again, but it differs between mount namespaces for what is one mount to people: it
// serves within this process and is told to no one.
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, PROPAGATION, STATMOUNT } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import { type Memory, memoryFor } from '../sys/structs.ts';
import { listmount, statmount as statmountCall } from '../sys/syscalls.ts';
import { decodeOctal, type MountInfo } from './mountinfo.ts';

/** A mount with its unique ids. */
export interface StatMount {
  readonly uniqueId: bigint;
  readonly parentUniqueId: bigint;
  readonly info: MountInfo;
}

/** `struct statmount` before the strings (include/uapi/linux/mount.h). */
const FIXED_BYTES = 512;
/** Where in it the offset of the target is. */
const TARGET_AT = 108;
/** EOVERFLOW says when it is too small: an overlay of many layers lists them all in its options. */
const FIRST_BYTES = 8 * 1024;
const MOST_BYTES = 4 * 1024 * 1024;

const WANTED = Object.values(STATMOUNT).reduce((mask, bit) => mask | bit, 0);

let scratch = memoryFor(FIRST_BYTES);

/** Undefined when there is no such mount in this mount namespace, any more. */
export function statmount(uniqueId: bigint): StatMount | undefined {
  return ask(uniqueId, WANTED) ? decodeStatmount(scratch) : undefined;
}

/** Where it is mounted, and nothing else: to pick from many. */
export function statTarget(uniqueId: bigint): string | undefined {
  if (!ask(uniqueId, STATMOUNT.STATMOUNT_MNT_POINT)) return undefined;
  if ((maskOf(scratch) & STATMOUNT.STATMOUNT_MNT_POINT) === 0) return undefined;
  return stringAt(scratch, u32(scratch, TARGET_AT));
}

/** Its filesystem type, as `info.type` has it, and nothing else. */
export function statType(uniqueId: bigint): string | undefined {
  if (!ask(uniqueId, STATMOUNT.STATMOUNT_FS_TYPE | STATMOUNT.STATMOUNT_FS_SUBTYPE)) return undefined;
  return typeIn(scratch);
}

/** Into `scratch`, which grows as need be. False when there is no such mount. */
function ask(uniqueId: bigint, mask: number): boolean {
  for (;;) {
    try {
      statmountCall(uniqueId, mask, scratch.buffer);
      return true;
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return false;
      if (!hasErrno(error, 'EOVERFLOW') || scratch.buffer.length >= MOST_BYTES) throw error;
      scratch = memoryFor(scratch.buffer.length * 4);
    }
  }
}

/** What was answered: all that we ask for is in the lower half. */
const maskOf = (answer: Memory): number => u32(answer, 8);

const u32 = ({ view }: Memory, at: number): number => view.getUint32(at, true);
const u64 = ({ view }: Memory, at: number): bigint => view.getBigUint64(at, true);

/** The string at this offset from the end of the fixed part. */
function stringAt({ buffer }: Memory, offset: number): string {
  const from = FIXED_BYTES + offset;
  return buffer.toString('utf8', from, buffer.indexOf(0, from));
}

/** How many ids one call of listmount(2) may return. */
const PAGE = 1024;

/** Ids of all mounts that stand on this one, on those, and so on. */
export function listBelow(uniqueId: bigint): bigint[] {
  const ids: bigint[] = [];
  for (;;) {
    const page = listmount(uniqueId, ids.at(-1) ?? 0n, PAGE);
    ids.push(...page);
    if (page.length < PAGE) return ids;
  }
}

/** Mount flags by the names that mountinfo gives them, in its order (fs/proc_namespace.c, show_mnt_opts). */
const MOUNT_NAMES: readonly [attribute: number, name: string][] = [
  [MOUNT_ATTR.MOUNT_ATTR_NOSUID, 'nosuid'],
  [MOUNT_ATTR.MOUNT_ATTR_NODEV, 'nodev'],
  [MOUNT_ATTR.MOUNT_ATTR_NOEXEC, 'noexec'],
  [MOUNT_ATTR.MOUNT_ATTR_NOATIME, 'noatime'],
  [MOUNT_ATTR.MOUNT_ATTR_NODIRATIME, 'nodiratime'],
  [MOUNT_ATTR.MOUNT_ATTR_NOSYMFOLLOW, 'nosymfollow'],
  [MOUNT_ATTR.MOUNT_ATTR_IDMAP, 'idmapped'],
];

/** Superblock flags likewise (show_sb_opts). SB_MANDLOCK is gone since Linux 5.15. */
const SB_RDONLY = 1;
const SUPERBLOCK_NAMES: readonly [flag: number, name: string][] = [
  [1 << 4, 'sync'],
  [1 << 7, 'dirsync'],
  [1 << 25, 'lazytime'],
];

/** Pure. What the kernel left out, because it does not know it, is empty. */
export function decodeStatmount(answer: Memory): StatMount {
  const uid = stringsIn(answer, STATMOUNT.STATMOUNT_MNT_UIDMAP, 156, 152);
  const gid = stringsIn(answer, STATMOUNT.STATMOUNT_MNT_GIDMAP, 164, 160);
  return {
    uniqueId: u64(answer, 40),
    parentUniqueId: u64(answer, 48),
    info: {
      id: u32(answer, 56),
      parentId: u32(answer, 60),
      device: `${u32(answer, 16)}:${u32(answer, 20)}`,
      root: stringIn(answer, STATMOUNT.STATMOUNT_MNT_ROOT, 104),
      target: stringIn(answer, STATMOUNT.STATMOUNT_MNT_POINT, TARGET_AT),
      options: mountOptions(u32(answer, 64)),
      propagation: propagationIn(answer),
      type: typeIn(answer),
      source: stringIn(answer, STATMOUNT.STATMOUNT_SB_SOURCE, 124),
      superblockOptions: [
        ...superblockFlags(u32(answer, 32)),
        ...stringsIn(answer, STATMOUNT.STATMOUNT_OPT_SEC_ARRAY, 140, 136),
        ...splitEscaped(stringIn(answer, STATMOUNT.STATMOUNT_MNT_OPTS, 4)),
      ],
      ...(uid.length > 0 && { idmap: { uid: uid.map(mappingText), gid: gid.map(mappingText) } }),
    },
  };
}

function typeIn(answer: Memory): string {
  const type = stringIn(answer, STATMOUNT.STATMOUNT_FS_TYPE, 36);
  const subtype = stringIn(answer, STATMOUNT.STATMOUNT_FS_SUBTYPE, 120);
  return subtype === '' ? type : `${type}.${subtype}`;
}

/** Its offset from the end of the fixed part is at `at`; empty when it was not answered. */
function stringIn(answer: Memory, bit: number, at: number): string {
  return (maskOf(answer) & bit) === 0 ? '' : stringAt(answer, u32(answer, at));
}

/** The same of several, one behind the other, whose number is at `countAt`. */
function stringsIn(answer: Memory, bit: number, at: number, countAt: number): string[] {
  const strings: string[] = [];
  if ((maskOf(answer) & bit) === 0) return strings;
  const count = u32(answer, countAt);
  for (let offset = u32(answer, at); strings.length < count; ) {
    strings.push(stringAt(answer, offset));
    offset = answer.buffer.indexOf(0, FIXED_BYTES + offset) + 1 - FIXED_BYTES;
  }
  return strings;
}

function mountOptions(attributes: number): string[] {
  const names = MOUNT_NAMES.filter(([bit]) => attributes & bit).map(([, name]) => name);
  // Like mountinfo: relatime is 0 and shown; strictatime is the absence of both.
  if ((attributes & MOUNT_ATTR__ATIME) === 0) names.splice(relatimePlace(names), 0, 'relatime');
  return [attributes & MOUNT_ATTR.MOUNT_ATTR_RDONLY ? 'ro' : 'rw', ...names];
}

const AFTER_RELATIME = new Set(['nosymfollow', 'idmapped']);
const relatimePlace = (names: readonly string[]): number => {
  const at = names.findIndex((name) => AFTER_RELATIME.has(name));
  return at === -1 ? names.length : at;
};

function superblockFlags(flags: number): string[] {
  const names = SUPERBLOCK_NAMES.filter(([bit]) => flags & bit).map(([, name]) => name);
  return [flags & SB_RDONLY ? 'ro' : 'rw', ...names];
}

function propagationIn(answer: Memory): string[] {
  const type = u32(answer, 72);
  const [group, master, from] = [u64(answer, 80), u64(answer, 88), u64(answer, 96)];
  const shown: string[] = [];
  if (type & PROPAGATION.MS_SHARED) shown.push(`shared:${group}`);
  if (type & PROPAGATION.MS_SLAVE) shown.push(`master:${master}`);
  if (type & PROPAGATION.MS_SLAVE && from !== 0n && from !== master) shown.push(`propagate_from:${from}`);
  if (type & PROPAGATION.MS_UNBINDABLE) shown.push('unbindable');
  return shown;
}

/** Escaped as in mountinfo: a comma within an option is written in octal. */
const splitEscaped = (options: string): string[] =>
  options === '' ? [] : options.split(',').map(decodeOctal);

/** The kernel's `0 100000 65536` as our `0:100000:65536`. */
const mappingText = (extent: string): string => extent.replaceAll(' ', ':');
