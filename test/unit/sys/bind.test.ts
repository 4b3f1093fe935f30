// Calls bound through libc: errno, rendering, encoding. The calls are real, and fail without any privilege.
import { closeSync, fstatSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { expect } from 'chai';
import {
  address,
  dirfd,
  fd,
  flags,
  int,
  libcAddress,
  memory,
  nothing,
  oneOf,
  renderFlags,
  syscall,
  text,
} from '../../../src/sys/bind.ts';
import { AT_FDCWD, FSCONFIG, MOUNT_ATTR, O, OPEN_TREE } from '../../../src/sys/constants.ts';
import { SyscallError } from '../../../src/sys/errors.ts';
import { Fd } from '../../../src/sys/fd.ts';
import { encodeMountAttr, encodeOpenHow } from '../../../src/sys/structs.ts';
import * as calls from '../../../src/sys/syscalls.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';

describe('a bound system call', () => {
  it('returns what the kernel returned', () => {
    using directory = temporaryDirectory();
    calls.mkdirat(AT_FDCWD, directory.at('made'), 0o700);
    using opened = calls.openat2(AT_FDCWD, directory.at('made'), {
      flags: O.O_DIRECTORY,
      mode: 0,
      resolve: 0,
    });
    expect(fstatSync(opened.number).isDirectory()).to.equal(true);
  });

  it('throws the errno of the call', () => {
    expect(errnoOf(() => calls.mkdirat(AT_FDCWD, '/proc', 0))).to.equal('EEXIST');
    expect(errnoOf(() => calls.mkdirat(AT_FDCWD, '/missing/directory', 0))).to.equal('ENOENT');
    expect(errnoOf(() => calls.unlinkat(AT_FDCWD, '/proc/version/x', 0))).to.equal('ENOTDIR');
  });

  it('keeps the errno of each call of a long row of failing ones', () => {
    for (let i = 0; i < 500; i++) {
      const [path, errno] = i % 2 ? ['/proc', 'EEXIST'] : ['/missing/directory', 'ENOENT'];
      expect(errnoOf(() => calls.mkdirat(AT_FDCWD, path, 0))).to.equal(errno);
    }
  });

  it('reports a call that the kernel does not have', () => {
    const unheardOf = syscall('unheard_of', 100_000, [int], nothing);
    expect(() => unheardOf(1))
      .to.throw(SyscallError, 'unheard_of(1) = ENOSYS')
      .with.property('errno', constants.errno.ENOSYS);
  });

  it('refuses a NUL in a text', () => {
    expect(() => calls.mkdirat(AT_FDCWD, '/tmp/a\0b', 0)).to.throw(TypeError, 'NUL');
  });

  it('refuses a closed descriptor before the kernel sees a number', () => {
    const closed = new Fd(openSync('/', 'r'));
    closed[Symbol.dispose]();
    expect(() => calls.fstatfs(closed)).to.throw('closed');
  });

  it('has no number for an architecture that it does not know, and says so', () => {
    const architecture = Object.getOwnPropertyDescriptor(process, 'arch');
    Object.defineProperty(process, 'arch', { value: 'riscv64', configurable: true });
    try {
      expect(() => syscall('read', { x64: 0, arm64: 63 }, [], nothing)).to.throw(
        'read: no system call number for riscv64',
      );
    } finally {
      if (architecture) Object.defineProperty(process, 'arch', architecture);
    }
  });
});

describe('the rendering of a call', () => {
  it('shows open_tree as strace does', () => {
    const cloned = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC | OPEN_TREE.AT_RECURSIVE;
    expect(calls.openTree.render(AT_FDCWD, '/a "b"', cloned)).to.equal(
      'open_tree(AT_FDCWD, "/a \\"b\\"", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE)',
    );
  });

  it('shows a descriptor with what it is of', () => {
    using root = new Fd(openSync('/', 'r'));
    expect(calls.unlinkat.render(root, 'x', calls.AT_REMOVEDIR)).to.equal(
      `unlinkat(${root.number}</>, "x", AT_REMOVEDIR)`,
    );
  });

  it('shows a failed call whole in the error', () => {
    expect(() => calls.mkdirat(AT_FDCWD, '/missing/x', 0o750)).to.throw(
      'mkdirat(AT_FDCWD, "/missing/x", 488) = ENOENT',
    );
  });

  it('shows the attributes of mount_setattr and what openat2 resolves', () => {
    using root = new Fd(openSync('/', 'r'));
    const none = new Fd(openSync('/', 'r'));
    none[Symbol.dispose]();
    expect(
      thrownBy(() =>
        calls.mountSetattr(root, 0, { set: 0x100001, clear: 0x70, propagation: 1 << 18, usernsFd: 9999 }),
      ),
    )
      .to.contain(
        `mount_setattr(${root.number}</>, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY|MOUNT_ATTR_IDMAP, `,
      )
      .and.contain('propagation=MS_PRIVATE, userns_fd=9999}, 32)');
    expect(thrownBy(() => calls.openat2(root, '../x', { flags: O.O_PATH, mode: 0, resolve: 0x0c }))).to.equal(
      `openat2(${root.number}</>, "../x", {flags=O_PATH, resolve=RESOLVE_NO_SYMLINKS|RESOLVE_BENEATH}, 24) = EXDEV`,
    );
  });

  it('renders each kind of argument', () => {
    expect(int.render(-1)).to.equal('-1');
    expect(text.render(null)).to.equal('NULL');
    expect(address.render(0xfffn)).to.equal('0xfff');
    expect(memory().render(Buffer.alloc(5))).to.equal('{5 bytes}');
    expect(memory().render(null)).to.equal('NULL');
    expect(dirfd.render(AT_FDCWD)).to.equal('AT_FDCWD');
    expect(oneOf(FSCONFIG).render(6)).to.equal('FSCONFIG_CMD_CREATE');
    expect(oneOf(FSCONFIG).render(77)).to.equal('77');
    expect(flags(MOUNT_ATTR).render(3)).to.equal('MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID');
    const number = openSync('/', 'r');
    const handedOn = new Fd(number);
    expect(fd.render(handedOn)).to.equal(`${number}</>`);
    expect(text.render(`/proc/self/fd/${number}/x`)).to.equal(`"/proc/self/fd/${number}/x"</>`);
    handedOn.release();
    closeSync(number);
    expect(fd.render(handedOn)).to.equal('<closed fd>');
  });

  it('shows bits without a name in hexadecimal, up to the 32nd', () => {
    expect(renderFlags(0, MOUNT_ATTR)).to.equal('0');
    expect(renderFlags(0x1001, MOUNT_ATTR)).to.equal('MOUNT_ATTR_RDONLY|0x1000');
    expect(renderFlags(0x80000000, MOUNT_ATTR)).to.equal('0x80000000');
  });

  it('is made from encoded structures', () => {
    expect(encodeMountAttr({ set: 1, clear: 0, propagation: 0, usernsFd: 0 })).to.have.length(32);
    expect(encodeOpenHow({ flags: 0, mode: 0, resolve: 0 })).to.have.length(24);
  });
});

describe('an address of the C library', () => {
  it('is found, or its absence said', () => {
    expect(libcAddress('sleep') > 0n).to.equal(true);
    expect(() => libcAddress('no_such_function')).to.throw('no_such_function');
  });
});

function errnoOf(work: () => unknown): string | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof SyscallError) return error.code;
    throw error;
  }
  return undefined;
}

function thrownBy(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error('expected a failure');
}
