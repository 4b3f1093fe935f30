// Metrics and health over a real socket.
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { createConnection } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { serveHttp } from '../../../src/observe/http.ts';
import { captureLog } from '../rpc/harness.ts';

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: string;
}

async function ask(address: string, path: string, method = 'GET'): Promise<Answer> {
  const sent = request(`http://${address}${path}`, { method, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return {
    status: response.statusCode,
    type: response.headers['content-type'],
    body: await text(response),
  };
}

describe('metrics and health over HTTP', () => {
  let server: AsyncDisposable;
  let address: string;
  let ready: boolean;
  let render: () => Promise<{ contentType: string; text: string }>;
  const captured = captureLog();

  before(async () => {
    const metrics = { render: () => render() };
    const options = { metrics, isReady: () => ready, log: captured.log };
    server = await serveHttp({ ...options, address: { host: '127.0.0.1', port: 0 } });
    address = String(captured.lines().at(-1)?.address);
  });
  beforeEach(() => {
    ready = false;
    render = async () => ({ contentType: 'text/plain; version=0.0.4', text: 'x 1\n' });
  });
  after(() => server?.[Symbol.asyncDispose]());

  it('says where it listens', () => expect(address).to.match(/^127\.0\.0\.1:\d+$/));

  it('/healthz answers as soon as the process does, ready or not', async () => {
    expect(await ask(address, '/healthz')).to.include({ status: 200, body: 'ok\n' });
  });

  it('/readyz is asked each time', async () => {
    expect(await ask(address, '/readyz')).to.include({ status: 503, body: 'not ready\n' });
    ready = true;
    expect(await ask(address, '/readyz?verbose')).to.include({ status: 200, body: 'ready\n' });
    ready = false;
    expect(await ask(address, '/readyz')).to.include({ status: 503 });
  });

  it('/metrics is what is rendered, as the type that it has', async () => {
    expect(await ask(address, '/metrics')).to.deep.equal({
      status: 200,
      type: 'text/plain; version=0.0.4',
      body: 'x 1\n',
    });
  });

  it('a scrape that fails is an answer, and a line in the log', async () => {
    render = () => Promise.reject(new Error('broken gauge'));
    expect(await ask(address, '/metrics')).to.include({ status: 500, body: '' });
    expect(captured.text()).to.contain('broken gauge');
    expect(await ask(address, '/healthz')).to.include({ status: 200 });
  });

  for (const path of ['/', '/metrics/', '/__proto__', '/constructor', '//healthz']) {
    it(`${path} is not there`, async () => {
      expect(await ask(address, path)).to.include({
        status: 404,
        body: 'there are /healthz, /readyz, /metrics\n',
      });
    });
  }

  it('only reads', async () => {
    expect(await ask(address, '/healthz', 'POST')).to.include({ status: 405 });
    expect(await ask(address, '/healthz', 'HEAD')).to.include({ status: 200, body: '' });
  });

  it('a connection is closed with its answer, though it asks to be kept', async () => {
    for (const path of ['/healthz', '/nothing']) {
      const asked = createConnection(Number(address.split(':')[1]), '127.0.0.1');
      asked.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n`);
      expect(await text(asked)).to.match(/^connection: close\r$/m);
    }
  });

  it('answers while somebody holds more connections than there may be: the oldest goes, not the newest', async () => {
    const held = Array.from({ length: 64 }, () => {
      const socket = createConnection(Number(address.split(':')[1]), '127.0.0.1').resume();
      socket.on('error', () => undefined);
      // A request that does not end.
      socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
      return socket;
    });
    const [first] = held;
    const closed = first && once(first, 'close');
    try {
      await Promise.all(held.map((socket) => once(socket, 'connect')));
      expect(await ask(address, '/healthz')).to.include({ status: 200 });
      await closed;
      for (let time = 0; time < 64; time++)
        expect(await ask(address, '/healthz')).to.include({ status: 200 });
    } finally {
      for (const socket of held) socket.destroy();
    }
  });

  it('an address that is taken is named, with its flag', async () => {
    const [host = '', port] = address.split(':');
    const options = { metrics: { render }, isReady: () => ready, log: captured.log };
    const refused = serveHttp({ ...options, address: { host, port: Number(port) } });
    const error = await refused.then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    expect(error?.message).to.equal(
      `cannot serve metrics on ${address} (--metrics-address): listen EADDRINUSE: address already in use ${address}`,
    );
  });

  it('without a host, every address of the machine is served', async () => {
    const options = { metrics: { render }, isReady: () => ready, log: captured.log };
    await using _all = await serveHttp({ ...options, address: { host: '', port: 0 } });
    const port = /:(\d+)$/.exec(String(captured.lines().at(-1)?.address))?.[1];
    expect(await ask(`127.0.0.1:${port}`, '/healthz')).to.include({ status: 200 });
  });

  it('its end does not wait for connections', async () => {
    const options = { metrics: { render }, isReady: () => ready, log: captured.log };
    const other = await serveHttp({ ...options, address: { host: '127.0.0.1', port: 0 } });
    const port = Number(String(captured.lines().at(-1)?.address).split(':')[1]);
    const idle = createConnection(port, '127.0.0.1').resume();
    await once(idle, 'connect');
    const closed = once(idle, 'close');
    await other[Symbol.asyncDispose]();
    await closed;
  });
});
