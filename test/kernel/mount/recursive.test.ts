import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, symlinkSync } from 'node:fs';
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { localEngine } from '../../../src/mount/engine.ts';
import { MountError } from '../../../src/mount/errors.ts';
import { kernelHere } from '../../../src/mount/kernel.ts';
import { lookup, mountsBelow } from '../../../src/mount/lookup.ts';
import { operationsOn } from '../../../src/mount/operations.ts';
import { openTarget } from '../../../src/mount/target.ts';
import { unmountTree } from '../../../src/mount/unmount/recursive.ts';
import {
  eventually,
  mountCommand,
  mountPlace,
  type TemporaryDirectory,
  unmountCommand,
} from '../../support/fixtures.ts';
import { mountTargets } from '../../support/leaks.ts';
import { needEveryCall, needRoot, needTool } from '../../support/need.ts';
import { VIEWS } from '../../support/views.ts';

const operations = operationsOn(kernelHere());
const tmpfs = { type: 'tmpfs', source: 'x', options: [] } as const;
const mountAt = (path: string) =>
  operations.mountAll({ mounts: [tmpfs], target: { path }, create: 'directory' });
const below = (path: string): string[] =>
  mountTargets()
    .map(({ target }) => target)
    .filter((target) => target.startsWith(`${path}/`));

/** A directory that is in use to the end of the block, or until it is let go. */
function holdOpen(path: string): Disposable {
  const held = new DisposableStack();
  held.adopt(openSync(path, 'r'), closeSync);
  return held;
}

async function failureOf(promise: Promise<unknown>): Promise<MountError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof MountError)) throw new Error(`not a MountError: ${error}`);
  return error;
}

describe('unmountRecursive', () => {
  before(function () {
    needRoot(this, 'mounts');
  });

  for (const view of VIEWS) {
    describe(`by ${view.by}`, () => {
      const unmount = (path: string, lazy = false) => {
        using target = openTarget({ path });
        return unmountTree(target, { lazy }, view);
      };

      it('takes away stacks and trees, deepest first, and nothing beside them', () => {
        using place = mountPlace();
        for (const name of ['t', 't/a', 't/a', 't/a/b', 'ta', 'u']) mountAt(place.at(name));
        expect(unmount(place.at('t'))).to.deep.equal(
          ['t/a/b', 't/a', 't/a', 't'].map((name) => place.at(name)),
        );
        expect(below(place.path)).to.deep.equal([place.at('ta'), place.at('u')]);
        for (const name of ['ta', 'u']) unmountCommand(place.at(name));
      });

      it('takes away what another mount of the tree hides', () => {
        using place = mountPlace();
        mountAt(place.at('t'));
        mkdirSync(place.at('t/sub'));
        mountAt(place.at('t/sub/deep'));
        mountAt(place.at('t/sub'));
        mountAt(place.at('t/sub/deep'));
        mountAt(place.at('t'));
        mountAt(place.at('t/above'));
        expect(unmount(place.at('t'))).to.deep.equal(
          ['t/above', 't', 't/sub/deep', 't/sub', 't/sub/deep', 't'].map((name) => place.at(name)),
        );
      });

      it('takes away what is below a directory that is no mount point', () => {
        using place = mountPlace();
        mkdirSync(place.at('d'));
        mountAt(place.at('d/a'));
        mountAt(place.at('d/b'));
        expect(unmount(place.at('d'))).to.deep.equal([place.at('d/b'), place.at('d/a')].toSorted());
      });

      it('leaves what a mount above hides from the target', () => {
        using place = mountPlace();
        mountAt(place.at('t'));
        mountAt(place.at('t/a'));
        mountCommand('-t', 'tmpfs', 'cover', place.path);
        mkdirSync(place.at('t'));
        expect(unmount(place.at('t'))).to.deep.equal([]);
        unmountCommand(place.path);
        expect(below(place.path)).to.have.length(2);
        expect(unmount(place.at('t'))).to.have.length(2);
      });

      it('follows no link', () => {
        using place = mountPlace();
        mountAt(place.at('real'));
        symlinkSync('real', place.at('link'));
        expect(unmount(place.at('link'))).to.deep.equal([]);
        expect(unmount(place.at('real'))).to.have.length(1);
      });

      it('goes on past what is busy, and says what is left', () => {
        using place = mountPlace();
        for (const name of ['t', 't/a', 't/b', 't/b/c']) mountAt(place.at(name));
        {
          using _held = holdOpen(place.at('t/b'));
          expect(() => unmount(place.at('t')))
            .to.throw(MountError, /2 of the mounts at and below .* are left: .*t\/b: .*in use/)
            .that.deep.includes({
              reason: 'busy',
              rolledBack: false,
              progress: {
                unmounted: [place.at('t/a'), place.at('t/b/c')],
                left: [place.at('t/b'), place.at('t')],
              },
            });
        }
        expect(unmount(place.at('t'))).to.deep.equal([place.at('t/b'), place.at('t')]);
      });

      it('takes away what is busy when it may be lazy', () => {
        using place = mountPlace();
        for (const name of ['t', 't/b']) mountAt(place.at(name));
        using _held = holdOpen(place.at('t/b'));
        expect(unmount(place.at('t'), true)).to.have.length(2);
        expect(below(place.path)).to.deep.equal([]);
      });

      it('takes away what is mounted with it in a peer group', () => {
        using place = mountPlace();
        mountAt(place.at('t'));
        mountCommand('--make-shared', place.at('t'));
        mkdirSync(place.at('t/peer'));
        mkdirSync(place.at('t/x'));
        mountCommand('--bind', place.at('t'), place.at('t/peer'));
        mountAt(place.at('t/x'));
        expect(below(place.path)).to.include(place.at('t/peer/x'));
        unmount(place.at('t'));
        expect(below(place.path)).to.deep.equal([]);
      });

      for (const forget of [false, true])
        it(`takes away a dead FUSE mount and what stands on it${forget ? ', later' : ''}`, async function () {
          needTool(this, 'bindfs', 'a FUSE server to kill');
          using place = mountPlace();
          mkdirSync(place.at('source/sub'), { recursive: true });
          mkdirSync(place.at('t'));
          // After its server's end FUSE answers from its cache, for as long as the server has said.
          const cached = forget ? 0 : 600;
          const options = ['-f', '-o', `entry_timeout=${cached},attr_timeout=${cached}`];
          const server = spawn('bindfs', [...options, place.at('source'), place.at('t')], {
            stdio: 'ignore',
          });
          const ended = once(server, 'exit');
          await eventually('it is mounted', () => below(place.path).length > 0);
          mountAt(place.at('t/sub'));
          server.kill('SIGKILL');
          await ended;
          const both = [place.at('t/sub'), place.at('t')];
          if (!forget) expect(unmount(place.at('t'))).to.deep.equal(both);
          else {
            expect(() => unmount(place.at('t'))).to.throw(MountError, /t\/sub: .*ENOTCONN/);
            expect(unmount(place.at('t'), true)).to.have.members(both);
          }
          expect(below(place.path)).to.deep.equal([]);
        });
    });
  }

  it('waits for what is busy, within the deadline', async () => {
    using place = mountPlace();
    for (const name of ['t', 't/a', 't/b']) mountAt(place.at(name));
    await using engine = processEngine({ processes: 1 });
    using held = holdOpen(place.at('t/a'));
    const target = { path: place.at('t') };
    // So that its process is there.
    await engine.lookup({ target });
    const failure = await failureOf(engine.unmountRecursive({ target }, { timeoutMs: 1_500 }));
    expect(failure).to.include({ reason: 'busy' });
    expect(failure.progress).to.deep.equal({
      unmounted: [place.at('t/b')],
      left: [place.at('t/a'), place.at('t')],
    });
    mountAt(place.at('t/b'));
    setTimeout(() => held[Symbol.dispose](), 120);
    const gone = await engine.unmountRecursive({ target, remove: 'directory' });
    expect(gone).to.have.members(['t', 't/a', 't/b'].map((name) => place.at(name)));
    expect(existsSync(place.at('t'))).to.equal(false);
  });

  it('is content where nothing is', async () => {
    using place = mountPlace();
    await using engine = localEngine();
    expect(await engine.unmountRecursive({ target: { path: place.at('missing/too') } })).to.deep.equal([]);
    expect(await engine.unmountRecursive({ target: { path: place.at('missing') } })).to.deep.equal([]);
  });

  it('says which of a stack are gone when one below is busy', async () => {
    using place = mountPlace();
    mountAt(place.at('t'));
    using held = holdOpen(place.at('t'));
    mountAt(place.at('t'));
    await using engine = localEngine();
    const failure = await failureOf(
      engine.unmount({ target: { path: place.at('t') }, all: true }, { timeoutMs: 700 }),
    );
    expect(failure).to.include({ reason: 'busy', rolledBack: false, unmounted: 1 });
    held[Symbol.dispose]();
    expect(await engine.unmount({ target: { path: place.at('t') }, all: true })).to.equal(1);
  });

  it('is `unmount --recursive` on the command line', () => {
    using place = mountPlace();
    for (const name of ['t', 't/a']) mountAt(place.at(name));
    const run = () =>
      execFileSync(process.execPath, ['src/main.ts', 'unmount', '--recursive', '--json', place.at('t')], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    expect(JSON.parse(run())).to.deep.equal({ unmounted: 2, targets: [place.at('t/a'), place.at('t')] });
    expect(run).to.throw(/nothing is mounted at .*\/t or below it/);
  });
});

describe('with 2,000 mounts', () => {
  before(function () {
    needRoot(this, 'mounts');
    needEveryCall(this, 'nothing to compare mountinfo with');
  });

  let place: TemporaryDirectory;
  beforeEach(() => {
    place = mountPlace();
    // A hundred in each group: half side by side, half one on another. All groups are copies of the first, each at a mount.
    const source = place.at('g0/all');
    mkdirSync(source, { recursive: true });
    const bind = { type: 'bind', source, options: ['bind'] };
    for (let j = 0; j < 100; j++) {
      const path = j % 2 ? source : place.at(`g0/all/${j}`);
      operations.mountAll({ mounts: [bind], target: { path }, create: 'directory' });
    }
    for (let i = 1; i < 20; i++) {
      mkdirSync(place.at(`g${i}`));
      mountCommand('--rbind', place.at('g0'), place.at(`g${i}`));
    }
  });
  afterEach(() => place[Symbol.dispose]());

  it('sees them alike in both ways, finds the one on top, and takes them all away', () => {
    const spec = { path: place.path };
    const both = VIEWS.map((view) =>
      mountsBelow(spec, view)
        .map(({ id }) => id)
        .toSorted((a, b) => a - b),
    );
    expect(both[0]).to.have.length(1 + 100 + 19 * 101);
    expect(both[0]).to.deep.equal(both.at(-1));

    const found = VIEWS.map((view) => lookup({ path: place.at('g7/all') }, view));
    expect(found[0]).to.include({ is: 'mount-point' });
    expect(found[0]).to.deep.equal(found.at(-1));

    using target = openTarget({ path: place.at('g0') });
    expect(unmountTree(target, { lazy: false })).to.have.length(100);
    for (let i = 1; i < 20; i++) {
      using group = openTarget({ path: place.at(`g${i}`) });
      expect(unmountTree(group, { lazy: false })).to.have.length(101);
    }
    expect(below(place.path)).to.deep.equal([]);
  });
});
