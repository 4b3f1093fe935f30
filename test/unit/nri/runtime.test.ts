// The plugin's side of NRI against containerd's: its Go code, which frames, splits and gives up as it does on a node.
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { Plugin, RuntimeState } from '../../../src/nri/connection.ts';
import { keepConnected } from '../../../src/nri/plugin.ts';
import type { Container, PodSandbox } from '../../../src/rpc/generated/nri.ts';
import { eventually, temporaryDirectory } from '../../support/fixtures.ts';
import { type MountOfSpec, nriHost, type Spec, startNriHost } from '../../support/nri-host.ts';
import { captureLog } from '../rpc/harness.ts';

const POD = { id: 'sandbox', name: 'web', uid: 'uid', namespace: 'default' };
const CONTAINER = { id: 'container', pod_sandbox_id: 'sandbox', name: 'main' };
const IDS = [{ containerID: 0, hostID: 131_072, size: 65_536 }];
const MAPPED = { uidMappings: IDS, gidMappings: IDS };

const bindAt = (destination: string, source = `/volumes${destination}`): MountOfSpec => ({
  ...{ destination, type: 'bind', source, options: ['rbind', 'rprivate', 'rw'] },
  ...MAPPED,
});
const specWith = (...mounts: readonly MountOfSpec[]): Spec => ({
  ...{ ociVersion: '1.2.0', mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }, ...mounts] },
  linux: {},
});

describe("a plugin of containerd's NRI", () => {
  let program: string;
  before(async function () {
    this.timeout('10m'); // The first run downloads the modules and compiles them.
    program = await nriHost(this);
  });

  /** A runtime with the plugin registered. */
  async function registered(stack: AsyncDisposableStack, changes: Partial<Plugin> = {}, timeoutMs = 30_000) {
    const place = stack.use(temporaryDirectory());
    const socket = place.at('nri.sock');
    const host = stack.use(await startNriHost(program, socket, { timeoutMs }));
    const { plugin, states } = connect(stack, socket, changes);
    await host.untilPlugins(1);
    return { host, plugin, states, socket };
  }

  function connect(stack: AsyncDisposableStack, socketPath: string, changes: Partial<Plugin>) {
    const states: RuntimeState[] = [];
    const plugin = stack.use(
      keepConnected({
        ...{ socketPath, name: 'idmap.csi.dev', index: '50', log: captureLog().log },
        plugin: {
          synchronized: (state) => void states.push(state),
          runPodSandbox: async () => undefined,
          createContainer: async () => [],
          ...changes,
        },
      }),
    );
    return { plugin, states };
  }

  it('is registered, and told of sandboxes and containers', async () => {
    await using stack = new AsyncDisposableStack();
    const pods: PodSandbox[] = [];
    const containers: Container[] = [];
    const { host, plugin } = await registered(stack, {
      runPodSandbox: async (pod) => void pods.push(pod),
      createContainer: async (_, container) => {
        containers.push(container);
        return [];
      },
    });
    expect(plugin.state()).to.deep.equal({ is: 'registered', runtime: 'nri-host 1.2.3' });
    const namespaces = [{ type: 'user', path: '/proc/4711/ns/user' }];
    expect(await host.runPodSandbox({ ...POD, pid: 4711, linux: { namespaces } })).to.include({
      error: undefined,
    });
    expect(pods).to.deep.equal([{ ...POD, pid: 4711, linux: { namespaces } }]);
    const { spec } = await host.createContainer(POD, CONTAINER, specWith(bindAt('/data')));
    expect(spec?.mounts.at(-1)).to.deep.equal(bindAt('/data'));
    expect(containers.map(({ name, mounts }) => [name, mounts.length])).to.deep.equal([['main', 2]]);
  });

  it('replaces mounts without their ID mappings, and leaves the others as they are', async () => {
    await using stack = new AsyncDisposableStack();
    const { host } = await registered(stack, {
      createContainer: async (_, { mounts }) => mounts.filter(({ destination }) => destination === '/b'),
    });
    const { spec } = await host.createContainer(
      POD,
      CONTAINER,
      specWith(bindAt('/a'), bindAt('/b'), bindAt('/b/c')),
    );
    const { uidMappings: _, gidMappings: __, ...plain } = bindAt('/b');
    const byDestination = new Map(spec?.mounts.map((mount) => [mount.destination, mount]));
    expect(byDestination.get('/a')).to.deep.equal(bindAt('/a'));
    expect(byDestination.get('/b')).to.deep.equal(plain);
    expect(byDestination.get('/b/c')).to.deep.equal(bindAt('/b/c'));
    expect([...byDestination.keys()]).to.have.members(['/proc', '/a', '/b', '/b/c']);
    const order = spec?.mounts.map(({ destination }) => destination) ?? [];
    expect(order.indexOf('/b')).to.be.lessThan(order.indexOf('/b/c'));
  });

  for (const count of [10, 30, 200, 2_000]) {
    it(`sends and takes ${count} mounts`, async () => {
      await using stack = new AsyncDisposableStack();
      const { host } = await registered(stack, {
        createContainer: async (_, { mounts }) => mounts.filter(({ type }) => type === 'bind'),
      });
      const mounts = Array.from({ length: count }, (_, i) => bindAt(`/at/${'x'.repeat(100)}/${i}`));
      const { spec, error } = await host.createContainer(POD, CONTAINER, specWith(...mounts));
      expect(error).to.equal(undefined);
      expect(spec?.mounts.filter(({ uidMappings }) => uidMappings !== undefined)).to.deep.equal([]);
      expect(spec?.mounts).to.have.length(count + 1);
      expect((await host.runPodSandbox(POD)).error).to.equal(undefined);
    });
  }

  it('fails a sandbox or container with its own words, and stays', async () => {
    await using stack = new AsyncDisposableStack();
    const { host } = await registered(stack, {
      runPodSandbox: async () => {
        throw new Error('volume data: no such source');
      },
    });
    for (const _ of ['once', 'again']) {
      expect((await host.runPodSandbox(POD)).error).to.match(/volume data: no such source/);
    }
    expect((await host.createContainer(POD, CONTAINER, specWith())).error).to.equal(undefined);
    expect(host.plugins()).to.equal(1);
  });

  it('that takes too long answers in time, and is not dropped', async () => {
    await using stack = new AsyncDisposableStack();
    const slow = Promise.withResolvers<void>();
    stack.defer(() => slow.resolve());
    const { host } = await registered(stack, { runPodSandbox: () => slow.promise }, 1_000);
    // In the words of the plugin: the runtime has not given up.
    expect((await host.runPodSandbox(POD)).error).to.match(/not done within \d+ ms; it goes on/);
    slow.resolve();
    expect((await host.runPodSandbox(POD)).error).to.equal(undefined);
    expect(host.plugins()).to.equal(1);
  });

  it('is told of all that runs, in as many parts as it takes', async () => {
    await using stack = new AsyncDisposableStack();
    const place = stack.use(temporaryDirectory());
    const host = stack.use(await startNriHost(program, place.at('nri.sock')));
    const pods = Array.from({ length: 3_000 }, (_, i) => ({
      ...{ ...POD, id: `s${i}`, uid: `uid-${i}` },
      // In all, more than the 4 MiB of a message.
      annotations: { filler: 'x'.repeat(2_000) },
    }));
    const containers = pods.map(({ id }, i) => ({ ...CONTAINER, id: `c${i}`, pod_sandbox_id: id, state: 3 }));
    await host.setState(pods, containers);
    const { states } = connect(stack, host.socket, {});
    await host.untilPlugins(1);
    await eventually('it is told', () => states.length > 0);
    expect(states).to.have.length(1);
    expect(states[0]?.pods.map(({ uid }) => uid)).to.deep.equal(pods.map(({ uid }) => uid));
    expect(states[0]?.containers).to.have.length(3_000);
  });

  it('is registered again after a restart of the runtime, and by its own end not any more', async () => {
    await using stack = new AsyncDisposableStack();
    const place = stack.use(temporaryDirectory());
    const socket = place.at('nri.sock');
    const { plugin } = connect(stack, socket, {});
    for (const _ of ['once', 'again']) {
      await using host = await startNriHost(program, socket);
      await host.untilPlugins(1);
      await eventually('registered', () => plugin.state().is === 'registered');
      await host[Symbol.asyncDispose]();
      await eventually('not registered', () => plugin.state().is === 'not-registered');
    }
    await using host = await startNriHost(program, socket);
    await host.untilPlugins(1);
    await plugin[Symbol.asyncDispose]();
    await delay(50);
    expect((await host.runPodSandbox(POD)).error).to.equal(undefined);
    await host.untilPlugins(0);
  });
});
