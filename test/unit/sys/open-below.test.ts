// Walking below a directory by hand, held against what openat2(2) makes of the same names.
import { fstatSync, symlinkSync } from 'node:fs';
import { expect } from 'chai';
import { AT_FDCWD, O, RESOLVE } from '../../../src/sys/constants.ts';
import { SyscallError } from '../../../src/sys/errors.ts';
import type { Fd } from '../../../src/sys/fd.ts';
import { openBelow, walkBelow } from '../../../src/sys/open-below.ts';
import { openat, openat2 } from '../../../src/sys/syscalls.ts';
import { type TemporaryDirectory, temporaryDirectory, writeFiles } from '../../support/fixtures.ts';

const LINKS: Readonly<Record<string, string>> = {
  inner: 'a',
  'a/sibling': '../b/file',
  'a/round': '../inner/../b',
  'a/twice': './/round/./file',
  absolute: '/b',
  'a/absolute-file': '/b/file',
  up: '..',
  'a/up-and-down': '../../root/b',
  'a/far-up': '../../../../../../b',
  circle: 'circle',
  broken: 'missing',
  'to-file': 'b/file',
};

const NAMES = [
  '.',
  'a',
  'a/.',
  './a//b-of-a',
  'b/file',
  'b/file/x',
  'missing',
  'a/missing/x',
  '..',
  'a/..',
  'a/../b/file',
  'a/../../root/b',
  ...Object.keys(LINKS),
  'inner/round/file',
  'inner/sibling',
  'to-file/x',
  'broken/x',
  'absolute/file',
  'up/root/b',
];

function tree(): TemporaryDirectory {
  const directory = temporaryDirectory();
  writeFiles(directory.at('root'), { 'a/b-of-a': '', 'b/file': '' });
  for (const [name, to] of Object.entries(LINKS)) symlinkSync(to, directory.at('root', name));
  return directory;
}

/** Which file it is, or the errno. */
function outcome(open: () => Fd): string {
  try {
    using fd = open();
    const { dev, ino } = fstatSync(fd.number);
    return `${dev}:${ino}`;
  } catch (error) {
    if (error instanceof SyscallError) return error.code;
    throw error;
  }
}

describe('walkBelow', () => {
  for (const [edge, resolve] of [
    ['refuse', RESOLVE.RESOLVE_BENEATH],
    ['stay', RESOLVE.RESOLVE_IN_ROOT],
  ] as const) {
    it(`finds what openat2 finds, and fails as that does (${edge})`, function () {
      using directory = tree();
      using root = openat(AT_FDCWD, directory.at('root'), O.O_PATH | O.O_DIRECTORY);
      for (const name of NAMES) {
        const how = { flags: O.O_PATH, mode: 0, resolve: resolve | RESOLVE.RESOLVE_NO_MAGICLINKS };
        const byKernel = outcome(() => openat2(root, name, how));
        if (byKernel === 'ENOSYS') this.skip();
        expect(
          outcome(() => walkBelow(root, name, edge)),
          name,
        ).to.equal(byKernel);
      }
    });
  }

  it('follows forty links, not forty-one', () => {
    using directory = temporaryDirectory();
    writeFiles(directory.path, { '0': '' });
    for (let i = 1; i <= 41; i++) symlinkSync(String(i - 1), directory.at(String(i)));
    using root = openat(AT_FDCWD, directory.path, O.O_PATH | O.O_DIRECTORY);
    expect(outcome(() => walkBelow(root, '40', 'refuse'))).to.match(/:/);
    expect(outcome(() => walkBelow(root, '41', 'refuse'))).to.equal('ELOOP');
  });

  it('never follows a magic link', () => {
    using root = openat(AT_FDCWD, '/proc', O.O_PATH | O.O_DIRECTORY);
    expect(outcome(() => walkBelow(root, 'self/root', 'refuse'))).to.equal('EXDEV');
    expect(outcome(() => walkBelow(root, 'self/cwd/package.json', 'refuse'))).to.equal('EXDEV');
  });

  it('leaves nothing open', () => {
    using directory = tree();
    using root = openat(AT_FDCWD, directory.at('root'), O.O_PATH | O.O_DIRECTORY);
    const next = () => {
      using probe = openat(root, '.', O.O_PATH);
      return probe.number;
    };
    const before = next();
    for (const name of NAMES) outcome(() => walkBelow(root, name, 'refuse'));
    expect(next()).to.equal(before);
  });
});

describe('openBelow', () => {
  it('follows no link at all', () => {
    using directory = tree();
    using root = openat(AT_FDCWD, directory.at('root'), O.O_PATH | O.O_DIRECTORY);
    for (const name of Object.keys(LINKS)) {
      expect(
        outcome(() => openBelow(root, name)),
        name,
      ).to.be.oneOf(['ELOOP', 'ENOTDIR']);
    }
    expect(outcome(() => openBelow(root, 'a'))).to.match(/:/);
  });
});
