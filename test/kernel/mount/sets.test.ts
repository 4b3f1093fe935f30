import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { expect } from 'chai';
import { localEngine } from '../../../src/mount/engine.ts';
import { MountError } from '../../../src/mount/errors.ts';
import { kernelHere, type MountApi } from '../../../src/mount/kernel.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { operationsOn } from '../../../src/mount/operations.ts';
import { mountPlace, type TemporaryDirectory, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { mountTargets } from '../../support/leaks.ts';
import { maskedCalls, needRoot } from '../../support/need.ts';

// Where calls are masked, the engine finds its way by itself: that is what the run is about.
const APIS = maskedCalls.length > 0 ? [undefined] : (['modern', 'classic'] as const);

for (const api of APIS) {
  describe(`a set of mounts, by the ${api ?? 'remaining'} calls`, () => behavesAsSet(api));
}
const tmpfs = (target?: string): Mount => ({
  type: 'tmpfs',
  source: 'x',
  options: [],
  ...(target !== undefined && { target }),
});
const bind = (source: string, target?: string): Mount => ({ ...tmpfs(target), type: 'bind', source });

function behavesAsSet(api: MountApi | undefined): void {
  const operations = operationsOn(kernelHere({ api }));
  const atRun = () => mountTargets().filter(({ target }) => /^\/run(\/d|\/data)?$/.test(target));

  before(function () {
    needRoot(this, 'mounts');
  });

  /** A root with links, to be bound at `root` as the first of each set. */
  function withRoot(test: (place: TemporaryDirectory, mounted: () => string[]) => void): void {
    using place = mountPlace();
    writeFiles(place.path, {
      'image/run/': '',
      'image/var/': '',
      'image/etc/hosts': 'x',
      'data/file': 'data',
      'root/': '',
    });
    symlinkSync('/run', place.at('image/var/run'));
    symlinkSync('../../../../../../run', place.at('image/var/up'));
    symlinkSync('/nowhere', place.at('image/dangling'));
    symlinkSync('/proc/self/root', place.at('image/magic'));
    symlinkSync('loop', place.at('image/loop'));
    const mounted = () =>
      mountTargets()
        .map(({ target }) => target)
        .filter((target) => target.startsWith(`${place.path}/`))
        .map((target) => target.slice(place.path.length + 1));
    const before = atRun();
    try {
      test(place, mounted);
    } finally {
      operations.unmountRecursive({ target: { path: place.at('root') } });
    }
    // What a link out of the root would have led to: others may make something else there meanwhile.
    for (const name of ['data', 'd']) expect(existsSync(`/run/${name}`), name).to.equal(false);
    expect(atRun()).to.deep.equal(before);
  }

  const mountAll = (place: TemporaryDirectory, mounts: readonly Mount[], createTargets = false) =>
    operations.mountAll({
      mounts: [bind(place.at('image')), ...mounts],
      target: { path: place.at('root') },
      createTargets,
    });

  const resolved: { title: string; target: string; leadsTo: string }[] = [
    { title: 'a plain path', target: 'run', leadsTo: 'root/run' },
    { title: 'an absolute path', target: '/run', leadsTo: 'root/run' },
    { title: 'a path with dots', target: '../../var/./../run/', leadsTo: 'root/run' },
    { title: 'an absolute link', target: '/var/run', leadsTo: 'root/run' },
    { title: 'a link out of the root', target: '/var/up', leadsTo: 'root/run' },
    { title: 'a file', target: 'etc/hosts', leadsTo: 'root/etc/hosts' },
  ];
  for (const { title, target, leadsTo } of resolved) {
    it(`takes ${title} as a place inside the root`, () => {
      withRoot((place, mounted) => {
        const isFile = target === 'etc/hosts';
        mountAll(place, [isFile ? bind(place.at('data/file'), target) : tmpfs(target)]);
        expect(mounted()).to.deep.equal(['root', leadsTo]);
      });
    });
  }

  it('mounts on what the set itself has mounted', () => {
    withRoot((place, mounted) => {
      mountAll(place, [tmpfs('run'), bind(place.at('data'), 'run/data'), tmpfs('/var/run/data')], true);
      expect(mounted()).to.deep.equal(['root', 'root/run', 'root/run/data', 'root/run/data']);
    });
  });

  const refused: { title: string; target: string; message: RegExp; create?: boolean }[] = [
    { title: 'a missing place', target: 'var/missing', message: /does not exist; make it, or ask/ },
    { title: 'a place below a missing one', target: 'missing/too', message: /does not exist/ },
    { title: 'a dangling link', target: 'dangling', message: /does not exist/ },
    {
      title: 'a dangling link, though missing places may be made',
      target: 'dangling',
      message: /is a symbolic link/,
      create: true,
    },
    { title: 'a place below a file', target: 'etc/hosts/below', message: /not a directory/ },
    { title: 'a loop of links', target: 'loop/x', message: /too many symbolic links/ },
    { title: 'the root itself', target: '/var/..', message: /is the root of the set/ },
  ];
  for (const { title, target, message, create } of refused) {
    it(`refuses ${title}, and leaves nothing`, () => {
      withRoot((place, mounted) => {
        expect(() => mountAll(place, [tmpfs('run'), tmpfs(target)], create))
          .to.throw(MountError, message)
          .that.includes({ reason: 'bad-target', rolledBack: true });
        expect(mounted()).to.deep.equal([]);
        expect(existsSync(place.at('image/nowhere'))).to.equal(false);
      });
    });
  }

  it('follows no magic link of /proc', () => {
    withRoot((place, mounted) => {
      const proc = { type: 'proc', source: 'proc', target: '/proc', options: [] };
      const mount = () => mountAll(place, [proc, tmpfs('magic/run')], true);
      if (!maskedCalls.includes('openat2')) {
        expect(mount).to.throw(MountError, /too many symbolic links/);
        expect(mounted()).to.deep.equal([]);
      } else {
        // Read as a link like any other, it leads to the root of the set.
        mount();
        expect(mounted()).to.deep.equal(['root', 'root/proc', 'root/run']);
      }
    });
  });

  it('makes missing places when asked: directories, and files for files', () => {
    withRoot((place, mounted) => {
      mountAll(
        place,
        [bind(place.at('data'), 'a/b/c'), bind(place.at('data/file'), '/var/run/d/file')],
        true,
      );
      expect(mounted()).to.deep.equal(['root', 'root/a/b/c', 'root/run/d/file']);
      expect(readFileSync(place.at('root/run/d/file'), 'utf8')).to.equal('data');
      expect(statSync(place.at('image/run/d/file')).isFile()).to.equal(true);
    });
  });

  it('is undone in reverse when one fails, with the places that were made', () => {
    withRoot((place, mounted) => {
      const before = readdirSync(place.at('image'));
      const set = [
        tmpfs('a/b'),
        tmpfs('a/b/c'),
        bind(place.at('data/file'), 'x/file'),
        bind(place.at('missing'), 'run'),
      ];
      expect(() => mountAll(place, set, true))
        .to.throw(MountError, /missing does not exist/)
        .that.includes({ reason: 'source-not-found', rolledBack: true });
      expect(mounted()).to.deep.equal([]);
      expect(readdirSync(place.at('image'))).to.deep.equal(before);
    });
  });

  it('can be mounted any number of times, and is never changed', async () => {
    using place = mountPlace();
    mkdirSync(place.at('data'));
    writeFileSync(place.at('data/file'), 'x');
    const mounts = Object.freeze([
      Object.freeze({ ...tmpfs(), options: Object.freeze(['mode=755']) }),
      Object.freeze({ ...bind(place.at('data'), 'd'), options: Object.freeze(['ro']) }),
    ]);
    await using engine = localEngine({ api });
    for (const name of ['one', 'two']) {
      await engine.mountAll({
        mounts,
        target: { path: place.at(name) },
        create: 'directory',
        createTargets: true,
      });
      expect(readFileSync(place.at(`${name}/d/file`), 'utf8')).to.equal('x');
    }
    for (const name of ['one', 'two']) unmountCommand('--recursive', place.at(name));
  });
}
