// Calls over a real socket: codes, contexts, cancellation, deadlines, and the line that each call leaves.

import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { connect } from '../../../src/rpc/client.ts';
import type { CallContext } from '../../../src/rpc/context.ts';
import {
  NodeGetCapabilitiesRequest,
  NodePublishVolumeRequest,
  type NodePublishVolumeResponse,
  NodeService,
  NodeStageVolumeRequest,
  VolumeCapability,
} from '../../../src/rpc/generated/csi.ts';
import type { Observation } from '../../../src/rpc/service.ts';
import { Code, type CodeName, StatusError } from '../../../src/rpc/status.ts';
import { type NodeHandlers, rejection, serveNode } from './harness.ts';

describe('rpc service', () => {
  let stack: AsyncDisposableStack;
  beforeEach(() => {
    stack = new AsyncDisposableStack();
  });
  afterEach(() => stack.disposeAsync());

  const serve = (handlers: NodeHandlers, options?: Parameters<typeof serveNode>[2]) =>
    serveNode(stack, handlers, options);
  const publish = (fields: Partial<NodePublishVolumeRequest> = {}) =>
    NodePublishVolumeRequest.create({ volumeId: 'vol-1', targetPath: '/pods/t', ...fields });

  it('answers a call with what the handler gives', async () => {
    const { client } = await serve({
      nodeGetInfo: async () => ({
        nodeId: 'node-a',
        maxVolumesPerNode: 2n ** 60n,
        accessibleTopology: { segments: { zone: 'z' } },
      }),
    });
    expect(await client.nodeGetInfo({})).to.deep.equal({
      nodeId: 'node-a',
      maxVolumesPerNode: 2n ** 60n,
      accessibleTopology: { segments: { zone: 'z' } },
    });
  });

  it('hands the request over as it was sent', async () => {
    const seen: NodePublishVolumeRequest[] = [];
    const { client } = await serve({ nodePublishVolume: async (request) => record(seen, request) });
    const request = publish({
      readonly: true,
      volumeContext: { type: 'overlay' },
      volumeCapability: VolumeCapability.create({
        accessType: { $case: 'mount', value: { fsType: 'ext4', mountFlags: ['ro'], volumeMountGroup: '7' } },
        accessMode: { mode: 5 },
      }),
    });
    await client.nodePublishVolume(request);
    expect(seen).to.deep.equal([request]);
  });

  it('calls a handler as a method of the object it came in', async () => {
    class Node {
      readonly id = 'node-b';
      async nodeGetInfo() {
        return { nodeId: this.id, maxVolumesPerNode: 0n, accessibleTopology: undefined };
      }
    }
    const { client } = await serve(new Node());
    expect((await client.nodeGetInfo({})).nodeId).to.equal('node-b');
  });

  describe('failures', () => {
    for (const code of Object.keys(Code) as CodeName[]) {
      if (code === 'OK') continue;
      it(`carries ${code} and the message to the caller`, async () => {
        const { client } = await serve({
          nodePublishVolume: async () => {
            throw new StatusError({ code, message: `because of ${code}: ünïcode, 100%\nand a second line` });
          },
        });
        const error = await rejection(client.nodePublishVolume(publish()));
        expect(error)
          .to.be.instanceOf(StatusError)
          .that.includes({
            code,
            message: `because of ${code}: ünïcode, 100%\nand a second line`,
          });
      });
    }

    it('answers INTERNAL with the message of any other error', async () => {
      const { client, captured } = await serve({
        nodePublishVolume: async () => {
          throw new TypeError('not foreseen');
        },
      });
      const error = await rejection(client.nodePublishVolume(publish()));
      expect(error).to.include({ code: 'INTERNAL', message: 'not foreseen' });
      expect(captured.calls()[0]).to.include({ level: 'error', error: 'not foreseen' });
      expect(captured.calls()[0]?.stack).to.match(/service\.test\.ts/);
    });

    it('answers INTERNAL for a handler that throws at once, and for what is no error', async () => {
      const { client } = await serve({
        nodePublishVolume: () => {
          throw new Error('at once');
        },
        nodeStageVolume: () => Promise.reject('just text'),
      });
      expect(await rejection(client.nodePublishVolume(publish()))).to.include({
        code: 'INTERNAL',
        message: 'at once',
      });
      expect(await rejection(client.nodeStageVolume(NodeStageVolumeRequest.create()))).to.include({
        code: 'INTERNAL',
        message: 'just text',
      });
    });

    it('answers UNIMPLEMENTED for a method without a handler, and logs that too', async () => {
      const { client, captured } = await serve({});
      const error = await rejection(client.nodeGetCapabilities(NodeGetCapabilitiesRequest.create()));
      expect(error).to.include({
        code: 'UNIMPLEMENTED',
        message: '/csi.v1.Node/NodeGetCapabilities is not implemented',
      });
      expect(captured.calls().map(({ code }) => code)).to.deep.equal(['UNIMPLEMENTED']);
    });

    it('maps whatever a handler throws by the function it is given', async () => {
      const { client } = await serve(
        { nodePublishVolume: () => Promise.reject(new Error('busy')) },
        { toStatus: (error) => new StatusError({ code: 'ABORTED', message: `mapped: ${error}` }) },
      );
      expect(await rejection(client.nodePublishVolume(publish()))).to.include({
        code: 'ABORTED',
        message: 'mapped: Error: busy',
      });
    });

    it('logs where a defect came from, whatever code that function gives it', async () => {
      const { client, captured } = await serve(
        { nodeGetInfo: async () => (undefined as unknown as { nodeId: string }).nodeId as never },
        { toStatus: (error) => new StatusError({ code: 'UNAVAILABLE', message: String(error) }) },
      );
      expect(await rejection(client.nodeGetInfo({}))).to.include({ code: 'UNAVAILABLE' });
      const [line] = captured.calls();
      expect(line).to.include({ level: 'error', code: 'UNAVAILABLE' });
      expect(line?.stack).to.match(/^TypeError: .*\n +at /);
    });

    it('answers INVALID_ARGUMENT for bytes that are no request, and logs that too', async () => {
      const { socket, captured } = await serve({ nodeGetInfo: async () => expect.fail('it is called') });
      // A field that says it has 100 bytes, and does not.
      const requestSerialize = () => Buffer.from([0x0a, 100, 1]);
      using client = connect({ nodeGetInfo: { ...NodeService.nodeGetInfo, requestSerialize } }, socket);
      const error = await rejection(client.nodeGetInfo({}));
      expect(error).to.include({ code: 'INVALID_ARGUMENT' });
      expect(error)
        .to.have.property('message')
        .that.matches(/^the request cannot be read: /);
      const [line] = captured.calls();
      expect(line).to.include({ level: 'warn', code: 'INVALID_ARGUMENT' });
    });

    it('still answers when that function fails', async () => {
      const { client } = await serve(
        { nodePublishVolume: () => Promise.reject(new Error('busy')) },
        {
          toStatus: () => {
            throw new Error('mapping broke');
          },
        },
      );
      expect(await rejection(client.nodePublishVolume(publish()))).to.include({
        code: 'INTERNAL',
        message: 'mapping broke',
      });
    });

    it('answers and logs INTERNAL for a response that cannot be encoded', async () => {
      const { client, captured } = await serve({
        nodeGetInfo: async () => ({
          nodeId: 'n',
          maxVolumesPerNode: 2n ** 63n,
          accessibleTopology: undefined,
        }),
      });
      expect(await rejection(client.nodeGetInfo({}))).to.include({ code: 'INTERNAL' });
      expect(captured.calls()[0]).to.include({ code: 'INTERNAL' });
    });

    it('answers with a message that no header can hold as it is', async () => {
      const { client } = await serve({
        nodePublishVolume: () =>
          Promise.reject(new StatusError({ code: 'NOT_FOUND', message: `\ud800${'漢'.repeat(100_000)}` })),
      });
      const error = await rejection(client.nodePublishVolume(publish()));
      expect(error).to.include({ code: 'NOT_FOUND' });
      expect((error as StatusError).message).to.match(/^\ufffd漢{4095}…$/u);
    });
  });

  describe('context', () => {
    it('gives every call an id of its own, which its log lines carry', async () => {
      const contexts: CallContext[] = [];
      const { client, captured } = await serve({
        nodePublishVolume: async (_request, context) => {
          context.log.info('in the handler', { step: 1 });
          return record(contexts, context);
        },
      });
      await Promise.all(Array.from({ length: 20 }, () => client.nodePublishVolume(publish())));
      const ids = new Set(contexts.map(({ requestId }) => requestId));
      expect(ids.size).to.equal(20);
      const own = captured.lines().filter(({ message }) => message === 'in the handler');
      expect(new Set(own.map(({ requestId }) => requestId))).to.deep.equal(ids);
      expect(own[0]).to.include({ method: '/csi.v1.Node/NodePublishVolume', step: 1 });
    });

    it("tells the caller's deadline and what remains of it", async () => {
      const contexts: CallContext[] = [];
      const { client } = await serve({
        nodePublishVolume: async (_request, context) => record(contexts, context),
      });
      const before = Date.now();
      await client.nodePublishVolume(publish(), { timeoutMs: 30_000 });
      const [context] = contexts;
      expect(context?.deadline?.getTime()).to.be.within(before + 29_000, Date.now() + 30_000);
      expect(context?.remaining()).to.be.within(25_000, 30_000);
    });

    it('has no deadline when the caller sets none', async () => {
      const contexts: CallContext[] = [];
      const { client } = await serve({
        nodePublishVolume: async (_request, context) => record(contexts, context),
      });
      await client.nodePublishVolume(publish());
      expect(contexts[0]?.deadline).to.equal(undefined);
      expect(contexts[0]?.remaining()).to.equal(Number.POSITIVE_INFINITY);
      expect(contexts[0]?.signal.aborted).to.equal(false);
    });

    it('aborts its signal as CANCELLED when the caller cancels', async () => {
      const reached = Promise.withResolvers<CallContext>();
      const { client, captured } = await serve({
        nodePublishVolume: (_request, context) => waiting(reached, context),
      });
      const caller = new AbortController();
      const failed = rejection(client.nodePublishVolume(publish(), { signal: caller.signal }));
      const context = await reached.promise;
      expect(context.signal.aborted).to.equal(false);
      caller.abort();
      expect(await failed).to.include({ code: 'CANCELLED' });
      await aborted(context.signal);
      expect(context.signal.reason).to.be.instanceOf(StatusError).that.includes({ code: 'CANCELLED' });
      await until(() => captured.calls().length === 1);
      expect(captured.calls()[0]).to.include({ code: 'CANCELLED', callerSaw: 'CANCELLED' });
    });

    it('aborts its signal as DEADLINE_EXCEEDED when the deadline passes', async () => {
      const reached = Promise.withResolvers<CallContext>();
      const { client, captured } = await serve({
        nodePublishVolume: (_request, context) => waiting(reached, context),
      });
      const failed = rejection(client.nodePublishVolume(publish(), { timeoutMs: 1_500 }));
      const context = await reached.promise;
      expect(await failed).to.include({ code: 'DEADLINE_EXCEEDED' });
      await aborted(context.signal);
      expect(context.signal.reason)
        .to.be.instanceOf(StatusError)
        .that.includes({ code: 'DEADLINE_EXCEEDED' });
      expect(context.remaining()).to.be.lessThan(50);
      await until(() => captured.calls().length === 1);
      expect(captured.calls()[0]).to.include({ code: 'DEADLINE_EXCEEDED' });
    });

    it('logs the outcome of a handler that finishes after its caller left, and what the caller saw', async () => {
      const { client, captured } = await serve({
        nodePublishVolume: async (_request, { signal }) => {
          await aborted(signal);
          return {};
        },
      });
      expect(await rejection(client.nodePublishVolume(publish(), { timeoutMs: 1_500 }))).to.include({
        code: 'DEADLINE_EXCEEDED',
      });
      await until(() => captured.calls().length === 1);
      expect(captured.calls()[0]).to.include({ code: 'OK', callerSaw: 'DEADLINE_EXCEEDED' });
    });

    it('leaves the signal alone once the call is answered', async () => {
      const contexts: CallContext[] = [];
      const { client } = await serve({
        nodePublishVolume: async (_request, context) => record(contexts, context),
      });
      await client.nodePublishVolume(publish(), { timeoutMs: 4_000 });
      await delay(4_100);
      expect(contexts[0]?.signal.aborted).to.equal(false);
    });
  });

  it('answers calls at the same time, each with its own', async () => {
    const all = Promise.withResolvers<void>();
    let present = 0;
    const { client } = await serve({
      nodeExpandVolume: async ({ volumeId }) => {
        present += 1;
        if (present === 50) all.resolve();
        await all.promise; // Only when all are in at once does any of them go on.
        return { capacityBytes: BigInt(volumeId) };
      },
    });
    const numbers = Array.from({ length: 50 }, (_, index) => BigInt(index));
    const answers = await Promise.all(
      numbers.map((number) =>
        client.nodeExpandVolume({
          volumeId: String(number),
          volumePath: '/v',
          capacityRange: undefined,
          stagingTargetPath: '',
          volumeCapability: undefined,
          secrets: {},
        }),
      ),
    );
    expect(answers.map(({ capacityBytes }) => capacityBytes)).to.deep.equal(numbers);
  });

  describe('log', () => {
    it('has one line per call with method, volume, path, duration and code', async () => {
      const { client, captured } = await serve({
        nodePublishVolume: async () => ({}),
        nodeStageVolume: () =>
          Promise.reject(new StatusError({ code: 'NOT_FOUND', message: 'no such source' })),
      });
      await client.nodePublishVolume(publish());
      await rejection(
        client.nodeStageVolume(NodeStageVolumeRequest.create({ volumeId: 'vol-2', stagingTargetPath: '/s' })),
      );
      const [ok, failed, ...more] = captured.calls();
      expect(more).to.deep.equal([]);
      expect(ok).to.include({
        level: 'info',
        method: '/csi.v1.Node/NodePublishVolume',
        volumeId: 'vol-1',
        targetPath: '/pods/t',
        code: 'OK',
      });
      expect(ok?.durationMs).to.be.a('number').that.is.within(0, 5000);
      expect(ok).to.not.have.property('error');
      expect(failed).to.include({
        level: 'warn',
        volumeId: 'vol-2',
        stagingTargetPath: '/s',
        code: 'NOT_FOUND',
        error: 'no such source',
      });
      expect(failed).to.not.have.property('stack');
    });

    it('never shows a secret, a token or a mount flag, wherever a handler puts it', async () => {
      const marker = 'MARKER-dont-log-me';
      const request = publish({
        secrets: {
          user: `${marker}-1`,
          key: `${marker}-2\nwith "two" lines\n`,
          $case: 'x',
          value: `${marker}-3`,
        },
        volumeContext: {
          'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify({ aud: { token: `${marker}-4` } }),
          type: 'overlay',
        },
        volumeCapability: VolumeCapability.create({
          accessType: {
            $case: 'mount',
            value: { fsType: '', mountFlags: [`context=${marker}-5`], volumeMountGroup: '' },
          },
        }),
      });
      const { client, captured } = await serve({
        nodePublishVolume: async ({ secrets, volumeContext }, { log }) => {
          const token = JSON.parse(volumeContext['csi.storage.k8s.io/serviceAccount.tokens'] ?? '').aud.token;
          log.warn(`with ${secrets.user}`, { deep: [{ [secrets.value ?? '']: secrets.key }], token });
          const cause = new Error(`fsconfig(3, "password", "${secrets.key}")`);
          log
            .child({ user: secrets.user })
            .error('failed', { error: new Error(`of ${secrets.user}`, { cause }) });
          throw new Error(`mount failed: ${JSON.stringify(secrets)} ${secrets.key?.trim()} ${token}`, {
            cause,
          });
        },
      });
      const error = await rejection(client.nodePublishVolume(request));
      expect((error as StatusError).message)
        .to.match(/^mount failed: /)
        .and.not.contain(marker);
      const text = captured.text();
      expect(text).to.contain('rpc request').and.contain('overlay').and.contain('***stripped***');
      expect(text).to.not.contain(marker);
      expect(text).to.not.contain('two');
    });

    it('shows the rest of the request at debug level', async () => {
      const { client, captured } = await serve({ nodePublishVolume: async () => ({}) });
      await client.nodePublishVolume(
        publish({ secrets: { password: 'hunter2' }, volumeContext: { type: 'bind' } }),
      );
      const [line] = captured.lines().filter(({ message }) => message === 'rpc request');
      expect(line).to.include({ level: 'debug' });
      expect(line?.request).to.deep.include({
        volumeId: 'vol-1',
        volumeContext: { type: 'bind' },
        secrets: '***stripped***',
      });
    });
  });

  it('reports every finished call with its code and duration', async () => {
    const seen: Observation[] = [];
    const { client } = await serve(
      { nodePublishVolume: async () => ({}) },
      { observe: (observation) => seen.push(observation) },
    );
    await client.nodePublishVolume(publish());
    await rejection(client.nodeGetInfo({}));
    expect(seen.map(({ method, code }) => [method, code])).to.deep.equal([
      ['/csi.v1.Node/NodePublishVolume', 'OK'],
      ['/csi.v1.Node/NodeGetInfo', 'UNIMPLEMENTED'],
    ]);
    expect(seen[0]?.seconds).to.be.within(0, 5);
  });

  it('answers also when observing fails', async () => {
    const { client, captured } = await serve(
      { nodePublishVolume: async () => ({}) },
      {
        observe: () => {
          throw new Error('no metrics today');
        },
      },
    );
    expect(await client.nodePublishVolume(publish())).to.deep.equal({});
    expect(captured.text()).to.contain('no metrics today');
  });
});

describe('rpc client', () => {
  it('fails as UNAVAILABLE where nobody listens', async () => {
    await using stack = new AsyncDisposableStack();
    const { client, server } = await serveNode(stack, {});
    await server[Symbol.asyncDispose]();
    expect(await rejection(client.nodeGetInfo({}))).to.include({ code: 'UNAVAILABLE' });
  });

  it('does not call at all with a signal that is aborted already', async () => {
    await using stack = new AsyncDisposableStack();
    const { client, captured } = await serveNode(stack, {
      nodeGetInfo: () => Promise.reject(new Error('called')),
    });
    const error = await rejection(client.nodeGetInfo({}, { signal: AbortSignal.abort('too late') }));
    expect(error).to.include({ code: 'CANCELLED' });
    expect(captured.calls()).to.deep.equal([]);
  });
});

function record<T>(list: T[], item: T): NodePublishVolumeResponse {
  list.push(item);
  return {};
}

/** A handler that waits for its signal through one of node's own functions. */
async function waiting(
  reached: PromiseWithResolvers<CallContext>,
  context: CallContext,
): Promise<NodePublishVolumeResponse> {
  reached.resolve(context);
  return delay(600_000, {}, { signal: context.signal });
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve(), { once: true });
  await promise;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}
