// Filesystems that grow to the size of their device while they are mounted: by the ioctls that resize2fs, xfs_growfs
// and btrfs use, on the filesystem's own root, so that no program has to find the device and the mount again.
//
//   ext2, ext3, ext4   EXT4_IOC_RESIZE_FS     in blocks; needs CAP_SYS_RESOURCE
//   xfs                XFS_IOC_FSGROWFSDATA   in blocks
//   btrfs              BTRFS_IOC_RESIZE       `1:max`; to no less than 256 MiB
import { readFileSync } from 'node:fs';
import { CAP_SYS_RESOURCE, RESIZE } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { fstatfs, resizeIoctl } from '../../sys/syscalls.ts';
import { MountError, type MountReason } from '../errors.ts';

interface Grower {
  /** Why it will not, as far as that is known before anything is done. */
  readonly refuse?: (
    top: Fd,
    deviceBytes: number,
    deviceGrows: boolean,
  ) => { reason: MountReason; why: string } | undefined;
  /** @param top the root of the filesystem; called again, it changes nothing */
  readonly grow: (top: Fd, deviceBytes: number) => void;
}

const MIB = 2 ** 20;
const BTRFS_SMALLEST = 256 * MIB;
/** `struct xfs_fsop_geom_v1`: block size at 0, imaxpct at 28, data blocks at 32. */
const XFS_GEOMETRY_BYTES = 112;
const XFS_GROWTH_BYTES = 16;
/** `struct btrfs_ioctl_vol_args`: a descriptor, then a name. */
const BTRFS_ARGUMENTS_BYTES = 4096;
const BTRFS_NAME_AT = 8;

const ext: Grower = {
  refuse: (_, __, deviceGrows) =>
    !deviceGrows || hasCapability(CAP_SYS_RESOURCE)
      ? undefined
      : {
          reason: 'not-permitted',
          why: 'a mounted ext4 only grows for a process with CAP_SYS_RESOURCE, which this one lacks; give it that, or unmount and run resize2fs',
        },
  grow(top, deviceBytes) {
    // The device is what it was, and the filesystem fills it: nobody without the capability got further.
    if (!hasCapability(CAP_SYS_RESOURCE)) return;
    const blocks = Buffer.alloc(8);
    blocks.writeBigUInt64LE(BigInt(deviceBytes) / fstatfs(top).blockSize);
    resizeIoctl(top, RESIZE.EXT4_IOC_RESIZE_FS, blocks);
  },
};

const xfs: Grower = {
  grow(top, deviceBytes) {
    const geometry = Buffer.alloc(XFS_GEOMETRY_BYTES);
    resizeIoctl(top, RESIZE.XFS_IOC_FSGEOMETRY_V1, geometry);
    const blocks = BigInt(deviceBytes) / BigInt(geometry.readUInt32LE(0));
    if (blocks <= geometry.readBigUInt64LE(32)) return;
    const growth = Buffer.alloc(XFS_GROWTH_BYTES);
    growth.writeBigUInt64LE(blocks, 0);
    growth.writeUInt32LE(geometry.readUInt32LE(28), 8);
    resizeIoctl(top, RESIZE.XFS_IOC_FSGROWFSDATA, growth);
  },
};

const btrfs: Grower = {
  refuse: (top, deviceBytes) =>
    deviceBytes >= BTRFS_SMALLEST || fillsDevice(top, deviceBytes)
      ? undefined
      : {
          reason: 'cannot-grow',
          why: `the kernel makes a btrfs no less than ${BTRFS_SMALLEST} bytes (256 MiB); ask for as much`,
        },
  grow(top, deviceBytes) {
    if (fillsDevice(top, deviceBytes)) return;
    const request = Buffer.alloc(BTRFS_ARGUMENTS_BYTES);
    request.write('1:max', BTRFS_NAME_AT);
    // Positive: a balance or the like is at work.
    if (resizeIoctl(top, RESIZE.BTRFS_IOC_RESIZE, request) === 0) return;
    const message = 'the btrfs is being balanced or resized by somebody else; wait for the end of that';
    throw new MountError({ reason: 'busy', message, rolledBack: false });
  },
};

/** Its size as statfs(2) shows it is that of its devices, in whole blocks. */
function fillsDevice(top: Fd, deviceBytes: number): boolean {
  const { blocks, blockSize } = fstatfs(top);
  return blocks >= BigInt(deviceBytes) / blockSize;
}

export const GROWERS: Readonly<Record<string, Grower>> = { ext2: ext, ext3: ext, ext4: ext, xfs, btrfs };

const NEVER_WRITTEN = 'it is made once and never written; make a larger image';

/** What there is to say of the others. */
export const WHY_NOT: Readonly<Record<string, string>> = {
  squashfs: NEVER_WRITTEN,
  erofs: NEVER_WRITTEN,
  iso9660: NEVER_WRITTEN,
  cramfs: NEVER_WRITTEN,
  romfs: NEVER_WRITTEN,
  tmpfs: 'it has no device; remount it with a larger size=',
  overlay: 'it is as large as the filesystem of its upperdir; grow that one',
  nfs: 'its size is the matter of its server',
  nfs4: 'its size is the matter of its server',
};

function hasCapability(bit: number): boolean {
  const [, effective = '0'] =
    /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 1n;
}
