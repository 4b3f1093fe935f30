// How full a mount is. Asks its filesystem, and hangs with its server.
//
//   filesystem      fstatfs(2); a count without a bound (erofs has 2^64 inodes) is as many as are used
//   block device    its size alone: what of it is used only its user knows, and one that is told to be full sets off alerts
import { readFileSync } from 'node:fs';
import { S_IF, STATX, STATX_MASK } from '../sys/constants.ts';
import type { Fd } from '../sys/fd.ts';
import { kindOf } from '../sys/open-below.ts';
import { fstatfs, statx } from '../sys/syscalls.ts';

export interface Count {
  readonly total: number;
  readonly used: number;
  readonly available: number;
}

/** In bytes and files. */
export interface Usage {
  readonly bytes: Count;
  /** Undefined for a block device. */
  readonly inodes: Count | undefined;
}

export function usageOf(at: Fd): Usage {
  if (kindOf(at) === S_IF.S_IFBLK) {
    const size = sizeOf(at);
    return { bytes: { total: size, used: 0, available: 0 }, inodes: undefined };
  }
  const fs = fstatfs(at);
  return {
    bytes: count(fs.blocks, fs.blocksFree, fs.blocksAvailable, fs.blockSize),
    inodes: count(fs.files, fs.filesFree, fs.filesFree, 1n),
  };
}

function count(all: bigint, free: bigint, available: bigint, unit: bigint): Count {
  const used = Number((all > free ? all - free : 0n) * unit);
  const total = Number(all * unit);
  if (!Number.isSafeInteger(total)) return { total: used, used, available: 0 };
  return { total, used, available: Number(available * unit) };
}

/** /sys/dev/block/MAJOR:MINOR/size, in sectors of 512 bytes whatever the device's own are. */
function sizeOf(device: Fd): number {
  const { specialMajor, specialMinor } = statx(device, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
  return Number(readFileSync(`/sys/dev/block/${specialMajor}:${specialMinor}/size`, 'utf8')) * 512;
}
