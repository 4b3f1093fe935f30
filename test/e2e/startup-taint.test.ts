// The taint of the node goes once kubelet has registered the plugin, by its own word or by CSINode's; never before.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { NodeService } from '../../src/rpc/generated/csi.ts';
import { eventually, mountPlace } from '../support/fixtures.ts';
import { registerAt } from '../support/kubelet-registration.ts';
import { needRoot } from '../support/need.ts';
import { type ApiServer, startApiServer, TOKEN } from '../unit/kubernetes/api-server.ts';
import { flagsOf, type Served, serve, sharedKubelet } from './serve.ts';

const TAINT = 'idmap.csi.dev/agent-not-ready';

/** CSINode lists the driver, as it does since the last time that it was registered. */
function tainted(server: ApiServer): void {
  server.behaviour = ({ path }) =>
    path.includes('csinodes')
      ? { status: 200, body: { spec: { drivers: [{ name: 'idmap.csi.dev' }] } } }
      : { status: 200, body: { metadata: { resourceVersion: '1' }, spec: { taints: [{ key: TAINT }] } } };
}

function kubeconfigOf({ port, certificate }: ApiServer): string {
  const ca = Buffer.from(certificate).toString('base64');
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'x',
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    clusters: [
      {
        name: 'c',
        cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority-data': ca },
      },
    ],
    users: [{ name: 'u', user: { token: TOKEN } }],
  });
}

describe('the startup taint of a node', () => {
  before(function () {
    needRoot(this, 'the plugin mounts');
  });

  const rows: { title: string; registration: string; register: (at: string) => Promise<unknown> }[] = [
    {
      title: 'goes when kubelet has registered the plugin',
      registration: 'on',
      register: (at) => registerAt(join(at, 'kubelet/plugins_registry/idmap.csi.dev-reg.sock')),
    },
    {
      title: 'goes when kubelet has asked the plugin what it asks when a registrar registers it',
      registration: 'off',
      register: async (at) => {
        using node = connect(NodeService, join(at, 'csi.sock'));
        await node.nodeGetInfo({});
      },
    },
  ];
  for (const { title, registration, register } of rows) {
    it(`${title}, and not before`, async () => {
      using place = mountPlace();
      using _kubelet = sharedKubelet(place.path);
      await using server = await startApiServer();
      tainted(server);
      writeFileSync(place.at('kubeconfig'), kubeconfigOf(server));
      const flags = [
        ...flagsOf(place.path),
        ...['--registration', registration, '--startup-taint', TAINT],
        ...['--registration-endpoint', `unix://${place.at('csi.sock')}`],
      ];
      const served = serve(flags, ['env', `KUBECONFIG=${place.at('kubeconfig')}`]);
      await using _end = ended(served);
      await eventually('the plugin is ready', () => served.said.some((line) => line.includes('"ready"')));
      // Longer than it waits between two looks.
      await new Promise((resolve) => setTimeout(resolve, 1_200));
      expect(server.calls).to.deep.equal([]);
      await register(place.path);
      await eventually('the taint is gone', () => server.calls.some(({ method }) => method === 'PATCH'));
      expect(server.calls.find(({ method }) => method === 'PATCH')).to.deep.include({
        path: '/api/v1/nodes/test',
        body: { metadata: { resourceVersion: '1' }, spec: { taints: null } },
      });
      await eventually('it says so', () => served.said.some((line) => line.includes('"removed"')));
    });
  }
});

function ended({ child, ended }: Served): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
