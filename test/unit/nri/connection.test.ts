// The connection to the runtime, this test being the runtime: what containerd was seen to send, and what it never would.
import { expect } from 'chai';
import { connectToRuntime, type Plugin, type RuntimeState } from '../../../src/nri/connection.ts';
import { framed } from '../../../src/nri/mux.ts';
import { encodeMessage } from '../../../src/nri/ttrpc.ts';
import type { Container, PodSandbox } from '../../../src/rpc/generated/nri.ts';
import { CreateContainerRequest, StateChangeEvent } from '../../../src/rpc/generated/nri.ts';
import { Request, Response } from '../../../src/rpc/generated/ttrpc.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';
import { bytes, FROM_PLUGIN, FROM_RUNTIME, MOUNT, POD, STATE } from './captured.ts';
import { type FakeRuntime, fakeRuntime, type Peer } from './fake-runtime.ts';

interface Told {
  readonly states: RuntimeState[];
  readonly pods: PodSandbox[];
  readonly containers: Container[];
}

/** A plugin that remembers what it is told, and replaces the mounts whose source lies below /v. */
function listening(changes: Partial<Plugin> = {}): { plugin: Plugin; told: Told } {
  const told: Told = { states: [], pods: [], containers: [] };
  const plugin: Plugin = {
    synchronized: (state) => void told.states.push(state),
    runPodSandbox: async (pod) => void told.pods.push(pod),
    createContainer: async (_, container) => {
      told.containers.push(container);
      return container.mounts.filter(({ source }) => source.startsWith('/v'));
    },
    ...changes,
  };
  return { plugin, told };
}

/** Sends byte by byte, or all at once. */
type Send = (peer: Peer, hex: string) => void;
const SENDS: readonly (readonly [string, Send])[] = [
  ['at once', (peer, hex) => peer.write(bytes(hex))],
  [
    'byte by byte',
    (peer, hex) => {
      for (const byte of bytes(hex)) peer.write(Buffer.from([byte]));
    },
  ],
];

const lengthOf = (hex: string): number => hex.length / 2;
const expectSent = async (peer: Peer, hex: string) => expect(await peer.read(lengthOf(hex))).to.equal(hex);

/** As containerd does when a plugin connects. */
async function play(peer: Peer, send: Send = (one, hex) => one.write(bytes(hex))): Promise<void> {
  await expectSent(peer, FROM_PLUGIN.registerPlugin);
  send(peer, FROM_RUNTIME.configure);
  await expectSent(peer, FROM_PLUGIN.configured);
  send(peer, FROM_RUNTIME.synchronize);
  await expectSent(peer, FROM_PLUGIN.synchronized);
}

async function connected(runtime: FakeRuntime, plugin: Plugin) {
  const connecting = connectToRuntime({ socketPath: runtime.socket, name: 'idmap', index: '50', plugin });
  // Where it fails before a test looks.
  connecting.catch(() => undefined);
  const peer = await runtime.accept();
  return { connecting, peer };
}

describe('a connection to the runtime', () => {
  for (const [title, send] of SENDS) {
    it(`registers, and is told of pods and containers: ${title}`, async () => {
      using place = temporaryDirectory();
      await using runtime = await fakeRuntime(place.at('nri.sock'));
      const { plugin, told } = listening();
      const { connecting, peer } = await connected(runtime, plugin);
      await play(peer, send);
      using connection = await connecting;
      expect(connection.runtime).to.equal('nri-host 1.2.3');
      expect(told.states).to.deep.equal([STATE]);
      send(peer, FROM_RUNTIME.runPodSandbox);
      await expectSent(peer, FROM_PLUGIN.sandbox);
      expect(told.pods).to.deep.equal([POD]);
      send(peer, FROM_RUNTIME.createContainer);
      await expectSent(peer, FROM_PLUGIN.container);
      expect(told.containers.map(({ mounts }) => mounts.at(-1))).to.deep.equal([MOUNT]);
      peer.end();
      expect(await connection.ended).to.equal('the runtime has closed the connection');
    });
  }

  it('says why there is none', async () => {
    using place = temporaryDirectory();
    const { plugin } = listening();
    const options = { socketPath: place.at('nri.sock'), name: 'idmap', index: '50', plugin };
    const why = (more: object = {}) =>
      connectToRuntime({ ...options, ...more }).then(
        () => 'connected',
        ({ message }) => message.replace(place.path, ''),
      );
    expect(await why()).to.match(/^\/nri.sock: connect ENOENT/);
    await using _runtime = await fakeRuntime(place.at('nri.sock'));
    expect(await why({ timeoutMs: 20 })).to.equal(
      '/nri.sock: the runtime has not registered the plugin within 20 ms',
    );
  });

  it('fails with what the runtime says of the registration', async () => {
    using place = temporaryDirectory();
    await using runtime = await fakeRuntime(place.at('nri.sock'));
    const { connecting, peer } = await connected(runtime, listening().plugin);
    await peer.read(lengthOf(FROM_PLUGIN.registerPlugin));
    const refusal = Response.encode({
      status: { code: 2, message: 'invalid plugin index' },
      payload: Buffer.alloc(0),
    });
    peer.write(framed(2, encodeMessage({ stream: 1, type: 2, body: refusal.finish() })));
    expect(await connecting.catch((error: Error) => error.message)).to.equal('invalid plugin index');
    await peer.closed;
  });

  it('ends at a frame that cannot be one, at each stage, and only the connection does', async () => {
    const garbage = Buffer.alloc(64, 0xff);
    for (const stage of ['at first', 'registered'] as const) {
      using place = temporaryDirectory();
      await using runtime = await fakeRuntime(place.at('nri.sock'));
      const { connecting, peer } = await connected(runtime, listening().plugin);
      if (stage === 'registered') await play(peer);
      peer.write(garbage);
      const why =
        stage === 'registered'
          ? await (await connecting).ended
          : await connecting.catch(({ message }) => message);
      expect(why, stage).to.match(/a mux frame of 4294967295 bytes/);
      await peer.closed;
    }
  });

  /** The answer to a request of this method, as its status and payload. */
  async function answerTo(plugin: Plugin, method: string, payload: Uint8Array, timeoutNano = 2_000_000_000n) {
    using place = temporaryDirectory();
    await using runtime = await fakeRuntime(place.at('nri.sock'));
    const { connecting, peer } = await connected(runtime, plugin);
    await play(peer);
    using _connection = await connecting;
    const service = 'nri.pkg.api.v1alpha1.Plugin';
    const request = { service, method, payload: Buffer.from(payload), timeoutNano };
    const body = Request.encode(Request.create(request)).finish();
    peer.write(framed(1, encodeMessage({ stream: 99, type: 1, body })));
    const header = bytes(await peer.read(18));
    return Response.decode(bytes(await peer.read(header.readUInt32BE(8))));
  }

  it('answers an event that it did not ask for, and what it does not know', async () => {
    const { plugin, told } = listening();
    const stopped = StateChangeEvent.encode(StateChangeEvent.create({ event: 10 as 1, pod: POD }));
    expect((await answerTo(plugin, 'StateChange', stopped.finish())).status).to.equal(undefined);
    expect((await answerTo(plugin, 'Shutdown', Buffer.alloc(0))).status).to.equal(undefined);
    expect((await answerTo(plugin, 'UpdateContainer', Buffer.alloc(0))).status).to.deep.equal({
      code: 12,
      message: 'method UpdateContainer',
    });
    expect((await answerTo(plugin, 'CreateContainer', Buffer.from([0xff]))).status?.code).to.equal(3);
    expect(told.pods).to.deep.equal([]);
  });

  it('is told of a sandbox as older runtimes do', async () => {
    const { plugin, told } = listening();
    const ran = StateChangeEvent.encode(StateChangeEvent.create({ event: 1, pod: POD })).finish();
    expect((await answerTo(plugin, 'StateChange', ran)).status).to.equal(undefined);
    expect(told.pods).to.deep.equal([POD]);
  });

  it('fails what the runtime was about to do with the error of the plugin', async () => {
    const { plugin } = listening({
      createContainer: async () => {
        throw new Error('the volume is not there');
      },
    });
    const container = { id: 'c', podSandboxId: 's', name: 'main', state: 0, mounts: [] } as const;
    const request = CreateContainerRequest.encode({ pod: POD, container: { ...container, mounts: [] } });
    expect((await answerTo(plugin, 'CreateContainer', request.finish())).status).to.deep.equal({
      code: 2,
      message: 'the volume is not there',
    });
  });

  it('answers before the runtime loses patience, whatever the plugin does', async () => {
    const { plugin } = listening({ runPodSandbox: () => new Promise(() => undefined) });
    const payload = StateChangeEvent.encode(StateChangeEvent.create({ event: 1, pod: POD })).finish();
    const { status } = await answerTo(plugin, 'StateChange', payload, 40_000_000n);
    expect(status).to.deep.include({ code: 14 });
    expect(status?.message).to.match(/^not done within 30 ms/);
  });
});
