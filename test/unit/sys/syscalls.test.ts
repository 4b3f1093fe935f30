// The table of system calls and the flags, against the headers of the C library and the kernel.
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import * as sets from '../../../src/sys/constants.ts';
import { SyscallError } from '../../../src/sys/errors.ts';
import { Fd } from '../../../src/sys/fd.ts';
import * as calls from '../../../src/sys/syscalls.ts';
import { needFile } from '../../support/need.ts';

interface Row {
  readonly name: string;
  readonly x64: number;
  readonly arm64: number;
}

/** The rows as the source has them: the numbers are nowhere to be asked for. */
function table(): Row[] {
  const source = readFileSync(join(import.meta.dirname, '../../../src/sys/syscalls.ts'), 'utf8');
  const rows = source.matchAll(/syscall\(\s*'(\w+)',\s*(?:(\d+)|\{ x64: (\d+), arm64: (\d+) \}),/g);
  return [...rows].map(([, name = '', both, x64, arm64]) => ({
    name,
    x64: Number(both ?? x64),
    arm64: Number(both ?? arm64),
  }));
}

/** `#define NAME 1`, `#define NAME 0x1`, or `NAME = 1` of an enum. */
function defined(header: string, name: string): number | undefined {
  const text = readFileSync(header, 'utf8');
  const [, value] = new RegExp(`\\b${name}\\s+=?\\s*\\(?(0x[0-9a-fA-F]+|\\d+)`).exec(text) ?? [];
  return value === undefined ? undefined : Number(value);
}

const HEADERS = [
  { arch: 'x64', path: '/usr/include/x86_64-linux-gnu/asm/unistd_64.h' },
  { arch: 'arm64', path: '/usr/include/asm-generic/unistd.h' },
] as const;

describe('the table of system calls', () => {
  it('is read whole by this test', () => {
    const source = readFileSync(join(import.meta.dirname, '../../../src/sys/syscalls.ts'), 'utf8');
    expect(table()).to.have.length([...source.matchAll(/= syscall\(/g)].length);
    expect(table()).to.have.length.greaterThan(10);
  });

  for (const { arch, path } of HEADERS) {
    it(`has the numbers of ${path} for ${arch}`, function () {
      needFile(this, path, 'the numbers are compared with this header');
      for (const row of table()) {
        const number = defined(path, `__NR_${row.name}`) ?? defined(path, `__NR3264_${row.name}`);
        // A call that is newer than the header is left to the tests that make it.
        if (number !== undefined) expect(row[arch], row.name).to.equal(number);
      }
      expect(
        table().filter(({ name }) => defined(path, `__NR_${name}`) !== undefined),
      ).to.have.length.greaterThan(10);
    });
  }
});

describe('the flags', () => {
  const compared = {
    MOUNT_ATTR: [sets.MOUNT_ATTR, 'linux/mount.h'],
    MOVE_MOUNT: [sets.MOVE_MOUNT, 'linux/mount.h'],
    FSCONFIG: [sets.FSCONFIG, 'linux/mount.h'],
    RESOLVE: [sets.RESOLVE, 'linux/openat2.h'],
    CLONE: [sets.CLONE, 'linux/sched.h'],
    STATX_MASK: [sets.STATX_MASK, 'linux/stat.h'],
  } as const;

  for (const [title, [set, header]] of Object.entries(compared)) {
    it(`${title} are those of <${header}>`, function () {
      const path = `/usr/include/${header}`;
      needFile(this, path, 'the flags are compared with this header');
      for (const [name, value] of Object.entries(set)) {
        const there = defined(path, name);
        if (there !== undefined) expect(value, name).to.equal(there);
      }
      expect(Object.keys(set).some((name) => defined(path, name) !== undefined)).to.equal(true);
    });
  }
});

describe('fsconfig', () => {
  it('is refused with its errno on what is no filesystem context, and finds no words there', () => {
    using file = new Fd(openSync('/', 'r'));
    expect(() => calls.fsconfig(file, { by: 'string', key: 'size', value: '1m' }))
      .to.throw(SyscallError, `fsconfig(${file.number}</>, FSCONFIG_SET_STRING, "size", "1m", 0) = EINVAL`)
      .with.property('kernelMessage', undefined);
  });
});
