// One request to the API server, as data: an answer, a refusal or a failure, never a throw, and always within its
// time. Plain JSON over node:https; who we are is for credentials.ts.
//
// A connection serves one request: they are minutes apart, and a connection that is kept is one that can be half dead.
import http from 'node:http';
import https from 'node:https';
import type { ApiAccess } from './access.ts';
import { credentials } from './credentials.ts';

export interface KubernetesApi extends Disposable {
  readonly access: ApiAccess;
  /** Loads what the first request would wait for. What cannot be read is told by that request. */
  prepare(): Promise<void>;
  ask(request: ApiRequest): Promise<ApiAnswer>;
}

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH';
  /** Below the server's URL, encoded. */
  readonly path: string;
  /** A PATCH is a merge patch (RFC 7386). */
  readonly body?: unknown;
  /** For all of it but the loading of the library, which happens once and waits for nobody. */
  readonly timeoutMs: number;
}

export type ApiAnswer =
  | { readonly is: 'ok'; readonly body: unknown }
  /** The server has understood and says no. */
  | { readonly is: 'refused'; readonly status: number; readonly message: string }
  /** There is no telling what the server did. */
  | { readonly is: 'failed'; readonly because: string };

/** Disposing it ends the requests that are under way. */
export function kubernetesApi(access: ApiAccess): KubernetesApi {
  const disposed = new AbortController();
  const configuration = access.is === 'none' ? undefined : credentials(access);
  return {
    access,
    prepare: async () => void (await configuration?.().catch(() => undefined)),
    async ask(request) {
      if (access.is === 'none') return { is: 'failed', because: `no access to the API: ${access.because}` };
      try {
        const config = await configuration?.();
        const server = config?.getCurrentCluster()?.server;
        if (config === undefined || server === undefined) throw new Error('the kubeconfig names no cluster');
        const timeout = AbortSignal.timeout(request.timeoutMs);
        const signal = AbortSignal.any([timeout, disposed.signal]);
        const prepare = async (options: https.RequestOptions) => {
          await config.applyToHTTPSOptions(options);
          // KubeConfig's agent would keep the CA of its first use; only a proxy needs it.
          if (config.getCurrentCluster()?.proxyUrl === undefined) options.agent = false;
        };
        return await Promise.race([
          exchange(server, request, prepare, signal),
          aborted(signal, timeout, request),
        ]);
      } catch (error) {
        return { is: 'failed', because: firstLine(error) };
      }
    },
    [Symbol.dispose]: () => disposed.abort(),
  };
}

async function exchange(
  server: string,
  { method, path, body }: ApiRequest,
  prepare: (options: https.RequestOptions) => Promise<void>,
  signal: AbortSignal,
): Promise<ApiAnswer> {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
  const headers = { accept: 'application/json', ...(body !== undefined && { 'content-type': type }) };
  const options: https.RequestOptions = { method, headers, signal };
  await prepare(options);
  const url = new URL(`${server.replace(/\/+$/, '')}${path}`);
  const text = body === undefined ? undefined : JSON.stringify(body);
  const { status, content } = await send(url, options, text);
  const parsed = parse(content);
  if (status >= 200 && status < 300) {
    return parsed === undefined
      ? { is: 'failed', because: `the answer of ${url.origin} is no JSON object` }
      : { is: 'ok', body: parsed };
  }
  // A metav1.Status, if it is the API server that answers and not a proxy before it.
  const message = typeof parsed?.message === 'string' ? parsed.message : 'no reason given';
  return { is: 'refused', status, message };
}

/** Objects in etcd have at most 1.5 MiB. */
const LONGEST_ANSWER = 4 * 2 ** 20;

async function send(
  url: URL,
  options: https.RequestOptions,
  body: string | undefined,
): Promise<{ status: number; content: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const request = (url.protocol === 'http:' ? http : https).request(url, options, resolve);
  request.on('error', reject);
  request.end(body);
  const response = await promise;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > LONGEST_ANSWER) throw new Error(`the answer of ${url.origin} has no end`);
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, content: Buffer.concat(chunks).toString('utf8') };
}

/** For what does not look at a signal: an exec plugin of a kubeconfig, say. */
function aborted(signal: AbortSignal, timeout: AbortSignal, { timeoutMs }: ApiRequest): Promise<ApiAnswer> {
  const { promise, resolve } = Promise.withResolvers<ApiAnswer>();
  const end = () =>
    resolve({
      is: 'failed',
      because: timeout.aborted
        ? `the API server did not answer within ${timeoutMs} ms`
        : 'the driver is ending',
    });
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
  return promise;
}

function parse(content: string): { readonly message?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(content);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Only that: after it a YAML error shows the lines round the mistake, where tokens are. */
function firstLine(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Of a host with several addresses, Node gives an error without a message that holds one for each.
  const [first] = error instanceof AggregateError ? error.errors : [];
  const message = error.message || (first instanceof Error ? first.message : error.name);
  return message.split('\n', 1)[0] ?? '';
}
