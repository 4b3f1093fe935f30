// A driver that is killed while it makes a user namespace: the child is there, and may hold the driver's lock and
// socket. Its successor gets both within the time for which it tries.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { lockDirectory } from '../../../src/journal/lock.ts';
import { serveUnix } from '../../../src/rpc/server.ts';
import { eventually, type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';
import { descendants } from '../../support/leaks.ts';
import { needTool } from '../../support/need.ts';
import { captureLog } from '../../unit/rpc/harness.ts';
import { describeWays } from './ways.ts';

const FIXTURE = join(import.meta.dirname, 'driver.fixture.ts');

describeWays('a driver that is killed while it makes a user namespace', ({ without }) => {
  const spawns = without.includes('clone-pidfd');

  const isThere = (pid: number) => descendants(process.pid).some((one) => one.pid === pid);

  /** In the middle, in a process group of its own. */
  async function heldDriver({ path }: TemporaryDirectory): Promise<{ driver: ChildProcess; child: number }> {
    const driver = spawn(process.execPath, [FIXTURE, without.join(), path, 'held'], {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(driver.stdout as NodeJS.ReadableStream, 'data');
    return { driver, child: Number(line) };
  }

  /** Takes lock and socket, as the next driver does. */
  async function succeed({ path }: TemporaryDirectory): Promise<void> {
    using _lock = await lockDirectory(path);
    await using _server = await serveUnix({
      path: join(path, 'socket'),
      services: [],
      log: captureLog().log,
    });
  }

  /**
   * Its successor has both. The child must have been there after its driver's end, or this would show nothing: it lives a
   * second, which may be over on a busy machine. What was spawned ends with the pipe from the driver.
   */
  async function expectSuccession(
    end: (driver: ChildProcess) => void,
    ended: (directory: TemporaryDirectory) => void = () => undefined,
  ): Promise<void> {
    for (let outlived = false; !outlived; ) {
      using directory = temporaryDirectory();
      const { driver, child } = await heldDriver(directory);
      end(driver);
      await once(driver, 'exit');
      outlived = spawns || isThere(child);
      ended(directory);
      await succeed(directory);
      await eventually('its child is gone', () => !isThere(child));
    }
  }

  it('leaves lock and socket to its successor, after SIGKILL', () =>
    expectSuccession((driver) => driver.kill('SIGKILL')));

  it('leaves them so after SIGINT to its process group, which is handled once', () =>
    expectSuccession(
      (driver) => process.kill(-(driver.pid ?? 0), 'SIGINT'),
      (directory) => expect(readFileSync(directory.at('handled'), 'utf8')).to.equal('.'),
    ));

  // Where the namespace is from makes no difference to that, and each takes the second that a child lives.
  if (without.includes('pidfd-user-namespace')) return;

  it('leaves them so wherever it was killed', async function () {
    needTool(this, 'strace', 'it kills the process at a system call');
    const places = ['pidfd_send_signal', 'ioctl', 'waitid'].flatMap((call) =>
      [1, 2, 3].map((nth) => [call, nth] as const),
    );
    const killed = await Promise.all(
      places.map(async ([call, nth]) => {
        using directory = temporaryDirectory();
        const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${nth}`];
        const command = [process.execPath, FIXTURE, without.join(), directory.path, 'whole'];
        const strace = spawn('strace', ['-qq', '-o', '/dev/null', ...inject, ...command]);
        const [status, signal] = await once(strace, 'exit');
        if (status !== 0) expect(signal, `${call} #${nth}`).to.equal('SIGKILL');
        await succeed(directory);
        return signal;
      }),
    );
    expect(killed.filter((signal) => signal !== null)).to.have.length.greaterThan(2);
    await eventually('no process is left', () => descendants(process.pid).length === 0);
  });
});
