// Names of sources: which lie below a root, and which are names of something else. As an ordinary user, on files.
import { readlinkSync, realpathSync, symlinkSync } from 'node:fs';
import { expect } from 'chai';
import { MountError } from '../../../src/mount/errors.ts';
import { ANYWHERE, type Sources, sourcesOf } from '../../../src/mount/source.ts';
import { filesystemSource } from '../../../src/mount/source-device.ts';
import { temporaryDirectory, writeFiles } from '../../support/fixtures.ts';

function reasonOf(work: () => unknown): string {
  try {
    work();
    return 'none';
  } catch (error) {
    if (error instanceof MountError) return error.reason;
    throw error;
  }
}

describe('sources without roots', () => {
  it('are what their names say to the kernel', () => {
    using sources = sourcesOf({});
    expect(sources).to.equal(ANYWHERE);
    for (const name of ['/srv/../etc', 'relative', '']) {
      expect(sources.reach(name)).to.equal(name);
      expect(sources.hold(name)).to.equal(undefined);
    }
  });
});

describe('sources with roots', () => {
  it('are resolved once, and stay what they were', () => {
    using directory = temporaryDirectory();
    writeFiles(directory.path, { 'a/file': '', 'b/file': '' });
    symlinkSync('a', directory.at('link'));
    using sources = sourcesOf({ sourceRoots: [{ path: directory.path }] });
    const reached = sources.reach(directory.at('link'));
    expect(readlinkSync(reached)).to.equal(realpathSync(directory.at('a')));
    symlinkSync('b', directory.at('other'));
    expect(sources.reach(directory.at('link'))).to.equal(reached);
    expect(sources.reach(directory.at('other'))).not.to.equal(reached);
  });

  it('have any root below /, and none below none', () => {
    using directory = temporaryDirectory();
    using all = sourcesOf({ sourceRoots: [{ path: '/' }] });
    expect(readlinkSync(all.reach(directory.path))).to.equal(directory.path);
    expect(readlinkSync(all.reach('/'))).to.equal('/');
    using none = sourcesOf({ sourceRoots: [] });
    expect(reasonOf(() => none.reach(directory.path))).to.equal('source-outside-roots');
  });

  it('refuse a NUL, whoever would cut the name there', () => {
    using sources = sourcesOf({ sourceRoots: [{ path: '/tmp' }] });
    expect(reasonOf(() => sources.reach('/tmp\0/../etc'))).to.equal('invalid-mount');
  });
});

describe('the source of a filesystem', () => {
  const paths: Sources = {
    hold(path) {
      throw new Error(`looked for ${path}`);
    },
    reach: (path) => path,
    reachPlace: (path) => path,
    directory(path) {
      throw new Error(`looked into ${path}`);
    },
    [Symbol.dispose]: () => undefined,
  };
  const isName = (type: string, source: string): boolean => {
    try {
      return filesystemSource(type, source, paths) === source;
    } catch {
      return false;
    }
  };

  const rows: readonly [type: string, source: string, isName: boolean][] = [
    ['tmpfs', 'tmpfs', true],
    ['tmpfs', '/any/label', true],
    ['overlay', '/any/label', true],
    ['proc', 'proc', true],
    ['nfs', 'server:/export', true],
    ['nfs4', '[fd00::1]:/export', true],
    ['cifs', '//server/share', true],
    ['ceph', 'user@fsid.fs=/', true],
    ['no-such-filesystem', 'tag', true],
    ['9p', '/run/socket', false],
    ['ext4', '/dev/sda1', false],
    ['no-such-filesystem', '/dev/sda1', false],
    // Paths from the directory that the tests run in.
    ['ext4', 'package.json', false],
    ['ext4', './package.json', false],
    ['ext4', 'src/../package.json', false],
    ['ext4', '../x', false],
    ['no-such-filesystem', 'src/main.ts', false],
  ];
  for (const [type, source, name] of rows) {
    it(`${source} of ${type} is ${name ? 'a name' : 'a path'}`, () => {
      expect(isName(type, source)).to.equal(name);
    });
  }
});
