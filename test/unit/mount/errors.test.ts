// How the engine fails.
import { constants } from 'node:os';
import { expect } from 'chai';
import { invalidMount, MOUNT_REASONS, MountError, toMountError } from '../../../src/mount/errors.ts';
import { SyscallError } from '../../../src/sys/errors.ts';

const failed = (errno: number) => new SyscallError({ syscall: 'fsopen', args: '"x"', errno });

describe('MountError', () => {
  it('is the same when it has crossed to another process', () => {
    const error = new MountError({ reason: 'busy', message: 'in use', rolledBack: true, errno: 'EBUSY' });
    expect(new MountError(JSON.parse(JSON.stringify(error.toInit())))).to.deep.include(error.toInit());
  });

  it('is made of any error, and one that is one already is kept', () => {
    const rows = [
      { error: failed(constants.errno.ENOSYS), is: { reason: 'kernel-unsupported', errno: 'ENOSYS' } },
      { error: failed(constants.errno.EPERM), is: { reason: 'not-permitted', errno: 'EPERM' } },
      { error: failed(constants.errno.EIO), is: { reason: 'mount-failed', message: 'fsopen("x") = EIO' } },
      ...['ENOMEM', 'EMFILE', 'EAGAIN', 'ENOSPC'].map((errno) => ({
        error: failed(constants.errno[errno as 'ENOMEM']),
        is: { reason: 'node-exhausted', errno },
      })),
      { error: new Error('plain'), is: { reason: 'mount-failed', message: 'plain', errno: undefined } },
      { error: 'text', is: { reason: 'mount-failed', message: 'text' } },
    ];
    for (const { error, is } of rows) {
      expect(toMountError(error, true)).to.include({ ...is, rolledBack: true, cause: error });
    }
    const kept = invalidMount('no');
    expect(toMountError(kept, false)).to.equal(kept);
  });

  it('says what the node is short of, and what to do, but not where that is said already', () => {
    expect(toMountError(failed(constants.errno.EMFILE), true).message).to.match(
      /^fsopen\("x"\) = EMFILE: too many open files; raise the limit/,
    );
    const explained = failed(constants.errno.ENOSPC).explain('too many; raise the limit of them');
    expect(toMountError(explained, true).message).to.equal(explained.message);
  });

  it('has each reason once', () => {
    expect(new Set(MOUNT_REASONS).size).to.equal(MOUNT_REASONS.length);
  });
});
