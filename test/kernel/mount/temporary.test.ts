import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { type Engine, localEngine } from '../../../src/mount/engine.ts';
import { MountError } from '../../../src/mount/errors.ts';
import { cleanTempMounts, withTempMount } from '../../../src/mount/temporary.ts';
import { readonlyMounts } from '../../../src/mount/transforms.ts';
import { mountCommand, mountPlace, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { mountTargets } from '../../support/leaks.ts';
import { needRoot } from '../../support/need.ts';

const tmpfs = { type: 'tmpfs', source: 'x', options: [] } as const;
const isMounted = (at: string): boolean => mountTargets().some(({ target }) => target === at);

/** As the engine, but every unmount fails in this way before the deadline. */
const impatient = (engine: Engine): Engine => ({
  ...engine,
  unmountRecursive: (request) => engine.unmountRecursive(request, { timeoutMs: 100 }),
});

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.fail('did not fail'),
    (reason: unknown) => reason,
  );
}

describe('temporary mounts', () => {
  const engine = localEngine();

  before(function () {
    needRoot(this, 'mounts');
  });

  it('are there for the callback and gone after it, directory, lock and all', async () => {
    using place = mountPlace();
    const seen = await withTempMount(
      engine,
      [tmpfs],
      (root) => {
        writeFileSync(path.join(root, 'file'), 'x');
        expect(isMounted(root)).to.equal(true);
        mountCommand('-t', 'tmpfs', 'of the callback', root);
        return root;
      },
      { location: place.path, prefix: 'mine-' },
    );
    expect(path.dirname(seen)).to.equal(place.path);
    expect(path.basename(seen)).to.match(/^mine-\d+-[0-9a-f]+$/);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('are made in the directory of the system where nothing else is said', async () => {
    const seen = await withTempMount(engine, [tmpfs], (root) => root);
    expect(seen).to.match(/temporary-mount-/);
    expect(existsSync(seen)).to.equal(false);
    expect(existsSync(`${seen}.lock`)).to.equal(false);
  });

  it('are gone after a callback that fails, whose error is passed on', async () => {
    using place = mountPlace();
    const failure = new Error('of the callback');
    const use = () => Promise.reject(failure);
    expect(await failureOf(withTempMount(engine, [tmpfs], use, { location: place.path }))).to.equal(failure);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('leave nothing when the mount fails', async () => {
    using place = mountPlace();
    const mounts = [tmpfs, { type: 'bind', source: '/nonexistent', options: [] }];
    const failure = await failureOf(
      withTempMount(engine, mounts, () => expect.fail('called'), { location: place.path }),
    );
    expect(failure)
      .to.be.instanceOf(MountError)
      .that.includes({ reason: 'source-not-found', rolledBack: true });
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('show a snapshot read-only beside its writable mount', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'lower/a': 'a', 'upper/b': 'b', 'work/': '', 'temp/': '', 'live/': '' });
    const overlay = {
      type: 'overlay',
      source: 'o',
      options: [
        `lowerdir=${place.at('lower')}`,
        `upperdir=${place.at('upper')}`,
        `workdir=${place.at('work')}`,
      ],
    };
    await engine.mountAll({ mounts: [overlay], target: { path: place.at('live') } });
    try {
      await withTempMount(
        engine,
        readonlyMounts([overlay]),
        (root) => {
          expect(readdirSync(root)).to.deep.equal(['a', 'b']);
          expect(() => writeFileSync(path.join(root, 'c'), '')).to.throw(/EROFS/);
        },
        { location: place.at('temp') },
      );
    } finally {
      unmountCommand(place.at('live'));
    }
  });

  it('mount a volatile overlay, twice', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'lower/a': 'a', 'upper/': '', 'work/': '', 'temp/': '' });
    const options = [
      `lowerdir=${place.at('lower')}`,
      `upperdir=${place.at('upper')}`,
      `workdir=${place.at('work')}`,
      'volatile',
    ];
    const mounts = [{ type: 'overlay', source: 'o', options }];
    for (const content of ['1', '2']) {
      await withTempMount(engine, mounts, (root) => writeFileSync(path.join(root, 'b'), content), {
        location: place.at('temp'),
      });
    }
    expect(readFileSync(place.at('upper/b'), 'utf8')).to.equal('2');
  });

  it('delete nothing when they cannot be unmounted, say so, and are taken away later', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/precious': 'x', 'temp/': '' });
    const bind = { type: 'bind', source: place.at('source'), options: [] };
    const at = { location: place.at('temp') };
    let held = -1;
    let left = '';
    const failure = await failureOf(
      withTempMount(
        impatient(engine),
        [bind],
        (root) => {
          left = root;
          held = openSync(path.join(root, 'precious'), 'r');
        },
        at,
      ),
    );
    expect(failure).to.be.instanceOf(MountError).that.includes({ reason: 'busy', rolledBack: false });
    expect(failure).to.have.property('message').that.includes(`the temporary mount ${left} is left`);
    expect(isMounted(left)).to.equal(true);
    const stillBusy = await cleanTempMounts(impatient(engine), at);
    expect(stillBusy.removed).to.deep.equal([]);
    expect(stillBusy.left.map((one) => one.path)).to.deep.equal([left]);
    expect(isMounted(left)).to.equal(true);
    closeSync(held);
    expect(await cleanTempMounts(engine, at)).to.deep.equal({ removed: [left], left: [] });
    expect(readdirSync(place.at('temp'))).to.deep.equal([]);
    expect(readFileSync(place.at('source/precious'), 'utf8')).to.equal('x');
  });

  it('of a living process are not touched, of a killed one are taken away', async () => {
    using place = mountPlace();
    const owner = spawn(
      process.execPath,
      [path.join(import.meta.dirname, 'abandon-temporary.fixture.ts'), place.path],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let theirs = '';
    try {
      const [line] = await once(owner.stdout, 'data');
      theirs = String(line).trim();
      await withTempMount(
        engine,
        [tmpfs],
        async (ours) => {
          expect(await cleanTempMounts(engine, { location: place.path })).to.deep.equal({
            removed: [],
            left: [],
          });
          expect([isMounted(theirs), isMounted(ours)]).to.deep.equal([true, true]);
        },
        { location: place.path },
      );
    } finally {
      await kill(owner);
    }
    expect(isMounted(theirs)).to.equal(true);
    expect(await cleanTempMounts(engine, { location: place.path })).to.deep.equal({
      removed: [theirs],
      left: [],
    });
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('leave alone at clean-up what only looks like theirs', async () => {
    using place = mountPlace();
    writeFiles(place.path, {
      'temporary-mount-1-a/precious': 'no lock',
      'elsewhere/precious': 'x',
      'temporary-mount-2-b.lock': '',
      'temporary-mount-3-c.lock': { uid: 1234 },
      'temporary-mount-3-c/': '',
      'temporary-mount-4-d.lock': '',
      'temporary-mount-4-d/precious': 'not empty',
      'other.lock': '',
    });
    mkdirSync(place.at('temporary-mount-6-f.lock'));
    symlinkSync('elsewhere', place.at('temporary-mount-2-b'));
    symlinkSync('elsewhere/precious', place.at('temporary-mount-5-e.lock'));
    // Of a device that is not there: opening it fails.
    execFileSync('mknod', [place.at('temporary-mount-7-g.lock'), 'c', '10', '5']);
    execFileSync('mkfifo', [place.at('temporary-mount-8-h.lock')]);
    const { removed, left } = await cleanTempMounts(engine, { location: place.path });
    expect(removed).to.deep.equal([]);
    expect(left.map((one) => path.basename(one.path))).to.have.members([
      'temporary-mount-2-b',
      'temporary-mount-4-d',
    ]);
    expect(readdirSync(place.path)).to.have.length(13);
    expect(readFileSync(place.at('elsewhere/precious'), 'utf8')).to.equal('x');
    expect(readFileSync(place.at('temporary-mount-4-d/precious'), 'utf8')).to.equal('not empty');
  });

  it('are cleaned up by several at once, each by one', async () => {
    using place = mountPlace();
    for (let i = 0; i < 8; i++) {
      writeFileSync(place.at(`temporary-mount-9-${i}.lock`), '');
      mkdirSync(place.at(`temporary-mount-9-${i}`));
      mountCommand('-t', 'tmpfs', 'x', place.at(`temporary-mount-9-${i}`));
    }
    const all = await Promise.all(
      Array.from({ length: 4 }, () => cleanTempMounts(engine, { location: place.path })),
    );
    expect(all.flatMap(({ removed }) => removed)).to.have.length(8);
    expect(all.flatMap(({ left }) => left)).to.deep.equal([]);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });
});

async function kill(owner: ChildProcess): Promise<void> {
  const ended = once(owner, 'exit');
  owner.kill('SIGKILL');
  await ended;
}
