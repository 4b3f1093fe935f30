import { expect } from 'chai';
import fc from 'fast-check';
import { FrameError } from '../../../src/nri/frames.ts';
import {
  encodeMessage,
  type Method,
  messageReader,
  type Services,
  ttrpcClient,
  ttrpcServer,
} from '../../../src/nri/ttrpc.ts';
import { Request, Response } from '../../../src/rpc/generated/ttrpc.ts';
import { StatusError } from '../../../src/rpc/status.ts';
import { cases } from '../../support/cases.ts';
import { bytes, FROM_PLUGIN, FROM_RUNTIME } from './captured.ts';

const METHODS: Record<string, Method> = {
  Echo: async (payload) => payload,
  Timeout: async (_, { timeoutMs }) => Buffer.from(String(timeoutMs)),
  Fail: async () => {
    throw new StatusError({ code: 'UNAVAILABLE', message: 'not now' });
  },
  Crash: () => {
    throw new Error('a defect');
  },
};
const SERVICES: Services = new Map([['test.Service', new Map(Object.entries(METHODS))]]);

const request = (method: string, more: Partial<Request> = {}) =>
  Request.encode(Request.create({ service: 'test.Service', method, ...more })).finish();

interface Sent {
  readonly stream: number;
  readonly type?: number;
  readonly body: Uint8Array;
}

/** What a server answers to these messages, once it has answered all that it does. */
async function answersTo(...sent: Sent[]): Promise<string[]> {
  const read = messageReader();
  const answers: string[] = [];
  const server = ttrpcServer(SERVICES, (piece) => {
    for (const { stream, body } of read(piece)) {
      const { status, payload } = Response.decode(body);
      answers.push(`${stream}: ${status ? `${status.code} ${status.message}` : `"${payload}"`}`);
    }
  });
  for (const { stream, type = 1, body } of sent) server.receive(encodeMessage({ stream, type, body }));
  await new Promise((resolve) => setImmediate(resolve));
  return answers;
}

describe('a ttrpc server', () => {
  it('answers with what its methods give and throw, whatever the order', async () => {
    expect(
      await answersTo(
        { stream: 1, body: request('Echo', { payload: Buffer.from('hello') }) },
        { stream: 3, body: request('Timeout', { timeoutNano: 1_500_000_000n }) },
        { stream: 7, body: request('Timeout') },
        { stream: 9, body: request('Fail') },
        { stream: 11, body: request('Crash') },
      ),
    ).to.have.members(['1: "hello"', '3: "1500"', '7: "undefined"', '9: 14 not now', '11: 2 a defect']);
  });

  it('answers UNIMPLEMENTED for what it does not know', async () => {
    expect(
      await answersTo(
        { stream: 1, body: request('Other') },
        { stream: 3, body: request('Echo', { service: 'test.Other' }) },
        { stream: 5, body: request('toString', { service: '__proto__' }) },
      ),
    ).to.have.members(['1: 12 method Other', '3: 12 service test.Other', '5: 12 service __proto__']);
  });

  it('answers INVALID_ARGUMENT for what a client must not send, and goes on', async () => {
    const answers = await answersTo(
      { stream: 2, body: request('Echo') },
      { stream: 5, body: Buffer.from([0x0a, 0x7f]) },
      { stream: 5, body: request('Echo') },
      { stream: 7, type: 3, body: Buffer.alloc(0) },
      { stream: 9, type: 99, body: Buffer.alloc(0) },
      { stream: 11, body: request('Echo') },
    );
    expect(answers.map((answer) => answer.replace(/(unmarshal request error): .*/, '$1'))).to.have.members([
      '2: 3 StreamID must be odd for client initiated streams',
      '5: 3 unmarshal request error',
      '5: 3 StreamID cannot be re-used and must increment',
      '7: 3 StreamID is no longer active',
      '11: ""',
    ]);
  });

  it('survives any bytes, or ends the stream with an error of its own', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 })), (pieces) => {
        const server = ttrpcServer(SERVICES, () => undefined);
        try {
          for (const piece of pieces) server.receive(piece);
        } catch (error) {
          expect(error).to.be.instanceOf(FrameError);
        }
      }),
    );
  });

  it('survives any message', async () => {
    const message = fc.record({
      stream: fc.constantFrom(1, 3, 5, 4),
      type: fc.constantFrom(1, 2, 3),
      body: fc.uint8Array({ maxLength: 50 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(message), async (list) => {
        for (const answer of await answersTo(...list)) expect(answer).to.match(/^\d+: (3|12) /);
      }),
      { numRuns: cases(50) },
    );
  });
});

describe('a ttrpc client', () => {
  /** Whose other side is this server. */
  function connected() {
    const server = ttrpcServer(SERVICES, (piece) => client.receive(piece));
    const client = ttrpcClient((piece) => server.receive(piece));
    return client;
  }
  const call = (client: ReturnType<typeof ttrpcClient>, method: string, payload = '', timeoutMs = 5_000) =>
    client.call('test.Service', method, Buffer.from(payload), timeoutMs).then(
      (answer) => Buffer.from(answer).toString(),
      (error: StatusError) => `${error.code} ${error.message}`,
    );

  it('calls as often and as many at a time as is wanted', async () => {
    const client = connected();
    const words = ['a', 'b', 'c'];
    expect(await Promise.all(words.map((word) => call(client, 'Echo', word)))).to.deep.equal(words);
    expect(await call(client, 'Timeout')).to.equal('5000');
    expect(await call(client, 'Fail')).to.equal('UNAVAILABLE not now');
    expect(await call(client, 'Other')).to.equal('UNIMPLEMENTED method Other');
  });

  it('does not wait for longer than it should, and not when nothing can come any more', async () => {
    const client = ttrpcClient(() => undefined);
    expect(await call(client, 'Echo', '', 10)).to.equal('UNAVAILABLE no answer within 10 ms');
    const waiting = call(client, 'Echo');
    client.end('the end');
    expect(await waiting).to.equal('UNAVAILABLE the end');
    expect(await call(client, 'Echo')).to.equal('UNAVAILABLE the end');
  });

  it('drops answers that nobody waits for, and fails the call whose answer cannot be read', async () => {
    const client = ttrpcClient(() =>
      setImmediate(() => {
        client.receive(encodeMessage({ stream: 99, type: 2, body: Buffer.alloc(0) }));
        client.receive(encodeMessage({ stream: 1, type: 2, body: Buffer.from([0x0a, 0x7f]) }));
      }),
    );
    expect(await call(client, 'Echo')).to.match(/^INTERNAL an answer that cannot be read/);
  });
});

describe('ttrpc messages', () => {
  it('are read and written as containerd does', () => {
    const [message] = messageReader()(bytes(FROM_RUNTIME.runPodSandbox).subarray(8));
    expect(message).to.include({ stream: 5, type: 1 });
    const { method, timeoutNano } = Request.decode(message?.body ?? Buffer.alloc(0));
    expect(method).to.equal('RunPodSandbox');
    expect(Number(timeoutNano)).to.be.within(1.9e9, 2e9);
    expect(encodeMessage({ stream: 5, type: 2, body: Buffer.alloc(0) }).toString('hex')).to.equal(
      FROM_PLUGIN.sandbox.slice(16),
    );
  });
});
