// Registration of the plugin with kubelet: found in kubelet's directory, asked, called, and told what became of it.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { NodeService } from '../../src/rpc/generated/csi.ts';
import { eventually, mountPlace, type TemporaryDirectory } from '../support/fixtures.ts';
import { goProgram } from '../support/go-tool.ts';
import { registerAt } from '../support/kubelet-registration.ts';
import { needRoot } from '../support/need.ts';
import { scaled } from '../support/time-scale.ts';
import { flagsOf, type Served, serve, sharedKubelet } from './serve.ts';

interface Registering extends AsyncDisposable {
  /** Kubelet's directory, and the socket in it. */
  readonly registry: string;
  readonly socket: string;
  readonly served: Served;
  /** The status of /readyz. */
  readyz(): Promise<number>;
  end(signal: NodeJS.Signals): Promise<number | string>;
}

async function startIn(place: TemporaryDirectory): Promise<Registering> {
  const served = serve([
    ...flagsOf(place.path),
    ...['--registration', 'on', '--registration-endpoint', `unix://${place.at('csi.sock')}`],
    ...['--metrics-address', '127.0.0.1:0'],
  ]);
  const end = (signal: NodeJS.Signals) => {
    served.child.kill(signal);
    return served.ended;
  };
  const saying = (what: string) => served.said.find((line) => line.includes(what));
  await eventually('the plugin is ready', () => saying('"ready"') !== undefined);
  const { address } = JSON.parse(saying('serving metrics') ?? '{}');
  const registry = place.at('kubelet', 'plugins_registry');
  return {
    registry,
    socket: join(registry, 'idmap.csi.dev-reg.sock'),
    served,
    readyz: async () =>
      (await fetch(`http://${address}/readyz`, { headers: { connection: 'close' } })).status,
    end,
    async [Symbol.asyncDispose]() {
      await end('SIGKILL');
    },
  };
}

const inodeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.ino;

describe('the plugin registers with kubelet', () => {
  before(function () {
    needRoot(this, 'the plugin mounts');
  });

  it('by a socket in its directory; is called where it says; ready once registered; gone with SIGTERM', async () => {
    using place = mountPlace();
    using _kubelet = sharedKubelet(place.path);
    await using plugin = await startIn(place);
    expect(await plugin.readyz()).to.equal(503);
    await eventually('its socket is there', () => existsSync(plugin.socket));
    const refused = inodeOf(plugin.socket);
    const { name, endpoint } = await registerAt(plugin.socket, 'NodeGetInfo failed');
    expect(name).to.equal('idmap.csi.dev');
    expect(await plugin.readyz()).to.equal(503);
    {
      using node = connect(NodeService, endpoint);
      expect(await node.nodeGetInfo({})).to.include({ nodeId: 'test' });
    }
    await eventually('the refused socket is gone, or another', () => inodeOf(plugin.socket) !== refused);
    await registerAt(plugin.socket);
    expect(await plugin.readyz()).to.equal(200);
    expect(await plugin.end('SIGTERM')).to.equal(0);
    expect(readdirSync(plugin.registry)).to.deep.equal([]);
  });

  it('again, after it was killed', async () => {
    using place = mountPlace();
    using _kubelet = sharedKubelet(place.path);
    {
      await using plugin = await startIn(place);
      await registerAt(plugin.socket);
    }
    expect(readdirSync(place.at('kubelet', 'plugins_registry'))).to.deep.equal(['idmap.csi.dev-reg.sock']);
    await using plugin = await startIn(place);
    await eventually('it listens', () => plugin.served.said.some((line) => line.includes('reg.sock')));
    await registerAt(plugin.socket);
    expect(await plugin.readyz()).to.equal(200);
  });

  it("by kubelet's own client", async function () {
    this.timeout('10m'); // The first run downloads kubelet's module and compiles it.
    const program = await goProgram(this, 'kubelet-registration');
    using place = mountPlace();
    using _kubelet = sharedKubelet(place.path);
    await using plugin = await startIn(place);
    await eventually('the socket is there', () => existsSync(plugin.socket));
    const register = async (problem: string) => {
      const { stdout } = await promisify(execFile)(program, [plugin.socket, problem, String(scaled(1))]);
      return JSON.parse(stdout);
    };
    expect(await register('')).to.deep.equal({
      type: 'CSIPlugin',
      name: 'idmap.csi.dev',
      endpoint: place.at('csi.sock'),
      versions: ['1.0.0'],
    });
    expect(await plugin.readyz()).to.equal(200);
    await register('no such driver');
    await eventually('it says so', () =>
      plugin.served.said.some((line) => line.includes('kubelet refuses: no such driver')),
    );
  });
});
