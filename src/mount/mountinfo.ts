// /proc/self/mountinfo as data (proc_pid_mountinfo(5)):
//
//   36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//   id parent device root target options [propagation ...] - type source superblock options
//
// Not for "is this path a mount point": that is one statx(2) (lookup.ts). Reading the file costs as much as the
// node has mounts, and it may miss one while another is being changed.
import { readFileSync } from 'node:fs';

export interface MountInfo {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor`. */
  readonly device: string;
  /** The directory of the filesystem that this mount shows. */
  readonly root: string;
  readonly target: string;
  readonly options: readonly string[];
  /** `shared:N`, `master:N`, `propagate_from:N`, `unbindable`. */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  readonly superblockOptions: readonly string[];
  /** The id map of the mount, `container:host:size` each, where the kernel tells it (statmount(2), Linux 6.15). */
  readonly idmap?: { readonly uid: readonly string[]; readonly gid: readonly string[] };
}

/** In the order of the file: a mount comes after the one it stands on. */
export function readMountinfo(): MountInfo[] {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** @throws Error naming the line, if one is not of the form above */
export function parseMountinfo(text: string): MountInfo[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

function parseLine(line: string): MountInfo {
  const fields = line.split(' ');
  const dash = fields.indexOf('-', 6);
  const [id = '', parentId = '', device, root, target, options] = fields;
  const [type, source, superblockOptions = ''] = fields.slice(dash + 1);
  const isWhole = device && root && target && options !== undefined && type && source !== undefined;
  if (dash === -1 || !isWhole || !ID.test(id) || !ID.test(parentId)) {
    throw new Error(`not a line of mountinfo: ${JSON.stringify(line)}`);
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: decodeOctal(root),
    target: decodeOctal(target),
    options: options.split(','),
    propagation: fields.slice(6, dash),
    type: decodeOctal(type),
    source: decodeOctal(source),
    // A comma within an option is in octal, so it is split first.
    superblockOptions: superblockOptions.split(',').map(decodeOctal),
  };
}

/** The kernel's are of 32 bits. */
const ID = /^\d{1,10}$/;

/** Space, tab, newline, backslash and the like are written as three octal digits. */
export function decodeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
