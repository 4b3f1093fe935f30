// Whether a pod has a user namespace of its own: what the API server says becomes an answer, and how often it is asked.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { KubernetesApi } from '../../../src/kubernetes/api.ts';
import { kubernetesApi } from '../../../src/kubernetes/api.ts';
import { type PodLookup, podLookup, type UserNamespace } from '../../../src/kubernetes/pods.ts';
import { needTool } from '../../support/need.ts';
import { type ApiServer, apiOf, type Behaviour, refusal, startApiServer } from './api-server.ts';

const POD = { namespace: 'shop', name: 'db-0', uid: '5f0d3a1e-0000-4000-8000-000000000001' };

const pod = (spec: unknown, uid = POD.uid) => ({ status: 200, body: { metadata: { uid }, spec } });

interface Row {
  readonly title: string;
  readonly behaviour: Behaviour;
  readonly timeoutMs?: number;
  readonly expected: UserNamespace | RegExp;
}

const ROWS: readonly Row[] = [
  { title: 'hostUsers: false', behaviour: () => pod({ hostUsers: false }), expected: { is: 'own' } },
  { title: 'hostUsers: true', behaviour: () => pod({ hostUsers: true }), expected: { is: 'host' } },
  { title: 'no hostUsers, which is true', behaviour: () => pod({}), expected: { is: 'host' } },
  {
    title: 'another pod of the same name',
    behaviour: () => pod({ hostUsers: true }, 'another'),
    expected: new RegExp(`^pod shop/db-0 is another one by now: its uid is another, not ${POD.uid}$`),
  },
  {
    title: 'the pod is gone',
    behaviour: () => refusal(404, 'pods "db-0" not found'),
    expected: /^the API server answers 404: pods "db-0" not found$/,
  },
  {
    title: 'no permission: the missing rule is named',
    behaviour: () => refusal(403, 'pods "db-0" is forbidden'),
    expected:
      /^the API server answers 403: pods "db-0" is forbidden; .*\{apiGroups: \[""\], resources: \["pods"\], verbs: \["get"\]\}$/,
  },
  {
    title: 'no identity',
    behaviour: () => refusal(401, 'Unauthorized'),
    expected: /^the API server answers 401: Unauthorized; the driver's token is not accepted/,
  },
  {
    title: 'a server in trouble',
    behaviour: () => refusal(500, 'etcdserver: leader changed'),
    expected: /answers 500: etcdserver: leader changed$/,
  },
  {
    title: 'a server that hangs',
    behaviour: () => 'hang',
    // For as long as it takes the request to be there.
    timeoutMs: 1_500,
    expected: /^the API server did not answer within 1500 ms$/,
  },
  {
    title: 'an object that is no pod',
    behaviour: () => ({ status: 200, body: { metadata: null, spec: 3 } }),
    expected: /^the answer of the API server is no pod$/,
  },
  {
    title: 'a pod without a spec',
    behaviour: () => pod(undefined),
    expected: /^the answer of the API server is no pod$/,
  },
];

describe('whether a pod has a user namespace of its own', () => {
  let server: ApiServer;
  let api: KubernetesApi;
  let pods: PodLookup;

  before(async function () {
    needTool(this, 'openssl', 'the certificate of the API server');
    server = await startApiServer();
  });
  beforeEach(() => {
    server.calls.length = 0;
    api = apiOf(server);
    pods = podLookup({ api, timeoutMs: 60_000 });
  });
  afterEach(() => api[Symbol.dispose]());
  after(() => server?.[Symbol.asyncDispose]());

  for (const { title, behaviour, expected, timeoutMs = 60_000 } of ROWS) {
    it(`${title}: ${expected instanceof RegExp ? 'unknown' : expected.is}`, async () => {
      server.behaviour = behaviour;
      const answer = await podLookup({ api, timeoutMs }).userNamespace(POD);
      if (expected instanceof RegExp) {
        expect(answer).to.include({ is: 'unknown' }).and.property('because').to.match(expected);
      } else expect(answer).to.deep.equal(expected);
      expect(server.calls.map(({ method, path }) => `${method} ${path}`)).to.deep.equal([
        'GET /api/v1/namespaces/shop/pods/db-0',
      ]);
    });
  }

  it('nobody there: unknown', async () => {
    using nobody = apiOf({ ...server, environment: { ...server.environment, KUBERNETES_SERVICE_PORT: '1' } });
    expect(await podLookup({ api: nobody }).userNamespace(POD))
      .to.include({ is: 'unknown' })
      .and.property('because')
      .to.match(/ECONNREFUSED/);
  });

  it('no access: unknown, and why', async () => {
    using none = kubernetesApi({ is: 'none', because: 'it is a test' });
    expect(await podLookup({ api: none }).userNamespace(POD)).to.deep.equal({
      is: 'unknown',
      because: 'no access to the API: it is a test',
    });
  });

  for (const [field, value] of [
    ['namespace', '..'],
    ['namespace', ''],
    ['name', '../../secrets/x'],
    ['name', 'a?b'],
    ['name', 'a'.repeat(254)],
    ['uid', ''],
  ] as const) {
    it(`${field} ${JSON.stringify(value.slice(0, 20))} is never part of a URL`, async () => {
      expect(await pods.userNamespace({ ...POD, [field]: value })).to.include({ is: 'unknown' });
      expect(server.calls).to.deep.equal([]);
    });
  }

  it('look-ups of one pod at one time are one request', async () => {
    server.behaviour = async () => {
      await sleep(20);
      return pod({ hostUsers: false });
    };
    const answers = await Promise.all(Array.from({ length: 5 }, () => pods.userNamespace(POD)));
    expect(answers.map(({ is }) => is)).to.deep.equal(Array(5).fill('own'));
    expect(server.calls).to.have.length(1);
  });

  it('what is known is not asked again, but for another pod', async () => {
    server.behaviour = () => pod({});
    await pods.userNamespace(POD);
    expect(await pods.userNamespace({ ...POD })).to.deep.equal({ is: 'host' });
    expect(server.calls).to.have.length(1);
    server.behaviour = () => pod({ hostUsers: false }, 'next');
    expect(await pods.userNamespace({ ...POD, uid: 'next' })).to.deep.equal({ is: 'own' });
    expect(server.calls).to.have.length(2);
  });

  it('what is not known is asked again, but not at once', async () => {
    server.behaviour = () => refusal(503, 'starting');
    const patient = podLookup({ api, failureMs: 3_600_000 });
    await patient.userNamespace(POD);
    expect(await patient.userNamespace(POD)).to.include({ is: 'unknown' });
    expect(server.calls).to.have.length(1);

    const eager = podLookup({ api, failureMs: 0 });
    await eager.userNamespace(POD);
    server.behaviour = () => pod({});
    expect(await eager.userNamespace(POD)).to.deep.equal({ is: 'host' });
    expect(await eager.userNamespace(POD)).to.deep.equal({ is: 'host' });
    expect(server.calls).to.have.length(3);
  });

  it('remembers some hundred pods, and forgets the oldest', async () => {
    server.behaviour = ({ path }) => pod({}, path.split('/').at(-1));
    const one = (name: string) => pods.userNamespace({ namespace: 'n', name, uid: name });
    for (let n = 0; n < 513; n += 1) await one(`p${n}`);
    expect(server.calls).to.have.length(513);
    await one('p512');
    await one('p1');
    expect(server.calls, 'known still').to.have.length(513);
    await one('p0');
    expect(server.calls, 'forgotten').to.have.length(514);
  });
});
