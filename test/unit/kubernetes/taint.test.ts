import { expect } from 'chai';
import { removeStartupTaint, type StartupTaintOptions } from '../../../src/kubernetes/taint.ts';
import { eventually } from '../../support/fixtures.ts';
import {
  type ApiCall,
  type ApiServer,
  apiOf,
  type Behaviour,
  refusal,
  startApiServer,
} from './api-server.ts';

const NODE = 'node-1';
const DRIVER = 'idmap.csi.dev';
const TAINT = `${DRIVER}/agent-not-ready`;
const CSINODE = `/apis/storage.k8s.io/v1/csinodes/${NODE}`;
const OTHER = { key: 'dedicated', value: 'gpu', effect: 'NoSchedule' };

/** The node and the CSINode as the API server has them; patches are carried out. */
interface Cluster {
  taints: { key: string; value?: string; effect: string }[];
  drivers: string[] | undefined;
  version: number;
  /** Asked first: what it answers stands. */
  before: (call: ApiCall) => ReturnType<Behaviour> | undefined;
}

function cluster(server: ApiServer): Cluster {
  const state: Cluster = {
    taints: [{ key: TAINT, effect: 'NoSchedule' }, OTHER, { key: TAINT, effect: 'NoExecute' }],
    drivers: [DRIVER],
    version: 7,
    before: () => undefined,
  };
  server.behaviour = (call) => {
    const first = state.before(call);
    if (first !== undefined) return first;
    if (call.path === CSINODE) {
      if (state.drivers === undefined) return refusal(404, `csinodes.storage.k8s.io "${NODE}" not found`);
      return { status: 200, body: { spec: { drivers: state.drivers.map((name) => ({ name })) } } };
    }
    if (call.path !== `/api/v1/nodes/${NODE}`) return refusal(404, `no ${call.path}`);
    if (call.method === 'PATCH') {
      if (call.body.metadata.resourceVersion !== String(state.version)) return refusal(409, 'conflict');
      state.version++;
      state.taints = call.body.spec.taints ?? [];
    }
    const spec = state.taints.length === 0 ? {} : { taints: state.taints };
    return { status: 200, body: { metadata: { resourceVersion: String(state.version) }, spec } };
  };
  return state;
}

interface Watched extends AsyncDisposable {
  readonly outcomes: string[];
  readonly problems: string[];
}

function begin(server: ApiServer, options: Partial<StartupTaintOptions> = {}): Watched {
  const outcomes: string[] = [];
  const problems: string[] = [];
  const api = apiOf(server);
  const removal = removeStartupTaint({
    api,
    nodeName: NODE,
    driverName: DRIVER,
    taint: TAINT,
    isRegistered: () => true,
    onRemoved: (outcome) => outcomes.push(outcome),
    onProblem: (problem) => problems.push(problem),
    timing: { checkMs: 5, retryMs: 5, longestRetryMs: 20 },
    ...options,
  });
  return {
    outcomes,
    problems,
    async [Symbol.asyncDispose]() {
      await removal[Symbol.asyncDispose]();
      api[Symbol.dispose]();
    },
  };
}

const patches = (server: ApiServer): ApiCall[] => server.calls.filter(({ method }) => method === 'PATCH');

describe('kubernetes/taint', () => {
  let server: ApiServer;
  let state: Cluster;
  beforeEach(async () => {
    server = await startApiServer();
    state = cluster(server);
  });
  afterEach(() => server[Symbol.asyncDispose]());

  it('removes the taint, whatever its effect, and leaves the others', async () => {
    await using watched = begin(server);
    await eventually('the taint is removed', () => watched.outcomes.length > 0);
    expect(watched.outcomes).to.deep.equal(['removed']);
    expect(state.taints).to.deep.equal([OTHER]);
    expect(patches(server)[0]?.contentType).to.equal('application/merge-patch+json');
  });

  it('takes the list away with the last taint', async () => {
    state.taints = [{ key: TAINT, effect: 'NoSchedule' }];
    await using watched = begin(server);
    await eventually('the taint is removed', () => watched.outcomes.length > 0);
    expect(patches(server)[0]?.body.spec.taints).to.equal(null);
    expect(state.taints).to.deep.equal([]);
  });

  it('asks for nothing before kubelet has registered the driver', async () => {
    let registered = false;
    await using watched = begin(server, { isRegistered: () => registered });
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(server.calls).to.deep.equal([]);
    registered = true;
    await eventually('the taint is removed', () => watched.outcomes.length > 0);
  });

  for (const [title, drivers] of [
    ['there is no CSINode', undefined],
    ['CSINode lists other drivers only', ['ebs.csi.aws.com']],
    ['CSINode lists none', []],
  ] as const) {
    it(`waits while ${title}`, async () => {
      state.drivers = drivers && [...drivers];
      await using watched = begin(server);
      await eventually('it has asked several times', () => server.calls.length >= 3);
      expect(server.calls.every(({ path }) => path === CSINODE)).to.equal(true);
      expect(watched.problems).to.deep.equal([]);
      state.drivers = ['ebs.csi.aws.com', DRIVER];
      await eventually('the taint is removed', () => watched.outcomes.length > 0);
      expect(state.taints).to.deep.equal([OTHER]);
    });
  }

  it('does not remove it when kubelet has taken its registration back meanwhile', async () => {
    let registered = true;
    state.before = ({ path }) => {
      if (path !== CSINODE) registered = false;
      return undefined;
    };
    await using _watched = begin(server, { isRegistered: () => registered });
    await eventually('the node was asked for', () => server.calls.some(({ path }) => path !== CSINODE));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(patches(server)).to.deep.equal([]);
  });

  it('changes nothing on a node without it', async () => {
    state.taints = [OTHER];
    await using watched = begin(server);
    await eventually('it is done', () => watched.outcomes.length > 0);
    expect(watched.outcomes).to.deep.equal(['absent']);
    expect(patches(server)).to.deep.equal([]);
  });

  it('keeps what another has put on the node meanwhile', async () => {
    const late = { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' };
    let raced = false;
    state.before = ({ method }) => {
      if (method !== 'PATCH' || raced) return undefined;
      raced = true;
      state.taints.push(late);
      state.version++;
      return undefined;
    };
    await using watched = begin(server);
    await eventually('the taint is removed', () => watched.outcomes.length > 0);
    expect(state.taints).to.deep.equal([OTHER, late]);
    expect(watched.problems).to.deep.equal([]);
  });

  for (const [title, path, rule] of [
    ['of CSINodes', CSINODE, 'csinodes'],
    ['of nodes', `/api/v1/nodes/${NODE}`, 'nodes'],
  ] as const) {
    it(`names the right ${title} that it lacks, once, and goes on trying`, async () => {
      let allowed = false;
      state.before = (call) => (call.path === path && !allowed ? refusal(403, 'forbidden') : undefined);
      await using watched = begin(server);
      await eventually('it has tried again', () => server.calls.length >= 4);
      expect(watched.problems).to.have.length(1);
      expect(watched.problems[0]).to.include(TAINT).and.to.include(`resources: ["${rule}"]`);
      allowed = true;
      await eventually('the taint is removed', () => watched.outcomes.length > 0);
    });
  }

  it('goes on when the server does not answer, and ends at once when it is disposed of', async () => {
    state.before = () => 'hang';
    const watched = begin(server, { timeoutMs: 1_000 });
    await eventually('it has tried again', () => server.calls.length >= 2);
    expect(watched.problems).to.have.length(1);
    expect(watched.problems[0]).to.include('did not answer within 1000 ms');
    await watched[Symbol.asyncDispose]();
    expect(watched.outcomes).to.deep.equal([]);
  });
});
