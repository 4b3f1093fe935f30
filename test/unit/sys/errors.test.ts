// A failed call as an error.
import { statSync } from 'node:fs';
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { expect } from 'chai';
import { errnoName, hasErrno, SyscallError } from '../../../src/sys/errors.ts';

const failed = (errno: number) => new SyscallError({ syscall: 'umount2', args: '"/x", 0', errno });

describe('SyscallError', () => {
  it('reads as the call, the errno by name, the words of the kernel and what it means here', () => {
    const error = new SyscallError({
      syscall: 'fsconfig',
      args: '7</>, FSCONFIG_SET_FLAG, "x"',
      errno: constants.errno.EINVAL,
      kernelMessage: 'overlay: Unknown parameter',
    });
    expect(error.message).to.equal(
      'fsconfig(7</>, FSCONFIG_SET_FLAG, "x") = EINVAL: overlay: Unknown parameter',
    );
    expect(error.explain('leave it out').message).to.equal(`${error.message}: leave it out`);
  });

  it('keeps all it carries when it is explained', () => {
    const init = { syscall: 'read', args: '3', errno: constants.errno.EIO, kernelMessage: 'broken' };
    expect(new SyscallError(init).explain('why')).to.deep.include({
      ...init,
      code: 'EIO',
      meaning: 'why',
      name: 'SyscallError',
    });
    expect(failed(1).explain('why').kernelMessage).to.equal(undefined);
  });
});

describe('an errno', () => {
  it('has its name, or its number where there is none', () => {
    expect(errnoName(constants.errno.ENOENT)).to.equal('ENOENT');
    expect(errnoName(15)).to.equal('ENOTBLK');
    expect(errnoName(117)).to.equal('EUCLEAN');
    expect(errnoName(4242)).to.equal('errno 4242');
  });

  it('that has two names has the one that Node uses', () => {
    expect(errnoName(constants.errno.EAGAIN)).to.equal('EAGAIN');
    expect(errnoName(constants.errno.EDEADLK)).to.equal('EDEADLK');
  });

  it('is called by us as by Node, so that one check serves both', () => {
    const known = new Set<number>(Object.values(constants.errno));
    const different = [...getSystemErrorMap()]
      .map(([number, [name]]) => ({ node: name, ours: errnoName(-number), number: -number }))
      .filter(({ number, node, ours }) => known.has(number) && node !== ours);
    expect(different).to.deep.equal([]);
  });
});

describe('hasErrno', () => {
  it('tells errors of ours and of Node alike', () => {
    expect(hasErrno(failed(constants.errno.EBUSY), 'EINVAL', 'EBUSY')).to.equal(true);
    expect(hasErrno(failed(constants.errno.EBUSY), 'EINVAL')).to.equal(false);
    try {
      statSync('/missing');
    } catch (error) {
      expect(hasErrno(error, 'ENOENT')).to.equal(true);
    }
  });

  it('knows both names of an errno that has two', () => {
    const { EAGAIN, EOPNOTSUPP } = constants.errno;
    expect(hasErrno(failed(EOPNOTSUPP), 'EOPNOTSUPP')).to.equal(true);
    expect(hasErrno(failed(EOPNOTSUPP), 'ENOTSUP')).to.equal(true);
    expect(hasErrno(failed(EAGAIN), 'EWOULDBLOCK')).to.equal(true);
  });

  it('is false for what carries none', () => {
    for (const other of [new Error('ENOENT'), undefined, null, 'ENOENT', { code: 'ENOENT' }]) {
      expect(hasErrno(other, 'ENOENT')).to.equal(false);
    }
  });
});
