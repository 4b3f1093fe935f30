// Metrics and health over HTTP, on one port:
//
//   /metrics   for Prometheus
//   /healthz   this process answers. Nothing else: a probe that looked at a volume would have the driver restarted,
//              in vain, because somebody's filesystem hangs
//   /readyz    200 when the driver is ready, as the RPC Probe has it, and kubelet has registered it; else 503
//
// Kubelet kills a driver whose port it cannot have, and the port is open to the pods of the cluster: whoever holds on to
// connections must not keep kubelet out. So a connection is closed with its answer, and of too many the oldest goes.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { formatAddress, type HttpAddress } from './address.ts';
import type { Logger } from './logger.ts';
import type { PrometheusMetrics } from './prometheus.ts';

export interface HttpOptions {
  readonly address: HttpAddress;
  readonly metrics: Pick<PrometheusMetrics, 'render'>;
  readonly isReady: () => boolean;
  readonly log: Logger;
}

/** For whoever opens connections and says nothing. */
const LIMITS = { headersTimeout: 5_000, requestTimeout: 5_000, connectionsCheckingInterval: 2_500 };
const MAX_CONNECTIONS = 64;

/** Resolves when it listens. @throws Error naming the address that cannot be had */
export async function serveHttp({ address, metrics, isReady, log }: HttpOptions): Promise<AsyncDisposable> {
  const pages: Readonly<Record<string, () => Page | Promise<Page>>> = {
    '/healthz': () => ({ status: 200, type: TEXT, text: 'ok\n' }),
    '/readyz': () =>
      isReady()
        ? { status: 200, type: TEXT, text: 'ready\n' }
        : { status: 503, type: TEXT, text: 'not ready\n' },
    '/metrics': async () => {
      const { contentType, text } = await metrics.render();
      return { status: 200, type: contentType, text };
    },
  };
  const pageFor = ({ method, url = '' }: IncomingMessage): Page | Promise<Page> => {
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, type: TEXT, text: 'GET or HEAD only\n' };
    const name = url.split('?', 1)[0] ?? '';
    const page = Object.hasOwn(pages, name) ? pages[name] : undefined;
    return page?.() ?? { status: 404, type: TEXT, text: `there are ${Object.keys(pages).join(', ')}\n` };
  };
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { status, type, text } = await pageFor(request);
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) });
    response.end(text);
  };
  const server = createServer({ ...LIMITS, maxHeaderSize: 8192 }, (request, response) => {
    response.setHeader('connection', 'close');
    answer(request, response).catch((error: unknown) => {
      log.error('a page could not be made', { url: request.url, error });
      response.writeHead(500).end();
    });
  });
  makeRoom(server);
  // Without a host Node takes `::`, or 0.0.0.0 where there is no IPv6.
  server.listen({ port: address.port, ...(address.host !== '' && { host: address.host }) });
  try {
    await once(server, 'listening');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`cannot serve metrics on ${formatAddress(address)} (--metrics-address): ${why}`, {
      cause,
    });
  }
  server.on('error', (error) => log.error('the listening socket of metrics failed', { error }));
  const { address: host, port } = server.address() as AddressInfo;
  log.info('serving metrics and health', { address: formatAddress({ host, port }) });
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Node's own `maxConnections` refuses the newest, which may be kubelet's. */
function makeRoom(server: Server): void {
  const open = new Set<Socket>();
  server.on('connection', (socket) => {
    const [oldest] = open;
    if (open.size >= MAX_CONNECTIONS && oldest !== undefined) {
      oldest.destroy();
      // Its end is told later than the next may come.
      open.delete(oldest);
    }
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

const TEXT = 'text/plain; charset=utf-8';
