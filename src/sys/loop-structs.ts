// Layouts of the loop driver's structures (include/uapi/linux/loop.h): fixed-width fields, the same everywhere.
import { renderFlags } from './bind.ts';
import { LO_FLAGS } from './constants.ts';
import { describeFd } from './fd.ts';
import { viewOf } from './structs.ts';

/** What we use of `struct loop_info64`. The device and inode are the backing file's; the kernel fills them in. */
export interface LoopInfo {
  /** As the kernel's new_encode_dev() packs it: compare with deviceNumber(). */
  readonly device: bigint;
  readonly inode: bigint;
  readonly offset: number;
  /** In bytes from the offset; 0 is all there is. */
  readonly sizeLimit: number;
  /** N of /dev/loopN. */
  readonly number: number;
  /** Of LO_FLAGS. */
  readonly flags: number;
  /** What whoever attached it called it. */
  readonly fileName: string;
}

/** What LOOP_CONFIGURE and LOOP_SET_STATUS64 are told. */
export interface LoopSettings {
  readonly offset: number;
  readonly sizeLimit: number;
  readonly flags: number;
  /** For people (losetup -l): cut to 63 bytes. */
  readonly fileName: string;
}

export const LOOP_INFO_SIZE = 232;
const LOOP_CONFIG_SIZE = 304;
/** Where `struct loop_config` has its `struct loop_info64`. */
const INFO_IN_CONFIG = 8;
const FILE_NAME = 56;
const FILE_NAME_BYTES = 63;

export function encodeLoopInfo(settings: LoopSettings): Buffer {
  const buffer = Buffer.alloc(LOOP_INFO_SIZE);
  const view = viewOf(buffer);
  view.setBigUint64(24, BigInt(settings.offset), true);
  view.setBigUint64(32, BigInt(settings.sizeLimit), true);
  view.setUint32(52, settings.flags, true);
  buffer.write(settings.fileName, FILE_NAME, FILE_NAME_BYTES, 'utf8');
  return buffer;
}

export function decodeLoopInfo(buffer: Buffer): LoopInfo {
  const view = viewOf(buffer);
  return {
    device: view.getBigUint64(0, true),
    inode: view.getBigUint64(8, true),
    offset: Number(view.getBigUint64(24, true)),
    sizeLimit: Number(view.getBigUint64(32, true)),
    number: view.getUint32(40, true),
    flags: view.getUint32(52, true),
    fileName: buffer.toString('utf8', FILE_NAME, FILE_NAME + FILE_NAME_BYTES).split('\0')[0] ?? '',
  };
}

/** @param blockSize of the device in bytes, 0 for the kernel's choice */
export function encodeLoopConfig(file: number, blockSize: number, settings: LoopSettings): Buffer {
  const buffer = Buffer.alloc(LOOP_CONFIG_SIZE);
  buffer.writeInt32LE(file, 0);
  buffer.writeUInt32LE(blockSize, 4);
  encodeLoopInfo(settings).copy(buffer, INFO_IN_CONFIG);
  return buffer;
}

/** Either structure, for the message of a failed call. */
export function showLoopStruct(buffer: Buffer): string {
  if (buffer.length === LOOP_INFO_SIZE) return `{${showInfo(buffer)}}`;
  const file = `fd=${describeFd(buffer.readInt32LE(0))}, block_size=${buffer.readUInt32LE(4)}`;
  return `{${file}, ${showInfo(buffer.subarray(INFO_IN_CONFIG))}}`;
}

function showInfo(buffer: Buffer): string {
  const { offset, sizeLimit, flags } = decodeLoopInfo(buffer);
  return `lo_offset=${offset}, lo_sizelimit=${sizeLimit}, lo_flags=${renderFlags(flags, LO_FLAGS)}`;
}

/** The kernel's new_encode_dev() (include/linux/kdev_t.h): what mknod(2) takes and loop_info64 shows. */
export function deviceNumber(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
