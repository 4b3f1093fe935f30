// What only the engine in child processes can do: go on when a filesystem hangs or a child dies.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import {
  eventually,
  type FuseMount,
  fuseMount,
  mountPlace,
  type TemporaryDirectory,
  writeFiles,
} from '../../support/fixtures.ts';
import { descendants, openDescriptors } from '../../support/leaks.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { failureOf, mountAt } from './engines.ts';

/** The engine's children of a process; one of theirs has their command line until it executes a program. */
const childrenOf = (pid: number): number[] =>
  descendants(pid)
    .filter(({ parent, command }) => parent === pid && command.includes('engine-process'))
    .map((child) => child.pid);
const children = () => childrenOf(process.pid);
const isAlive = (pid: number) =>
  existsSync(`/proc/${pid}`) && descendants(process.pid).some((p) => p.pid === pid);
const LOOKUP = { target: { path: '/proc' } };

describe('processEngine()', () => {
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
  });

  it('starts no process before it is needed, and no more than allowed', async () => {
    // One that is slow to start would get another beside it.
    await using engine = processEngine({ processes: 2, most: 2 });
    expect(children()).to.deep.equal([]);
    await Promise.all(Array.from({ length: 20 }, () => engine.lookup(LOOKUP)));
    expect(children()).to.have.length(2);
    const before = children();
    await Promise.all(Array.from({ length: 20 }, () => engine.lookup(LOOKUP)));
    expect(children()).to.deep.equal(before);
  });

  it('starts the first process ahead of its need where it is asked to, which then serves', async () => {
    await using engine = processEngine({ processes: 2, ahead: true });
    const [first, ...others] = children();
    expect([first === undefined, others.length]).to.deep.equal([false, 0]);
    await engine.lookup(LOOKUP);
    expect(children()).to.deep.equal([first]);
  });

  it('says what the node is short of where a process cannot be started, to those who wait too, and goes on', async function () {
    needTool(this, 'prlimit', 'limits the open files');
    await using engine = processEngine({ processes: 2, most: 2 });
    const files: number[] = [];
    const highest = Math.max(...readdirSync('/proc/self/fd').map(Number));
    const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    const limitTo = (count: string) =>
      execFileSync('prlimit', [`--pid=${process.pid}`, `--nofile=${count}:`]);
    limitTo(String(highest + 50));
    try {
      for (;;) files.push(openSync('/dev/null', 'r'));
    } catch {
      // No more.
    }
    const properties = { reason: 'node-exhausted', rolledBack: true } as const;
    const failures = Array.from({ length: 4 }, () => failureOf(engine.lookup(LOOKUP), properties));
    await Promise.all(failures).finally(() => {
      for (const file of files) closeSync(file);
      limitTo(limit ?? '');
    });
    expect(await engine.lookup(LOOKUP)).to.include({ is: 'mount-point' });
  });

  it('ends a process that was started ahead and that nobody has asked', async () => {
    const engine = processEngine({ processes: 2, ahead: true });
    await engine[Symbol.asyncDispose]();
    expect(children()).to.deep.equal([]);
  });

  it('answers each caller with its own answer, however many ask', async () => {
    using place = mountPlace();
    await using engine = processEngine({ processes: 3 });
    const names = Array.from({ length: 30 }, (_, i) => `${i}`);
    await Promise.all(
      names.map((name) =>
        engine.mountAll({
          mounts: [{ type: 'tmpfs', source: `of-${name}`, options: [] }],
          target: { path: place.at(name) },
          create: 'directory',
        }),
      ),
    );
    const found = await Promise.all(names.map((name) => engine.lookup({ target: { path: place.at(name) } })));
    expect(found.map((one) => one.is === 'mount-point' && one.mount.source)).to.deep.equal(
      names.map((name) => `of-${name}`),
    );
    const counts = await Promise.all(
      names.map((name) => engine.unmount({ target: { path: place.at(name) }, remove: 'directory' })),
    );
    expect(counts).to.deep.equal(names.map(() => 1));
  });

  it('gives its children no file descriptor of ours', async () => {
    const file = openSync(import.meta.filename, 'r');
    try {
      await using engine = processEngine({ processes: 1 });
      await engine.lookup(LOOKUP);
      const [child = 0] = children();
      const own = openDescriptors(child).filter((line) => !/^[012] /.test(line));
      expect(own.filter((line) => !/ (socket|anon_inode):/.test(line))).to.deep.equal([]);
    } finally {
      closeSync(file);
    }
  });

  it('goes on when an idle child has been killed', async () => {
    await using engine = processEngine({ processes: 2 });
    await engine.lookup(LOOKUP);
    const [child = 0] = children();
    process.kill(child, 'SIGKILL');
    await eventually('the child is reaped', () => !existsSync(`/proc/${child}`));
    expect(await engine.lookup(LOOKUP)).to.have.nested.property('mount.type', 'proc');
    expect(children()).to.have.length(1).and.not.include(child);
  });

  it('is not impressed by a Ctrl-C, which reaches its children too', async () => {
    await using engine = processEngine({ processes: 1 });
    await engine.lookup(LOOKUP);
    const [child = 0] = children();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(child, signal);
    expect(await engine.lookup(LOOKUP)).to.have.nested.property('mount.type', 'proc');
    expect(children()).to.deep.equal([child]);
  });

  it('ends its children when it is disposed', async () => {
    const engine = processEngine({ processes: 2 });
    await Promise.all([engine.lookup(LOOKUP), engine.lookup(LOOKUP)]);
    await engine[Symbol.asyncDispose]();
    expect(children()).to.deep.equal([]);
    await engine[Symbol.asyncDispose]();
  });

  it('does nothing more once it is disposed', async () => {
    const engine = processEngine({ processes: 1 });
    await engine.lookup(LOOKUP);
    await engine[Symbol.asyncDispose]();
    try {
      await failureOf(engine.lookup(LOOKUP), { reason: 'engine-lost', rolledBack: true });
      expect(children()).to.deep.equal([]);
    } finally {
      await engine[Symbol.asyncDispose]();
    }
  });

  it('begins nothing more when it is disposed while an unmount waits for its last user', async () => {
    using place = mountPlace();
    const engine = processEngine({ processes: 1 });
    const target = { path: place.at('target') };
    const mounts = [{ type: 'tmpfs', source: 'used', options: [] }];
    await engine.mountAll({ mounts, target, create: 'directory' });
    const file = openSync(place.at('target/file'), 'w');
    try {
      const unmounted = engine.unmount({ target });
      const failed = failureOf(unmounted, { reason: 'engine-lost' });
      await engine.lookup({ target }); // Comes after the first try.
      await engine[Symbol.asyncDispose]();
      await failed;
      expect(mountAt(target.path).source).to.equal('used');
    } finally {
      closeSync(file);
      await engine[Symbol.asyncDispose]();
    }
    await using another = processEngine({ processes: 1 });
    await another.unmount({ target });
  });
});

describe('processEngine() and a filesystem that hangs', () => {
  let place: TemporaryDirectory;
  let fuse: FuseMount;

  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    needTool(this, 'bindfs', 'a FUSE server is stopped');
  });
  beforeEach(async () => {
    place = mountPlace();
    writeFiles(place.path, { 'source/': '', 'fuse/': '' });
    fuse = await fuseMount(place.at('source'), place.at('fuse'));
  });
  afterEach(async () => {
    await fuse[Symbol.asyncDispose]();
    place[Symbol.dispose]();
  });

  const hung = () => ({ target: { path: fuse.path } });

  it('answers while it does not', async () => {
    await using engine = processEngine({ processes: 1 });
    expect((await engine.usage(hung())).bytes.total).to.be.greaterThan(0);
  });

  it('tells the caller within its deadline, and kills the child', async () => {
    await using engine = processEngine({ processes: 1 });
    await engine.lookup(LOOKUP);
    const [child = 0] = children();
    await fuse.hang();
    const error = await failureOf(engine.usage(hung(), { timeoutMs: 300 }), {
      reason: 'timeout',
      rolledBack: false,
    });
    expect(error.message).to.equal('usage had no answer within the deadline; its outcome is unknown');
    await eventually('the child is gone', () => !isAlive(child));
    expect(await engine.lookup(LOOKUP)).to.have.nested.property('mount.type', 'proc');
  });

  it('serves others meanwhile, and all of them where several hang', async () => {
    await using engine = processEngine({ processes: 2 });
    await fuse.hang();
    const waiting = [1, 2, 3].map(() =>
      failureOf(engine.usage(hung(), { timeoutMs: 700 }), { reason: 'timeout' }),
    );
    const one = failureOf(engine.usage(hung(), { timeoutMs: 700 }), { reason: 'timeout' });
    // Its turn comes when a hung one has been given up.
    expect(await engine.lookup(LOOKUP)).to.have.nested.property('mount.type', 'proc');
    await Promise.all([...waiting, one]);
    expect(await engine.lookup(LOOKUP)).to.have.nested.property('mount.type', 'proc');
    await eventually('those beyond the two are gone', () => children().length <= 2);
  });

  it('is not held up by one of two, whatever else is asked', async () => {
    await using engine = processEngine({ processes: 2 });
    await fuse.hang();
    const waiting = failureOf(engine.usage(hung()), {});
    let over = false;
    void waiting.then(() => {
      over = true;
    });
    const target = { path: place.at('target') };
    const mounts = [{ type: 'tmpfs', source: 'x', options: [] }];
    for (let i = 0; i < 5; i++) {
      await engine.mountAll({ mounts, target, create: 'directory' });
      expect(await engine.unmount({ target, remove: 'directory' })).to.equal(1);
    }
    expect(over).to.equal(false);
    await fuse.die();
    await waiting;
  });

  it('tells a caller whose turn never came that nothing was begun', async () => {
    // Without another beside it, after a while.
    await using engine = processEngine({ processes: 1, most: 1 });
    await fuse.hang();
    const first = failureOf(engine.usage(hung(), { timeoutMs: 2_000 }), { reason: 'timeout' });
    const error = await failureOf(engine.lookup(LOOKUP, { timeoutMs: 200 }), {
      reason: 'timeout',
      rolledBack: true,
    });
    expect(error.message).to.contain('lookup was not begun within the deadline');
    await first;
  });

  it('tells the caller when the child is killed in the middle, and goes on', async () => {
    await using engine = processEngine({ processes: 1 });
    await engine.lookup(LOOKUP);
    const [child = 0] = children();
    await fuse.hang();
    const lost = failureOf(engine.usage(hung()), { reason: 'engine-lost', rolledBack: false });
    process.kill(child, 'SIGKILL');
    expect((await lost).message).to.match(/^usage.* its process ended \(SIGKILL\)$/);
    expect(await engine.lookup(LOOKUP)).to.have.nested.property('mount.type', 'proc');
  });

  it('can be disposed, and tells whoever waits', async () => {
    const engine = processEngine({ processes: 1 });
    await fuse.hang();
    const working = failureOf(engine.usage(hung()), { reason: 'engine-lost' });
    const queued = failureOf(engine.lookup(LOOKUP), { reason: 'engine-lost', rolledBack: true });
    await engine[Symbol.asyncDispose]();
    await Promise.all([working, queued]);
    await eventually('its child is gone', () => children().length === 0);
  });

  it('finds a hung mount, and takes it away lazily', async () => {
    await using engine = processEngine({ processes: 1 });
    await fuse.hang();
    expect(await engine.lookup(hung()))
      .to.have.property('mount')
      .that.includes({ type: 'fuse', target: fuse.path });
    expect(await engine.unmount({ ...hung(), lazy: true, remove: 'directory' })).to.equal(1);
  });

  for (const path of ['/proc', undefined]) {
    it(`leaves no child when its owner is killed, ${path ? 'idle' : 'stuck in a call'}`, async () => {
      if (path === undefined) await fuse.hang();
      const owner = spawn(
        process.execPath,
        [join(import.meta.dirname, 'owner.fixture.ts'), path ?? fuse.path],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      );
      await said(owner, path ? 'answered' : 'ready');
      await eventually('it has a child', () => childrenOf(owner.pid ?? 0).length > 0);
      const orphans = childrenOf(owner.pid ?? 0);
      const ended = once(owner, 'exit');
      owner.kill('SIGKILL');
      await ended;
      await eventually('its children are gone', () => !orphans.some(isAlive));
    });
  }
});

/** Waits until a process has written this. */
async function said(child: ChildProcess, word: string): Promise<void> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await eventually(`the process says ${word}`, () => text.includes(word));
}
