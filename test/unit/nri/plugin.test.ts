// A plugin that stays registered, the runtime coming and going.
import { rmSync } from 'node:fs';
import { expect } from 'chai';
import { keepConnected, type RunningPlugin } from '../../../src/nri/plugin.ts';
import { eventually, type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';
import { captureLog } from '../rpc/harness.ts';
import { bytes, FROM_PLUGIN, FROM_RUNTIME } from './captured.ts';
import { type FakeRuntime, fakeRuntime, type Peer } from './fake-runtime.ts';

const NOTHING = { synchronized: () => undefined, runPodSandbox: async () => undefined };

function running(place: TemporaryDirectory) {
  const captured = captureLog();
  const socketPath = place.at('nri.sock');
  const plugin = keepConnected({
    ...{ socketPath, name: 'idmap', index: '50', log: captured.log, retryMs: 5, longestRetryMs: 20 },
    plugin: { ...NOTHING, createContainer: async () => [] },
  });
  return { plugin, captured, socketPath };
}

async function register(runtime: FakeRuntime): Promise<Peer> {
  const peer = await runtime.accept();
  await peer.read(FROM_PLUGIN.registerPlugin.length / 2);
  peer.write(bytes(FROM_RUNTIME.configure));
  await peer.read(FROM_PLUGIN.configured.length / 2);
  peer.write(bytes(FROM_RUNTIME.synchronize));
  return peer;
}

const until = (plugin: RunningPlugin, is: string) => eventually(is, () => plugin.state().is === is);

describe('a plugin that stays registered', () => {
  it('waits for a runtime that is not there, and says so once', async () => {
    using place = temporaryDirectory();
    const { plugin, captured, socketPath } = running(place);
    await using _plugin = plugin;
    await plugin.tried;
    expect(plugin.state()).to.include({ is: 'not-registered', lostMs: undefined });
    expect(plugin.state())
      .to.have.property('because')
      .that.matches(/ENOENT/);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(captured.lines()).to.have.length(1);
    await using runtime = await fakeRuntime(socketPath);
    await register(runtime);
    await until(plugin, 'registered');
    expect(plugin.state()).to.deep.equal({ is: 'registered', runtime: 'nri-host 1.2.3' });
  });

  it('registers again when the runtime has been restarted', async () => {
    using place = temporaryDirectory();
    const { plugin, socketPath } = running(place);
    await using _plugin = plugin;
    for (const _ of ['once', 'again']) {
      await using runtime = await fakeRuntime(socketPath);
      await register(runtime);
      await until(plugin, 'registered');
      await runtime[Symbol.asyncDispose]();
      await until(plugin, 'not-registered');
      expect(plugin.state()).to.have.property('lostMs').that.is.a('number');
      rmSync(socketPath, { force: true });
    }
  });

  it('connects anew after bytes that mean nothing', async () => {
    using place = temporaryDirectory();
    await using runtime = await fakeRuntime(place.at('nri.sock'));
    const { plugin, captured } = running(place);
    await using _plugin = plugin;
    (await register(runtime)).write(Buffer.alloc(8, 0xff));
    await register(runtime);
    await until(plugin, 'registered');
    expect(captured.text()).to.contain('mux frame of 4294967295 bytes');
  });

  it('ends at once: registered, while it registers, and while it waits', async () => {
    using place = temporaryDirectory();
    await running(place).plugin[Symbol.asyncDispose]();
    await using runtime = await fakeRuntime(place.at('nri.sock'));
    const registering = running(place).plugin;
    const peer = await runtime.accept();
    await registering[Symbol.asyncDispose]();
    await peer.closed;
    const registered = running(place).plugin;
    const other = await register(runtime);
    await registered.tried;
    await registered[Symbol.asyncDispose]();
    await other.closed;
    expect(registered.state().is).to.equal('not-registered');
  });
});
