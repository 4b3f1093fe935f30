// One request to the API server: what is sent, and what each way to fail becomes.
import { once } from 'node:events';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { expect } from 'chai';
import { type ApiRequest, type KubernetesApi, kubernetesApi } from '../../../src/kubernetes/api.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';
import { type ApiServer, apiOf, certificate, refusal, startApiServer, TOKEN } from './api-server.ts';

const GET: ApiRequest = { method: 'GET', path: '/api/v1/namespaces/a/pods/b', timeoutMs: 60_000 };

describe('a request to the Kubernetes API', () => {
  let server: ApiServer;
  let api: KubernetesApi;

  before(async function () {
    needTool(this, 'openssl', 'the certificate of the API server');
    server = await startApiServer();
  });
  beforeEach(() => {
    server.calls.length = 0;
    api = apiOf(server);
  });
  afterEach(() => api[Symbol.dispose]());
  after(() => server?.[Symbol.asyncDispose]());

  it('carries the token of the service account, and gives the object', async () => {
    server.behaviour = () => ({ status: 200, body: { kind: 'Pod' } });
    expect(await api.ask(GET)).to.deep.equal({ is: 'ok', body: { kind: 'Pod' } });
    expect(server.calls).to.deep.equal([
      {
        method: 'GET',
        path: GET.path,
        authorization: `Bearer ${TOKEN}`,
        contentType: '',
        body: undefined,
      },
    ]);
  });

  it('has been prepared for: it needs no file any more', async () => {
    using directory = temporaryDirectory();
    const file = directory.at('kubeconfig');
    writeFileSync(
      file,
      JSON.stringify({
        clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1' } }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
        users: [{ name: 'u', user: {} }],
        'current-context': 'x',
      }),
    );
    using prepared = kubernetesApi({ is: 'kubeconfig', files: [file] });
    await prepared.prepare();
    rmSync(file);
    const answer = await prepared.ask(GET);
    expect(answer).to.have.property('because').that.includes('ECONNREFUSED');
    using missing = kubernetesApi({ is: 'kubeconfig', files: [file] });
    await missing.prepare();
    expect(await missing.ask(GET))
      .to.have.property('because')
      .that.includes('ENOENT');
  });

  it('sends a body as JSON, and a patch as a merge patch', async () => {
    server.behaviour = () => ({ status: 201, body: {} });
    await api.ask({ ...GET, method: 'POST', body: { a: 'ü' } });
    await api.ask({ ...GET, method: 'PATCH', body: { count: 2 } });
    expect(server.calls.map(({ contentType, body }) => [contentType, body])).to.deep.equal([
      ['application/json', { a: 'ü' }],
      ['application/merge-patch+json', { count: 2 }],
    ]);
  });

  for (const status of [400, 401, 403, 404, 409, 422, 429, 500, 503]) {
    it(`${status} is a refusal, in the server's words`, async () => {
      server.behaviour = () => refusal(status, 'pods "b" is not for you');
      expect(await api.ask(GET)).to.deep.equal({
        is: 'refused',
        status,
        message: 'pods "b" is not for you',
      });
    });
  }

  it('a refusal that is not of the API server, but of a proxy, is one too', async () => {
    server.behaviour = () => ({ status: 502, body: '<html>Bad Gateway</html>' });
    expect(await api.ask(GET)).to.deep.equal({ is: 'refused', status: 502, message: 'no reason given' });
  });

  it('a redirect is not followed: the token is for nobody else', async () => {
    server.behaviour = () => ({ status: 302, body: {} });
    expect(await api.ask(GET)).to.include({ is: 'refused', status: 302 });
    expect(server.calls).to.have.length(1);
  });

  it('success without an object is a failure', async () => {
    server.behaviour = () => ({ status: 200, body: 'ok' });
    expect(await api.ask(GET)).to.deep.equal({
      is: 'failed',
      because: `the answer of https://127.0.0.1:${server.port} is no JSON object`,
    });
  });

  it('an answer without an end is not read to it', async () => {
    server.behaviour = () => ({ status: 200, body: ' '.repeat(5 * 2 ** 20) });
    expect(await api.ask(GET))
      .to.include({ is: 'failed' })
      .and.property('because')
      .to.match(/has no end$/);
  });

  it('a server that hangs is given up in time', async () => {
    server.behaviour = () => 'hang';
    expect(await api.ask({ ...GET, timeoutMs: 100 })).to.deep.equal({
      is: 'failed',
      because: 'the API server did not answer within 100 ms',
    });
  });

  it('a server that takes connections and never speaks TLS is given up in time', async () => {
    const listener = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    try {
      const port = String((listener.address() as AddressInfo).port);
      using silent = apiOf({
        ...server,
        environment: { ...server.environment, KUBERNETES_SERVICE_PORT: port },
      });
      expect(await silent.ask({ ...GET, timeoutMs: 100 })).to.include({
        because: 'the API server did not answer within 100 ms',
      });
    } finally {
      listener.close();
      await once(listener, 'close');
    }
  });

  it('a connection that is cut is a failure', async () => {
    server.behaviour = () => 'cut';
    expect(await api.ask(GET)).to.deep.equal({ is: 'failed', because: 'socket hang up' });
  });

  it('a connection that is refused is a failure', async () => {
    const environment = { ...server.environment, KUBERNETES_SERVICE_PORT: '1' };
    using nobody = apiOf({ ...server, environment });
    expect(await nobody.ask(GET)).to.deep.equal({
      is: 'failed',
      because: 'connect ECONNREFUSED 127.0.0.1:1',
    });
  });

  it('disposing ends what is under way', async () => {
    server.behaviour = () => {
      api[Symbol.dispose]();
      return 'hang';
    };
    expect(await api.ask(GET)).to.deep.equal({ is: 'failed', because: 'the driver is ending' });
  });

  it('without access nothing is asked', async () => {
    using none = kubernetesApi({ is: 'none', because: 'it is a test' });
    expect(await none.ask(GET)).to.deep.equal({
      is: 'failed',
      because: 'no access to the API: it is a test',
    });
  });

  describe('with the CA of somebody else', () => {
    it('is not made: the token stays with us', async () => {
      using directory = temporaryDirectory();
      writeFileSync(directory.at('ca.crt'), certificate(directory.path).cert);
      writeFileSync(directory.at('token'), TOKEN);
      using wary = apiOf({ ...server, serviceAccountDir: directory.path });
      server.behaviour = () => ({ status: 200, body: {} });
      expect(await wary.ask(GET))
        .to.include({ is: 'failed' })
        .and.property('because')
        .to.match(/certificate/);
      expect(server.calls).to.deep.equal([]);
    });
  });

  describe('by a kubeconfig', () => {
    function kubeconfig(more: string): string {
      return `apiVersion: v1
kind: Config
current-context: x
contexts: [{ name: x, context: { cluster: c, user: u } }]
clusters:
  - name: c
    cluster: { server: "https://127.0.0.1:${server.port}/prefix/", certificate-authority: ${server.serviceAccountDir}/ca.crt }
${more}`;
    }

    it('goes below the path of its server, with its user', async () => {
      using directory = temporaryDirectory();
      const file = directory.at('config');
      writeFileSync(file, kubeconfig('users: [{ name: u, user: { token: from-file } }]'));
      using api = kubernetesApi({ is: 'kubeconfig', files: [file] });
      server.behaviour = () => ({ status: 200, body: {} });
      expect(await api.ask(GET)).to.include({ is: 'ok' });
      expect(server.calls).to.have.length(1);
      expect(server.calls[0]).to.include({ path: `/prefix${GET.path}`, authorization: 'Bearer from-file' });
    });

    it('takes what one file lacks from the next', async () => {
      using directory = temporaryDirectory();
      writeFileSync(directory.at('one'), kubeconfig(''));
      writeFileSync(directory.at('two'), 'users: [{ name: u, user: { token: from-second } }]');
      using api = kubernetesApi({ is: 'kubeconfig', files: [directory.at('one'), directory.at('two')] });
      server.behaviour = () => ({ status: 200, body: {} });
      expect(await api.ask(GET)).to.include({ is: 'ok' });
      expect(server.calls[0]).to.include({ authorization: 'Bearer from-second' });
    });

    it('with an exec plugin that hangs is given up in time', async () => {
      using directory = temporaryDirectory();
      const plugin = directory.at('plugin');
      writeFileSync(plugin, '#!/bin/sh\nexec sleep 1\n');
      chmodSync(plugin, 0o755);
      const exec = `{ apiVersion: client.authentication.k8s.io/v1, command: ${plugin} }`;
      const file = directory.at('config');
      writeFileSync(file, kubeconfig(`users: [{ name: u, user: { exec: ${exec} } }]`));
      using api = kubernetesApi({ is: 'kubeconfig', files: [file] });
      expect(await api.ask({ ...GET, timeoutMs: 100 })).to.include({ is: 'failed' });
    });

    it('that is missing, broken or empty fails, and no line of it is told', async () => {
      using directory = temporaryDirectory();
      const file = directory.at('config');
      const ask = async () => {
        using api = kubernetesApi({ is: 'kubeconfig', files: [file] });
        return await api.ask(GET);
      };
      expect(await ask()).to.deep.equal({
        is: 'failed',
        because: `ENOENT: no such file or directory, open '${file}'`,
      });
      writeFileSync(file, 'users: [{ user: { token: very-secret }\n');
      const broken = await ask();
      expect(broken).to.include({ is: 'failed' });
      expect(JSON.stringify(broken)).not.to.contain('very-secret');
      writeFileSync(file, 'apiVersion: v1\nkind: Config\n');
      expect(await ask()).to.deep.equal({ is: 'failed', because: 'the kubeconfig names no cluster' });
    });
  });
});
