// Structures there and back, and what the kernel fills in against what Node says of the same file.
import { openSync, statfsSync, statSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { AT_FDCWD, STATX_ATTR_MOUNT_ROOT, STATX_MASK } from '../../../src/sys/constants.ts';
import { Fd } from '../../../src/sys/fd.ts';
import {
  decodeMountAttr,
  decodeOpenHow,
  decodeStatfs,
  encodeMountAttr,
  encodeOpenHow,
  STATFS_SIZE,
} from '../../../src/sys/structs.ts';
import { fstatfs, statx } from '../../../src/sys/syscalls.ts';

const word = fc.nat({ max: 0xffffffff });

describe('struct mount_attr', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.record({ set: word, clear: word, propagation: word, usernsFd: word }), (attr) => {
        expect(decodeMountAttr(encodeMountAttr(attr))).to.deep.equal(attr);
      }),
    );
  });

  it('has its fields where the kernel reads them', () => {
    const bytes = encodeMountAttr({ set: 1, clear: 2, propagation: 3, usernsFd: 0x01020304 });
    expect(bytes.toString('hex')).to.equal(
      `01${'00'.repeat(7)}02${'00'.repeat(7)}03${'00'.repeat(7)}0403020100000000`,
    );
  });
});

describe('struct open_how', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.record({ flags: word, mode: word, resolve: word }), (how) => {
        expect(decodeOpenHow(encodeOpenHow(how))).to.deep.equal(how);
      }),
    );
  });
});

describe('struct statx', () => {
  it('says of a file what stat says', () => {
    for (const path of [import.meta.filename, '/dev/null', '/proc/self/status', '/']) {
      const ours = statx(AT_FDCWD, path, 0, STATX_MASK.STATX_BASIC_STATS);
      const { ino, uid, gid, mode, dev } = statSync(path, { bigint: true });
      const device = (BigInt(ours.deviceMajor) << 8n) | BigInt(ours.deviceMinor);
      expect([ours.inode, ours.uid, ours.gid, ours.mode, device], path).to.deep.equal([
        ino,
        Number(uid),
        Number(gid),
        Number(mode),
        dev,
      ]);
    }
  });

  it('knows the root of a mount', () => {
    const attributes = (path: string) => statx(AT_FDCWD, path, 0, STATX_MASK.STATX_MNT_ID).attributes;
    expect(attributes('/proc') & STATX_ATTR_MOUNT_ROOT).to.equal(STATX_ATTR_MOUNT_ROOT);
    expect(attributes('/proc/self') & STATX_ATTR_MOUNT_ROOT).to.equal(0n);
  });
});

describe('struct statfs', () => {
  it('says of a filesystem what Node says', () => {
    using root = new Fd(openSync('/dev', 'r'));
    const ours = fstatfs(root);
    const { bsize, blocks, files } = statfsSync('/dev', { bigint: true });
    expect([ours.blockSize, ours.blocks, ours.files]).to.deep.equal([bsize, blocks, files]);
  });

  it('counts in fragments, or in blocks where the filesystem knows no fragments', () => {
    const buffer = Buffer.alloc(STATFS_SIZE);
    buffer.writeBigUInt64LE(4096n, 8);
    expect(decodeStatfs(buffer).blockSize).to.equal(4096n);
    buffer.writeBigUInt64LE(512n, 72);
    expect(decodeStatfs(buffer).blockSize).to.equal(512n);
  });
});
