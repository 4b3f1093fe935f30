// Registration with kubelet over a real socket, this test being kubelet.
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { expect } from 'chai';
import { keepRegistered, type Registration } from '../../../src/registration/registration.ts';
import { eventually, type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';
import { registerAt } from '../../support/kubelet-registration.ts';
import { type CapturedLog, captureLog } from '../rpc/harness.ts';

const NAME = 'idmap.csi.dev';
const ENDPOINT = '/var/lib/kubelet/plugins/idmap.csi.dev/csi.sock';
const TIMING = { retryMs: 10, longestRetryMs: 40, checkMs: 10 };

interface Registering extends AsyncDisposable {
  readonly directory: string;
  readonly socket: string;
  readonly registration: Registration;
  readonly captured: CapturedLog;
  /** The waits before each new try, as the log has them. */
  waits(): unknown[];
}

function registering(place: TemporaryDirectory, changes: Partial<typeof TIMING> = {}): Registering {
  const directory = place.at('plugins_registry');
  const captured = captureLog();
  const options = { directory, driverName: NAME, endpoint: ENDPOINT, log: captured.log };
  const registration = keepRegistered({ ...options, timing: { ...TIMING, ...changes } });
  return {
    directory,
    socket: `${directory}/${NAME}-reg.sock`,
    registration,
    captured,
    waits: () =>
      captured
        .lines()
        .filter(({ message }) => message === 'not registered with kubelet')
        .map(({ retryMs }) => retryMs),
    [Symbol.asyncDispose]: () => registration[Symbol.asyncDispose](),
  };
}

describe('registration with kubelet', () => {
  it('tells kubelet who the driver is and where, and is done when kubelet says so', async () => {
    using place = temporaryDirectory();
    await using driver = registering(place);
    expect(driver.registration.isRegistered()).to.equal(false);
    expect(await registerAt(driver.socket)).to.deep.equal({
      type: 'CSIPlugin',
      name: NAME,
      endpoint: ENDPOINT,
      supportedVersions: ['1.0.0'],
    });
    expect(driver.registration.isRegistered()).to.equal(true);
    expect(driver.waits()).to.deep.equal([]);
  });

  it('answers again when kubelet has been restarted', async () => {
    using place = temporaryDirectory();
    await using driver = registering(place);
    for (const _ of ['once', 'again']) expect(await registerAt(driver.socket)).to.include({ name: NAME });
    expect(driver.registration.isRegistered()).to.equal(true);
  });

  it('makes a socket for root alone, in place of a stale one, and removes it at the end', async () => {
    using place = temporaryDirectory();
    mkdirSync(place.at('plugins_registry'));
    await leaveStale(place.at('plugins_registry', `${NAME}-reg.sock`));
    const stale = await socketAt(place.at('plugins_registry', `${NAME}-reg.sock`));
    {
      await using driver = registering(place);
      await eventually('the socket is another', () => !isSame(driver.socket, stale));
      await registerAt(driver.socket);
      expect(lstatSync(driver.socket).mode & 0o777).to.equal(0o600);
      expect(readdirSync(driver.directory)).to.deep.equal([`${NAME}-reg.sock`]);
    }
    expect(readdirSync(place.at('plugins_registry'))).to.deep.equal([]);
  });

  it('makes the socket anew after a refusal, waits longer each time, and begins anew after success', async () => {
    using place = temporaryDirectory();
    await using driver = registering(place);
    for (const round of ['first', 'second']) {
      for (const wait of [10, 20, 40, 40]) {
        const before = await socketAt(driver.socket);
        await registerAt(driver.socket, `${round}: NodeGetInfo failed`);
        expect(driver.registration.isRegistered()).to.equal(false);
        await eventually('the socket is another', () => !isSame(driver.socket, before));
        expect(driver.waits().at(-1)).to.equal(wait);
      }
      expect(driver.captured.lines().map(({ problem }) => problem)).to.include(
        `kubelet refuses: ${round}: NodeGetInfo failed`,
      );
      await registerAt(driver.socket);
      expect(driver.registration.isRegistered()).to.equal(true);
    }
  });

  it('makes the socket anew when somebody has removed it, and is not registered meanwhile', async () => {
    using place = temporaryDirectory();
    await using driver = registering(place);
    await registerAt(driver.socket);
    for (const removed of [driver.socket, driver.directory]) {
      rmSync(removed, { recursive: true });
      await eventually('not registered', () => !driver.registration.isRegistered());
      await registerAt(driver.socket);
      expect(driver.registration.isRegistered()).to.equal(true);
    }
    expect(driver.waits()).to.deep.equal([]);
  });

  it('tries again where the socket cannot be made', async () => {
    using place = temporaryDirectory();
    writeFileSync(place.at('plugins_registry'), 'in the way');
    await using driver = registering(place);
    await eventually('three tries', () => driver.waits().length >= 3);
    expect(driver.captured.text()).to.contain(`cannot listen on ${driver.socket}`);
    rmSync(place.at('plugins_registry'));
    await registerAt(driver.socket);
    expect(driver.registration.isRegistered()).to.equal(true);
  });

  it("leaves another's socket alone, before and after its own, and says so", async () => {
    using place = temporaryDirectory();
    mkdirSync(place.at('plugins_registry'));
    const path = place.at('plugins_registry', `${NAME}-reg.sock`);
    await using driver = await beside(path, async () => {
      const driver = registering(place);
      await eventually('two tries', () => driver.waits().length >= 2);
      expect(driver.captured.text()).to.contain('another process is listening there');
      return driver;
    });
    await registerAt(path);
    rmSync(path);
    await beside(path, async () => {
      await eventually('not registered', () => !driver.registration.isRegistered());
      expect(driver.captured.text()).to.contain('another process has put its socket in place of ours');
      expect(existsSync(path)).to.equal(true);
    });
    await registerAt(path);
    expect(driver.registration.isRegistered()).to.equal(true);
  });

  it('ends at once, also while it waits for its next try', async () => {
    using place = temporaryDirectory();
    const driver = registering(place, { retryMs: 2 ** 30, longestRetryMs: 2 ** 30 });
    await registerAt(driver.socket, 'no');
    await eventually('it waits', () => driver.waits().length === 1);
    await driver[Symbol.asyncDispose]();
    expect(existsSync(driver.socket)).to.equal(false);
  });

  it('refuses a directory whose path leaves no room for a socket', () => {
    const { log } = captureLog();
    const options = { driverName: NAME, endpoint: ENDPOINT, log };
    expect(() => keepRegistered({ ...options, directory: `/${'d'.repeat(100)}` })).to.throw(
      /^cannot register with kubelet by \/d+\/idmap.csi.dev-reg.sock: .* 107 at most/,
    );
  });
});

async function socketAt(path: string) {
  await eventually(`a socket ${path}`, () => existsSync(path));
  return lstatSync(path, { bigint: true });
}

function isSame(path: string, { ino, ctimeNs }: { ino: bigint; ctimeNs: bigint }): boolean {
  const now = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return now === undefined || (now.ino === ino && now.ctimeNs === ctimeNs);
}

/** A socket that nobody serves, as a killed driver leaves it. */
async function leaveStale(path: string): Promise<void> {
  const kept = `${path}.kept`;
  const server = await listenAt(kept);
  // Its end removes the name that it was bound to.
  renameSync(kept, path);
  await closed(server);
}

/** While another process, or so it looks, serves this path. */
async function beside<T>(path: string, work: () => Promise<T>): Promise<T> {
  const server = await listenAt(path);
  try {
    return await work();
  } finally {
    await closed(server);
  }
}

async function listenAt(path: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}

const closed = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
