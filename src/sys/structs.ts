// Layouts of the structures that system calls take and fill: x86-64 and arm64 agree on all of them (both are
// little-endian LP64, and these use fixed-width fields by design).
//
// What is done for every mount is written and read by a DataView: its methods are as quick at the first call as at the
// millionth, and those of a Buffer are JavaScript, which takes seven times as long until it is compiled.

export const viewOf = (buffer: Buffer): DataView =>
  new DataView(buffer.buffer, buffer.byteOffset, buffer.length);

export interface Memory {
  readonly buffer: Buffer;
  readonly view: DataView;
}

/**
 * Memory for one kind of structure and one call at a time. What the kernel reads is filled anew for each call, and has been
 * read when that returns; what the kernel fills is read before the next call.
 */
export function memoryFor(bytes: number): Memory {
  const buffer = Buffer.alloc(bytes);
  return { buffer, view: viewOf(buffer) };
}

/** `struct mount_attr` (mount_setattr(2)), 32 bytes. */
export interface MountAttr {
  readonly set: number;
  readonly clear: number;
  /** One of PROPAGATION, or 0 to leave it. */
  readonly propagation: number;
  /** Number of the user namespace fd, when `set` has MOUNT_ATTR_IDMAP. */
  readonly usernsFd: number;
}

const mountAttr = memoryFor(32);

/** To be passed on before the next is encoded, as all of these. */
export function encodeMountAttr(attr: MountAttr): Buffer {
  const { buffer, view } = mountAttr;
  // Of 64 bits each, of which the upper half is not used.
  view.setUint32(0, attr.set, true);
  view.setUint32(8, attr.clear, true);
  view.setUint32(16, attr.propagation, true);
  view.setUint32(24, attr.usernsFd, true);
  return buffer;
}

export function decodeMountAttr(buffer: Buffer): MountAttr {
  const [set, clear, propagation, usernsFd] = [0, 8, 16, 24].map((at) =>
    Number(buffer.readBigUInt64LE(at)),
  ) as [number, number, number, number];
  return { set, clear, propagation, usernsFd };
}

/** `struct open_how` (openat2(2)), 24 bytes. */
export interface OpenHow {
  readonly flags: number;
  readonly mode: number;
  readonly resolve: number;
}

const openHow = memoryFor(24);

export function encodeOpenHow(how: OpenHow): Buffer {
  const { buffer, view } = openHow;
  // As above.
  view.setUint32(0, how.flags, true);
  view.setUint32(8, how.mode, true);
  view.setUint32(16, how.resolve, true);
  return buffer;
}

export function decodeOpenHow(buffer: Buffer): OpenHow {
  const [flags, mode, resolve] = [0, 8, 16].map((at) => Number(buffer.readBigUInt64LE(at))) as [
    number,
    number,
    number,
  ];
  return { flags, mode, resolve };
}

/** `struct mnt_id_req` (statmount(2), listmount(2)) in its first version, 24 bytes. */
export interface MountIdRequest {
  /** Unique mount id. */
  readonly mountId: bigint;
  /** statmount: the mask of what is asked for. listmount: the last id that was listed. */
  readonly param: bigint;
}

const mountIdRequest = memoryFor(24);

export function encodeMountIdRequest({ mountId, param }: MountIdRequest): Buffer {
  const { buffer, view } = mountIdRequest;
  view.setUint32(0, buffer.length, true);
  view.setBigUint64(8, mountId, true);
  view.setBigUint64(16, param, true);
  return buffer;
}

export function decodeMountIdRequest(buffer: Buffer): MountIdRequest {
  return { mountId: buffer.readBigUInt64LE(8), param: buffer.readBigUInt64LE(16) };
}

export const STATX_SIZE = 256;

/** What we use of `struct statx` (statx(2)). */
export interface Statx {
  readonly attributes: bigint;
  /** Those that this filesystem and kernel would tell. */
  readonly knownAttributes: bigint;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly inode: bigint;
  readonly size: bigint;
  /** Of a device node: which device it is. */
  readonly specialMajor: number;
  readonly specialMinor: number;
  /** Of the filesystem it is on. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** The unique 64-bit id with STATX_MNT_ID_UNIQUE (6.8), else the one that mountinfo shows. */
  readonly mountId: bigint;
}

export function decodeStatx(view: DataView): Statx {
  return {
    attributes: view.getBigUint64(8, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    mode: view.getUint16(28, true),
    knownAttributes: view.getBigUint64(56, true),
    inode: view.getBigUint64(32, true),
    size: view.getBigUint64(40, true),
    specialMajor: view.getUint32(128, true),
    specialMinor: view.getUint32(132, true),
    deviceMajor: view.getUint32(136, true),
    deviceMinor: view.getUint32(140, true),
    mountId: view.getBigUint64(144, true),
  };
}

export const STATFS_SIZE = 120;

/** What we use of `struct statfs` (statfs(2)), in blocks of `blockSize` bytes. */
export interface Statfs {
  readonly blockSize: bigint;
  readonly blocks: bigint;
  readonly blocksFree: bigint;
  /** What an unprivileged writer may still take. */
  readonly blocksAvailable: bigint;
  readonly files: bigint;
  readonly filesFree: bigint;
  /** ST_RDONLY and its like: of the mount and of its superblock. */
  readonly flags: number;
}

export function decodeStatfs(buffer: Buffer): Statfs {
  const word = (index: number) => buffer.readBigUInt64LE(index * 8);
  return {
    blockSize: word(9) || word(1), // f_frsize; 0 on filesystems that know no fragments
    blocks: word(2),
    blocksFree: word(3),
    blocksAvailable: word(4),
    files: word(5),
    filesFree: word(6),
    flags: Number(word(10)),
  };
}

export const SIGINFO_SIZE = 128;

/** How a process ended: its exit status, or the signal that ended it. */
export type Exit = { readonly status: number } | { readonly signal: number };

/** `siginfo_t` as waitid(2) fills it; undefined when WNOHANG found nobody that has ended (si_pid is 0). */
export function decodeExit(siginfo: Buffer): Exit | undefined {
  if (siginfo.readInt32LE(16) === 0) return undefined;
  const status = siginfo.readInt32LE(24);
  return siginfo.readInt32LE(8) === CLD_EXITED ? { status } : { signal: status };
}
const CLD_EXITED = 1;

/** `struct pollfd`, 8 bytes each. */
export interface PollEntry {
  readonly fd: number;
  /** Of POLL. */
  readonly events: number;
}

export function encodePollfds(entries: readonly PollEntry[]): Buffer {
  const buffer = Buffer.alloc(8 * entries.length);
  entries.forEach(({ fd, events }, i) => {
    buffer.writeInt32LE(fd, 8 * i);
    buffer.writeInt16LE(events, 8 * i + 4);
  });
  return buffer;
}

export function encodeTimespec(milliseconds: number): Buffer {
  const buffer = Buffer.alloc(16);
  const whole = Math.floor(milliseconds / 1000);
  buffer.writeBigInt64LE(BigInt(whole), 0);
  buffer.writeBigInt64LE(BigInt(Math.floor((milliseconds - whole * 1000) * 1e6)), 8);
  return buffer;
}

/** Two of `struct __user_cap_data_struct`: effective, permitted and inheritable, 32 capabilities each. */
export const CAPABILITY_BYTES = 24;

/** `struct __user_cap_header_struct` of the calling thread, for 64 capabilities (_LINUX_CAPABILITY_VERSION_3). */
export function encodeCapabilityHeader(): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeUInt32LE(0x20080522, 0);
  return buffer;
}
