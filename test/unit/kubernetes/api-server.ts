// A server that speaks as much of the Kubernetes API as the driver asks for, over real TLS: the failures that matter
// here (hangs, refusals, a CA that does not fit, answers of something else) are those that a real API server cannot be
// made to give. Against the real one the same code runs in test/cluster.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { findAccess } from '../../../src/kubernetes/access.ts';
import { kubernetesApi } from '../../../src/kubernetes/api.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';

export interface ApiCall {
  readonly method: string;
  readonly path: string;
  readonly authorization: string;
  readonly contentType: string;
  // biome-ignore lint/suspicious/noExplicitAny: JSON as the driver sent it, for assertions alone.
  readonly body: any;
}

export interface Reply {
  readonly status: number;
  /** Sent as JSON, or as it is when it is text. */
  readonly body: unknown;
}

/** `hang`: the request is never answered. `cut`: the connection is closed in its place. */
export type Behaviour = (call: ApiCall) => Reply | 'hang' | 'cut' | Promise<Reply | 'hang' | 'cut'>;

export interface ApiServer extends AsyncDisposable {
  readonly port: number;
  readonly calls: ApiCall[];
  /** What it answers from now on. */
  behaviour: Behaviour;
  /** Where kubelet would have put token and CA. */
  readonly serviceAccountDir: string;
  readonly certificate: string;
  readonly environment: {
    readonly KUBERNETES_SERVICE_HOST: string;
    readonly KUBERNETES_SERVICE_PORT: string;
  };
}

export const TOKEN = 'token-of-the-driver';

export async function startApiServer(): Promise<ApiServer> {
  using making = new DisposableStack();
  const directory = making.use(temporaryDirectory());
  const { key, cert } = certificate(directory.path);
  writeFileSync(directory.at('ca.crt'), cert);
  writeFileSync(directory.at('token'), TOKEN);
  const calls: ApiCall[] = [];
  const listener = createServer({ key, cert }, (request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const content = await text(request);
    const call: ApiCall = {
      method: request.method ?? '',
      path: request.url ?? '',
      authorization: request.headers.authorization ?? '',
      contentType: request.headers['content-type'] ?? '',
      body: content === '' ? undefined : JSON.parse(content),
    };
    calls.push(call);
    const reply = await server.behaviour(call);
    if (reply === 'hang') return;
    if (reply === 'cut') {
      response.destroy();
      return;
    }
    response.writeHead(reply.status, { 'content-type': 'application/json' });
    response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body));
  }
  // A client that does not know our CA says so to the server as well.
  listener.on('tlsClientError', () => undefined);
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const made = making.move();
  const server: ApiServer = {
    port,
    calls,
    behaviour: () => refusal(500, 'no behaviour given'),
    serviceAccountDir: directory.path,
    certificate: cert,
    environment: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) },
    [Symbol.asyncDispose]: async () => {
      const closed = once(listener, 'close');
      listener.close();
      listener.closeAllConnections();
      await closed;
      made.dispose();
    },
  };
  return server;
}

/** The API as a pod beside this server has it. */
export function apiOf({ environment, serviceAccountDir }: ApiServer): ReturnType<typeof kubernetesApi> {
  return kubernetesApi(findAccess({ environment, serviceAccountDir }));
}

/** As the API server refuses: metav1.Status. */
export function refusal(status: number, message: string): Reply {
  return { status, body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, code: status } };
}

/** Signed by itself, for 127.0.0.1. */
export function certificate(directory: string): { key: string; cert: string } {
  const [key, cert] = [`${directory}/tls.key`, `${directory}/tls.crt`];
  const what = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const whom = ['-subj', '/CN=api', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', ['req', '-x509', ...what, ...whom, '-keyout', key, '-out', cert], {
    stdio: 'ignore',
  });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}
