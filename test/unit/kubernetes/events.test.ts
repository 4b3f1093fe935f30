// Events on pods: what the API server is sent, how often, and that nobody waits for it.
import { expect } from 'chai';
import { type KubernetesApi, kubernetesApi } from '../../../src/kubernetes/api.ts';
import { type PodEvents, type PodEventsOptions, podEvents } from '../../../src/kubernetes/events.ts';
import { eventually } from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';
import { type ApiServer, apiOf, refusal, startApiServer } from './api-server.ts';

const POD = { namespace: 'shop', name: 'db-0', uid: '5f0d3a1e-0000-4000-8000-000000000001' };
const EVENT = { type: 'Warning', reason: 'RecordMissing', message: 'restart the pod' } as const;
const DONE = { status: 201, body: {} };

describe('events on pods', () => {
  let server: ApiServer;
  let api: KubernetesApi;
  let problems: string[];
  let open: PodEvents[];

  before(async function () {
    needTool(this, 'openssl', 'the certificate of the API server');
    server = await startApiServer();
  });
  beforeEach(() => {
    server.calls.length = 0;
    server.behaviour = () => DONE;
    api = apiOf(server);
    problems = [];
    open = [];
  });
  afterEach(async () => {
    for (const events of open) await events[Symbol.asyncDispose]();
    api[Symbol.dispose]();
  });
  after(() => server?.[Symbol.asyncDispose]());

  function make(options: Partial<PodEventsOptions> = {}): PodEvents {
    const onProblem = (problem: string) => problems.push(problem);
    const events = podEvents({
      api,
      component: 'idmap.csi.dev',
      host: 'node-1',
      onProblem,
      drainMs: 20_000,
      retryMs: [],
      ...options,
    });
    open.push(events);
    return events;
  }

  const arrived = (count: number) =>
    eventually(`${count} requests`, () => server.calls.length >= count).then(() =>
      expect(server.calls).to.have.length(count),
    );
  const methods = () => server.calls.map(({ method }) => method);

  it('are core/v1 Events of the pod, from this driver on this node', async () => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    const events = make();
    events.emit(POD, EVENT);
    await events[Symbol.asyncDispose]();
    const [call] = server.calls;
    expect(call).to.include({ method: 'POST', path: '/api/v1/namespaces/shop/events' });
    const { metadata, firstTimestamp, lastTimestamp, ...rest } = call?.body ?? {};
    expect(metadata.name).to.match(/^db-0\.[0-9a-f]{12,}$/);
    expect(metadata.namespace).to.equal('shop');
    expect(firstTimestamp)
      .to.equal(lastTimestamp)
      .and.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(Date.parse(firstTimestamp)).to.be.at.least(before);
    expect(rest).to.deep.equal({
      apiVersion: 'v1',
      kind: 'Event',
      involvedObject: { apiVersion: 'v1', kind: 'Pod', ...POD },
      ...EVENT,
      count: 1,
      source: { component: 'idmap.csi.dev', host: 'node-1' },
      reportingComponent: 'idmap.csi.dev',
      reportingInstance: 'node-1',
    });
  });

  it('the same again is the same Event with a higher count; another message, reason or pod is not', async () => {
    const events = make();
    events.emit(POD, EVENT);
    await arrived(1);
    events.emit(POD, { ...EVENT });
    await arrived(2);
    events.emit(POD, { ...EVENT, message: 'other' });
    await arrived(3);
    events.emit(POD, { ...EVENT, reason: 'Other' });
    await arrived(4);
    events.emit({ ...POD, uid: 'next' }, EVENT);
    await arrived(5);
    expect(methods()).to.deep.equal(['POST', 'PATCH', 'POST', 'POST', 'POST']);
    const [made, counted] = server.calls;
    expect(counted?.path).to.equal(`/api/v1/namespaces/shop/events/${made?.body.metadata.name}`);
    expect(counted?.contentType).to.equal('application/merge-patch+json');
    expect(Object.keys(counted?.body)).to.deep.equal(['count', 'lastTimestamp']);
    expect(counted?.body.count).to.equal(2);
    const names = server.calls
      .filter(({ method }) => method === 'POST')
      .map(({ body }) => body.metadata.name);
    expect(new Set(names).size).to.equal(4);
  });

  it('what comes many times while the server is slow is sent once, with its count', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    server.behaviour = () => promise.then(() => DONE);
    const events = make();
    events.emit(POD, EVENT);
    await arrived(1);
    for (let n = 0; n < 5; n += 1) events.emit(POD, EVENT);
    resolve();
    await events[Symbol.asyncDispose]();
    expect(methods()).to.deep.equal(['POST', 'PATCH']);
    expect(server.calls[1]?.body.count).to.equal(6);
  });

  it('one that the server has forgotten is made anew, with its count so far', async () => {
    const events = make();
    events.emit(POD, EVENT);
    await arrived(1);
    server.behaviour = ({ method }) => (method === 'PATCH' ? refusal(404, 'not found') : DONE);
    events.emit(POD, EVENT);
    await events[Symbol.asyncDispose]();
    expect(methods()).to.deep.equal(['POST', 'PATCH', 'POST']);
    const [first, , again] = server.calls.map(({ body }) => body);
    expect(again.metadata.name).not.to.equal(first.metadata.name);
    expect(again).to.include({ count: 2, firstTimestamp: first.firstTimestamp });
    expect(problems).to.deep.equal([]);
  });

  it('one that is there already, for its answer was lost, is counted', async () => {
    server.behaviour = ({ method }) => (method === 'POST' ? refusal(409, 'already exists') : DONE);
    const events = make();
    events.emit(POD, EVENT);
    await events[Symbol.asyncDispose]();
    expect(methods()).to.deep.equal(['POST', 'PATCH']);
    expect(server.calls[1]?.path).to.contain(server.calls[0]?.body.metadata.name);
    expect(problems).to.deep.equal([]);
  });

  it('are tried again when the server is away, and then not told as a problem', async () => {
    server.behaviour = () => (server.calls.length < 3 ? refusal(503, 'starting') : DONE);
    const events = make({ retryMs: [1, 1] });
    events.emit(POD, EVENT);
    await events[Symbol.asyncDispose]();
    expect(methods()).to.deep.equal(['POST', 'POST', 'POST']);
    expect(new Set(server.calls.map(({ body }) => body.metadata.name)).size).to.equal(1);
    expect(problems).to.deep.equal([]);
  });

  it('each kind of failure is told once, the missing permission with the rule', async () => {
    const events = make();
    server.behaviour = () => refusal(403, 'events is forbidden');
    events.emit(POD, EVENT);
    await arrived(1);
    events.emit(POD, EVENT);
    await arrived(2);
    server.behaviour = () => 'cut';
    events.emit(POD, EVENT);
    await arrived(3);
    events.emit({ ...POD, name: '../x' }, EVENT);
    await events[Symbol.asyncDispose]();
    expect(problems.toSorted()).to.deep.equal([
      'Events cannot be sent: socket hang up',
      'Events cannot be sent: the API server answers 403: events is forbidden; the driver\'s service account needs the rule {apiGroups: [""], resources: ["events"], verbs: ["create", "patch"]}',
      'no Event can be made: "../x" is no name of a pod',
    ]);
  });

  it('a refusal is not tried again', async () => {
    server.behaviour = () => refusal(403, 'no');
    const events = make({ retryMs: [1, 1, 1] });
    events.emit(POD, EVENT);
    await events[Symbol.asyncDispose]();
    expect(methods()).to.deep.equal(['POST']);
  });

  it('one pod cannot flood the server, and keeps no other from being heard', async () => {
    const events = make();
    for (let n = 0; n < 50; n += 1) events.emit(POD, { ...EVENT, message: `no. ${n}` });
    events.emit({ ...POD, name: 'db-1', uid: 'other' }, EVENT);
    await events[Symbol.asyncDispose]();
    expect(server.calls).to.have.length(11);
    expect(server.calls.at(-1)?.body.involvedObject.name).to.equal('db-1');
  });

  it('a queue that is full is told, and grows no further', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    server.behaviour = () => promise.then(() => DONE);
    const events = make();
    for (let n = 0; n < 150; n += 1) events.emit({ ...POD, uid: `u${n}` }, EVENT);
    resolve();
    await events[Symbol.asyncDispose]();
    expect(problems).to.deep.equal(['more than 100 Events wait; some are not sent']);
    // The first was on its way, and not in the queue any more.
    expect(server.calls).to.have.length(101);
  });

  it('a server that hangs holds back neither the caller nor the end', async () => {
    server.behaviour = () => 'hang';
    const events = make({ timeoutMs: 60_000, drainMs: 10 });
    events.emit(POD, EVENT);
    events.emit({ ...POD, uid: 'other' }, EVENT);
    await arrived(1);
    await events[Symbol.asyncDispose]();
    api[Symbol.dispose]();
    events.emit({ ...POD, uid: 'third' }, EVENT);
    expect(methods()).to.deep.equal(['POST']);
    expect(problems).to.deep.equal([]);
  });

  it('without access nothing happens, and that is said once', async () => {
    using none = kubernetesApi({ is: 'none', because: 'it is a test' });
    const events = make({ api: none });
    events.emit(POD, EVENT);
    events.emit(POD, EVENT);
    await events[Symbol.asyncDispose]();
    expect(problems).to.deep.equal(['there are no Events on pods: it is a test']);
  });

  it('texts that are too long are cut between characters', async () => {
    const events = make();
    events.emit(POD, { ...EVENT, message: 'ü'.repeat(1000), reason: 'R'.repeat(200) });
    await events[Symbol.asyncDispose]();
    const { message, reason } = server.calls[0]?.body ?? {};
    expect(message).to.equal(`${'ü'.repeat(510)}…`);
    expect(reason).to.equal(`${'R'.repeat(125)}…`);
  });

  it('the name of the Event stays within what Kubernetes allows', async () => {
    const events = make();
    const name = `${'a'.repeat(230)}${'-b'.repeat(11)}c`;
    events.emit({ ...POD, name }, EVENT);
    await events[Symbol.asyncDispose]();
    expect(server.calls[0]?.body.metadata.name).to.match(/^(?=.{200,253}$)[a-z0-9-]*[a-z0-9]\.[0-9a-f]+$/);
  });
});
