// What comes over the socket of the container runtime (NRI), damaged: recorded frames with changes in their bytes, and
// whole messages of damaged protobuf in frames that are right. The plugin answers or ends the connection, and does nothing
// else: an error that nobody catches would end the driver.
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import fc from 'fast-check';
import { originOf, unmapped } from '../../src/node/container-mounts.ts';
import { connectToRuntime, type Plugin } from '../../src/nri/connection.ts';
import { framed, PLUGIN_CONNECTION } from '../../src/nri/mux.ts';
import { encodeMessage, messageReader } from '../../src/nri/ttrpc.ts';
import { Response } from '../../src/rpc/generated/ttrpc.ts';
import { Code } from '../../src/rpc/status.ts';
import { cases } from '../support/cases.ts';
import { temporaryDirectory } from '../support/fixtures.ts';
import { bytes, FROM_PLUGIN, FROM_RUNTIME } from '../unit/nri/captured.ts';
import { type FakeRuntime, fakeRuntime, type Peer } from '../unit/nri/fake-runtime.ts';
import { damagedBytes } from './damage.ts';

const { configure, synchronize, runPodSandbox, createContainer } = FROM_RUNTIME;
const CALLS = [configure, synchronize, runPodSandbox, createContainer].map(bytes);
const HEADER_BYTES = 8;
/** The answer to our own call and Configure come as one piece. */
const ANSWER_BYTES = 18;
const MESSAGES = CALLS.flatMap((call, i) =>
  messageReader()(call.subarray((i === 0 ? ANSWER_BYTES : 0) + HEADER_BYTES)),
);

/** Asks of what it is told what the driver asks. */
const PLUGIN: Plugin = {
  synchronized: ({ containers }) => {
    for (const { mounts } of containers)
      for (const { source } of mounts) originOf(source, '/k/pods/x/v/mount', '/k');
  },
  runPodSandbox: async () => undefined,
  createContainer: async (_, { mounts }) =>
    mounts
      .filter(({ source }) => originOf(source, '/v/x', '/v') !== undefined)
      .map((mount) => unmapped(mount, { isReadOnly: false })),
};

/** A plugin that is registered, and the runtime's end of its connection. */
async function registered(runtime: FakeRuntime): Promise<{ peer: Peer; connection: Disposable }> {
  const connecting = connectToRuntime({
    socketPath: runtime.socket,
    name: 'idmap',
    index: '50',
    plugin: PLUGIN,
  });
  const peer = await runtime.accept();
  await peer.read(FROM_PLUGIN.registerPlugin.length / 2);
  peer.write(bytes(configure));
  await peer.read(FROM_PLUGIN.configured.length / 2);
  peer.write(bytes(synchronize));
  await peer.read(FROM_PLUGIN.synchronized.length / 2);
  return { peer, connection: await connecting };
}

describe('damaged frames of the runtime', () => {
  it('are answered, or end the connection: while it registers, and later', async () => {
    using place = temporaryDirectory();
    await using runtime = await fakeRuntime(place.at('nri.sock'));
    const pieces = fc.array(damagedBytes(CALLS), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.boolean(), async (sent, isEarly) => {
        if (isEarly) {
          const ending = new AbortController();
          const { signal } = ending;
          const connecting = connectToRuntime({
            ...{ socketPath: runtime.socket, name: 'idmap', index: '50', plugin: PLUGIN, signal },
          }).then(
            (connection) => connection[Symbol.dispose](),
            (error: unknown) => expect(error).to.be.instanceOf(Error),
          );
          const peer = await runtime.accept();
          for (const piece of sent) peer.write(piece);
          await turn();
          peer.end();
          await connecting;
          return;
        }
        const { peer, connection } = await registered(runtime);
        using _ = connection;
        for (const piece of sent) peer.write(piece);
        await turn();
        peer.end();
        await peer.closed;
      }),
      { numRuns: cases(300) },
    );
  });

  it('with damaged messages in them: INVALID_ARGUMENT or an answer, each, and the connection goes on', async () => {
    using place = temporaryDirectory();
    await using runtime = await fakeRuntime(place.at('nri.sock'));
    const { peer, connection } = await registered(runtime);
    using _ = connection;
    let stream = 101;
    const bodies = damagedBytes(MESSAGES.map(({ body }) => body));
    await fc.assert(
      fc.asyncProperty(bodies, async (body) => {
        stream += 2;
        peer.write(framed(PLUGIN_CONNECTION, encodeMessage({ stream, type: 1, body })));
        const answered = await answer(peer);
        expect(answered.stream).to.equal(stream);
        const code = Response.decode(answered.body).status?.code ?? Code.OK;
        expect(code).to.be.oneOf([Code.OK, Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED]);
      }),
      { numRuns: cases(500) },
    );
  });
});

/** A message of the plugin, in however many frames. */
async function answer(peer: Peer) {
  const read = messageReader();
  for (;;) {
    const header = bytes(await peer.read(HEADER_BYTES));
    const [message] = read(bytes(await peer.read(header.readUInt32BE(4))));
    if (message !== undefined) return message;
  }
}
