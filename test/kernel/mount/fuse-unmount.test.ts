// Taking FUSE mounts away whose server is well, dead, or does not answer: within the deadline, by force if asked, and
// without hanging whoever asks.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { abortConnection } from '../../../src/mount/fuse/connection.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { openTarget } from '../../../src/mount/target.ts';
import { hasErrno } from '../../../src/sys/errors.ts';
import {
  eventually,
  isStopped,
  mountPlace,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { descendants, openDescriptors } from '../../support/leaks.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { injecting } from '../../support/strace.ts';
import { describeEngines, failureOf, mountAt, mountsIn, WITHOUT_LAYERS } from './engines.ts';
import { allGone, processesWith, scripts, serverOf } from './helpers.ts';

function tree(place: TemporaryDirectory): Mount {
  writeFiles(place.path, { 'tree/file': 'plain' });
  return { type: 'fuse.bindfs', source: place.at('tree'), options: [] };
}

/** What is cut off says so at close, or not, as its server's end goes. */
function close(file: number): void {
  try {
    closeSync(file);
  } catch (error) {
    if (!hasErrno(error, 'ENOTCONN', 'ECONNABORTED')) throw error;
  }
}

/** A server that from now on answers nobody. */
async function stopServer(target: string): Promise<number> {
  const pid = await serverOf(target);
  process.kill(pid, 'SIGSTOP');
  await eventually('all threads of the server are stopped', () => isStopped(pid));
  return pid;
}

/** A process that asks the filesystem, and waits for its answer. */
async function asking(path: string): Promise<ChildProcess> {
  const child = spawn('stat', ['-f', path], { stdio: 'ignore' });
  await eventually('it waits for the server', () =>
    /request_wait_answer|fuse/.test(readFileSync(`/proc/${child.pid}/wchan`, 'utf8')),
  );
  return child;
}

describeEngines(
  'unmount of FUSE',
  (bench) => {
    before(function () {
      needTool(this, 'bindfs', 'it is mounted with here');
    });

    const mounted = async (place: TemporaryDirectory): Promise<string> => {
      await bench.mount(tree(place), place.at('target'));
      return place.at('target');
    };

    it('whose server was killed', async () => {
      using place = mountPlace();
      const target = await mounted(place);
      process.kill(await serverOf(target), 'SIGKILL');
      await allGone(target);
      expect(() => readdirSync(target)).to.throw('ENOTCONN');
      expect(await bench.engine.lookup({ target: { path: target } })).to.have.nested.property(
        'mount.target',
        target,
      );
      expect(await bench.engine.unmount({ target: { path: target } })).to.equal(1);
      expect(mountsIn(target)).to.equal(0);
    });

    it('whose server is stopped and used by nobody', async () => {
      using place = mountPlace();
      const target = await mounted(place);
      const server = await stopServer(target);
      expect(await bench.unmount(target)).to.equal(1);
      expect(mountsIn(target)).to.equal(0);
      process.kill(server, 'SIGCONT');
      await allGone(target);
    });

    it('whose server is stopped and waited for is busy, and goes by force', async () => {
      using place = mountPlace();
      const target = await mounted(place);
      const server = await stopServer(target);
      const waiting = await asking(target);
      const ended = once(waiting, 'exit');

      const where = { path: target };
      const seen = await bench.engine.lookup({ target: where });
      expect(seen).to.have.nested.property('mount.target', target);
      await failureOf(bench.engine.unmount({ target: where }, { timeoutMs: 2_000 }), { reason: 'busy' });
      expect(mountsIn(target)).to.equal(1);
      expect(await bench.engine.unmount({ target: where, force: true })).to.equal(1);
      expect(mountsIn(target)).to.equal(0);
      // Freed, with an error.
      expect(await ended).to.deep.equal([1, null]);
      process.kill(server, 'SIGCONT');
      await allGone(target);
    });

    it('in use goes by force, and lazily', async () => {
      using place = mountPlace();
      for (const way of [{ force: true }, { lazy: true }]) {
        const target = await mounted(place);
        const file = openSync(`${target}/file`, 'r');
        await failureOf(bench.engine.unmount({ target: { path: target } }, { timeoutMs: 2_000 }), {
          reason: 'busy',
        });
        expect(await bench.engine.unmount({ target: { path: target }, ...way })).to.equal(1);
        expect(mountsIn(target)).to.equal(0);
        close(file);
        await allGone(target);
      }
    });

    it('by force leaves others alone, of FUSE or not', async () => {
      using place = mountPlace();
      const target = await mounted(place);
      await bench.mount({ ...tree(place), options: ['ro'] }, place.at('other'));
      await bench.mount({ type: 'tmpfs', source: 'plain', options: [] }, place.at('tmpfs'));
      const file = openSync(place.at('tmpfs/file'), 'w');
      expect(await bench.engine.unmount({ target: { path: target }, force: true })).to.equal(1);
      expect(readFileSync(place.at('other/file'), 'utf8')).to.equal('plain');
      await failureOf(
        bench.engine.unmount({ target: { path: place.at('tmpfs') }, force: true }, { timeoutMs: 700 }),
        { reason: 'busy' },
      );
      closeSync(file);
      await bench.unmount(place.at('tmpfs'));
      await bench.unmount(place.at('other'));
      await allGone(place.path);
    });

    it('by force leaves the next filesystem alone, which gets the number of one that has gone', async () => {
      using place = mountPlace();
      // The kernel gives the lowest number that is free: somebody else may have had it first.
      for (let isSame = false; !isSame; ) {
        const target = await mounted(place);
        const gone = mountAt(target);
        await bench.unmount(target);
        await allGone(target);
        await bench.mount(tree(place), place.at('next'));
        isSame = mountAt(place.at('next')).device === gone.device;
        using was = openTarget({ path: target });
        if (isSame) abortConnection(was, gone);
        expect(readFileSync(place.at('next/file'), 'utf8')).to.equal('plain');
        await bench.unmount(place.at('next'));
        await allGone(place.path);
      }
    });

    it('asks fusermount3 first, whatever the target is called', async () => {
      using place = mountPlace();
      const real = '/usr/bin/fusermount3';
      const programs = scripts(place, {
        fusermount3: `echo "$(pwd) $*" >> ${place.at('asked')}; exec ${real} "$@"`,
      });
      for (const name of ['plain', '-z', '-o,allow_other', 'a, b']) {
        await bench.mount(tree(place), place.at(name));
        expect(await bench.engine.unmount({ target: { path: place.at(name) }, programs })).to.equal(1);
        expect(mountsIn(place.at(name))).to.equal(0);
        const asked = readFileSync(place.at('asked'), 'utf8').trim().split('\n').at(-1);
        expect(asked).to.equal(`${place.path} -u -- ./${name}`);
      }
      await allGone(place.path);
    });

    it('does without fusermount3', async () => {
      using place = mountPlace();
      const target = await mounted(place);
      const programs = { directories: [place.at('nowhere')] };
      expect(await bench.engine.unmount({ target: { path: target }, programs })).to.equal(1);
      expect(mountsIn(target)).to.equal(0);
      await allGone(target);
    });

    it('does not wait for a fusermount3 that hangs longer than it may', async () => {
      using place = mountPlace();
      const target = await mounted(place);
      const programs = scripts(place, { fusermount3: 'sleep 1000' });
      const request = { target: { path: target }, programs };
      const error = await failureOf(bench.engine.unmount(request, { timeoutMs: 500 }), { reason: 'timeout' });
      expect(error.message).to.contain('unmount with force');
      expect(mountsIn(target)).to.equal(1);
      // What is left after its program has had its share of the time is enough for that.
      expect(await bench.engine.unmount({ ...request, lazy: true }, { timeoutMs: 10_000 })).to.equal(1);
      expect(mountsIn(target)).to.equal(0);
      await allGone(target);
    });

    it('takes one of a stack, and the kinds as they come', async () => {
      using place = mountPlace();
      const target = await mounted(place);
      await bench.mount({ type: 'tmpfs', source: 'above', options: [] }, target);
      expect(await bench.engine.unmount({ target: { path: target }, force: true })).to.equal(1);
      expect(mountAt(target).type).to.match(/^fuse/);
      expect(readFileSync(`${target}/file`, 'utf8')).to.equal('plain');
      expect(await bench.unmount(target)).to.equal(1);
      await allGone(target);
    });
  },
  WITHOUT_LAYERS,
);

describe('processes round a FUSE server', () => {
  const node = (...args: string[]) => spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const fixture = new URL('mounting.fixture.ts', import.meta.url).pathname;
  const command = new URL('../../../src/main.ts', import.meta.url).pathname;

  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    needTool(this, 'bindfs', 'it is mounted with here');
  });

  const engineProcesses = () =>
    descendants(process.pid).filter(({ command }) => command.includes('engine-process')).length;

  async function outcomeOf(child: ReturnType<typeof node>): Promise<{ status: unknown; said: string }> {
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    const [status] = await once(child, 'close');
    return { status, said };
  }

  for (const kind of ['localEngine', 'processEngine']) {
    it(`the server outlives a SIGKILL of the owner of its ${kind}, and keeps none of its descriptors`, async () => {
      using place = mountPlace();
      const { source } = tree(place);
      mkdirSync(place.at('target'));
      const owner = node(fixture, kind, source, place.at('target'));
      await once(owner.stdout, 'data');
      const server = await serverOf(place.at('target'));
      owner.kill('SIGKILL');
      await once(owner, 'close');
      await eventually('its engine has ended', () => engineProcesses() === 0);
      expect(processesWith(place.at('target'))).to.deep.equal([server]);
      expect(readFileSync(place.at('target/file'), 'utf8')).to.equal('plain');
      for (const line of openDescriptors(server)) expect(line).to.not.match(/socket:|memfd:|eventpoll/);
      unmountCommand(place.at('target'));
      await allGone(place.at('target'));
    });
  }

  it('a helper whose end nobody could see is ended at once, and nothing stays mounted', async function () {
    needTool(this, 'strace', 'it makes system calls fail');
    using place = mountPlace();
    const { source } = tree(place);
    mkdirSync(place.at('target'));
    const inject = injecting('pidfd_open', 'error=EMFILE');
    const mounting = [process.execPath, command, 'mount', '-t', 'fuse.bindfs', source, place.at('target')];
    const { status, said } = await outcomeOf(
      spawn('strace', [...inject, ...mounting], { stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    expect(status, said).to.equal(1);
    expect(said).to.match(/too many open files/);
    expect([processesWith(place.at('target')), mountsIn(place.at('target'))]).to.deep.equal([[], 0]);
  });

  it('the command line tells that it is busy, takes it away by force, and ends', async () => {
    using place = mountPlace();
    mkdirSync(place.at('target'));
    const { source } = tree(place);
    const target = place.at('target');
    const made = await outcomeOf(node(command, 'mount', '-t', 'fuse.bindfs', source, target));
    expect(made).to.deep.equal({ status: 0, said: '' });
    const server = await stopServer(target);
    const waiting = await asking(target);
    const ended = once(waiting, 'exit');
    const refused = await outcomeOf(node(command, 'unmount', target));
    expect(refused.status).to.equal(1);
    expect(refused.said).to.contain('is in use');
    const forced = await outcomeOf(node(command, 'unmount', '--force', target));
    expect(forced).to.deep.equal({ status: 0, said: '' });
    await ended;
    process.kill(server, 'SIGCONT');
    await allGone(target);
  });
});
