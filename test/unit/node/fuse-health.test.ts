// Of which pods a FUSE server that fails is told, and how often. Who is asked, and what real servers answer:
// test/e2e/fuse.test.ts. What the kernel shows is given here, and the answer of each server: a pod's own server is made by
// fuse-host, and no API server is there to be told.
import { expect } from 'chai';
import { SCHEMA, type VolumeRecord } from '../../../src/journal/record.ts';
import { type FuseHealth, type FuseHealthDependencies, fuseHealth } from '../../../src/node/fuse-health.ts';
import { eventually } from '../../support/fixtures.ts';

const ENDED = { answers: false, is: 'dead', because: 'its server has ended' } as const;

/** Of a pod that has the volume with ids of its own: mounted for it alone. */
const published = (pod: string, volumeId = 'volume', path = `/kubelet/${pod}`): VolumeRecord => ({
  ...{ schema: SCHEMA, kind: 'publish', volumeId, path, state: 'done', shape: 'mount' },
  ...{ fingerprint: '', accessMode: '', bootId: '' },
  volume: { kind: 'fuse', type: 'fuse.bindfs', sources: [] },
  pod: { namespace: 'default', name: pod, uid: pod, serviceAccount: 'default' },
});

interface Told {
  readonly pod: string;
  readonly reason: string;
}

describe('the health of FUSE servers', () => {
  let records: VolumeRecord[];
  /** What is mounted where: device by place, and the devices whose servers have ended. */
  let devices: Record<string, string>;
  let ended: string[];
  let asked: string[];
  let told: Told[];
  let counted: unknown[];
  let states: () => Record<string, number>;
  let health: FuseHealth;

  beforeEach(() => {
    [records, devices, ended, asked, told, counted] = [[], {}, [], [], [], []];
  });
  afterEach(() => health[Symbol.asyncDispose]());

  function begin(intervalMs?: number): void {
    const deps = {
      kubeletDir: '/kubelet',
      fuseHost: undefined,
      journal: {
        all: () => [...records],
        of: (volumeId: string) => records.filter((one) => one.volumeId === volumeId),
      },
      engine: {
        mountsBelow: async ({ target: { path } }: { target: { path: string } }) =>
          Object.entries(devices)
            .filter(([place]) => place === path || place.startsWith(`${path}/`))
            .map(([target, device]) => ({ type: 'fuse', target, device, root: '/' })),
      },
      probe: {
        ask: async (place: string) => {
          asked.push(place);
          return ended.includes(devices[place] ?? '') ? ENDED : { answers: true };
        },
      },
      events: { emit: ({ name }: { name: string }, { reason }: Told) => told.push({ pod: name, reason }) },
      metrics: {
        count: (_: string, labels: unknown) => counted.push(labels),
        gauge: (_: string, read: () => Iterable<readonly [{ state: string }, number]>) => {
          states = () => Object.fromEntries([...read()].map(([{ state }, value]) => [state, value]));
        },
      },
      log: { info: () => undefined, warn: () => undefined },
      ...(intervalMs !== undefined && { intervalMs }),
    };
    health = fuseHealth(deps as unknown as FuseHealthDependencies);
  }

  /** As NodeGetVolumeStats, which kubelet calls for each volume of each pod, again and again. */
  async function stats(): Promise<boolean[]> {
    const answers = [];
    for (const record of records) answers.push((await health.ask(record)).answers);
    return answers;
  }

  const isTold = (times: number) => eventually('it is told', () => told.length === times);

  it('of one volume with a server for each pod: the pod is told whose server has ended, once', async () => {
    begin();
    records = [published('a'), published('b')];
    devices = { '/kubelet/a': '0:50', '/kubelet/b': '0:51' };
    ended = ['0:50'];
    for (let minute = 0; minute < 3; minute++) expect(await stats()).to.deep.equal([false, true]);
    await isTold(1);
    expect(told).to.deep.equal([{ pod: 'a', reason: 'FuseServerEnded' }]);
    expect(counted).to.deep.equal([{ what: 'dead' }]);
    expect(states(), 'the volume, by its worst server').to.deep.equal({ serving: 0, dead: 1, hung: 0 });
  });

  it('below a cover, too, where the record does not name the server', async () => {
    begin();
    records = [published('a'), published('b'), published('c')].map((one) => ({ ...one, shape: 'tree' }));
    devices = { '/kubelet/a/data': '0:50', '/kubelet/b/data': '0:51', '/kubelet/c/data': '0:50' };
    ended = ['0:50'];
    expect(await stats()).to.deep.equal([false, true, false]);
    await isTold(2);
    expect(told.map(({ pod }) => pod)).to.deep.equal(['a', 'c']);
    expect(counted).to.have.length(1);
  });

  it('all pods that have a server in common are told at once, and not one that has the volume anew', async () => {
    begin();
    records = ['a', 'b', 'anew'].map((pod) => {
      const device = pod === 'anew' ? '0:51' : '0:50';
      devices[`/kubelet/${pod}`] = device;
      return { ...published(pod), mount: { type: 'fuse', device, root: '/' } };
    });
    ended = ['0:50'];
    expect(await stats()).to.deep.equal([false, false, true]);
    await isTold(2);
    expect(told.map(({ pod }) => pod)).to.deep.equal(['a', 'b']);
    expect(counted).to.have.length(1);
  });

  it('the look now and then is at each server, and once', async () => {
    begin(1);
    records = [published('a'), published('b'), published('c')];
    devices = { '/kubelet/a': '0:50', '/kubelet/b': '0:51', '/kubelet/c': '0:51' };
    ended = ['0:50'];
    await isTold(1);
    await eventually(
      'it has looked thrice',
      () => asked.filter((place) => place === '/kubelet/b').length > 2,
    );
    expect(told).to.deep.equal([{ pod: 'a', reason: 'FuseServerEnded' }]);
    expect(asked).not.to.include('/kubelet/c');
  });

  it('one whose pod has gone is forgotten: its number is used again', async () => {
    begin();
    records = [published('a'), published('b')];
    devices = { '/kubelet/a': '0:50', '/kubelet/b': '0:51' };
    ended = ['0:50'];
    await stats();
    await isTold(1);
    records = [published('b')];
    expect(states()).to.deep.equal({ serving: 1, dead: 0, hung: 0 });
    records = [published('b'), published('c')];
    devices = { '/kubelet/b': '0:51', '/kubelet/c': '0:50' };
    expect(await stats()).to.deep.equal([true, false]);
    await isTold(2);
    expect(told[1]).to.deep.equal({ pod: 'c', reason: 'FuseServerEnded' });
    expect(counted).to.have.length(2);
  });

  it('one that was mounted anew is well, and told of again when it ends again', async () => {
    begin();
    records = [published('a')];
    devices = { '/kubelet/a': '0:50' };
    ended = ['0:50'];
    await stats();
    devices = { '/kubelet/a': '0:60' };
    expect(await stats()).to.deep.equal([true]);
    expect(states()).to.deep.equal({ serving: 1, dead: 0, hung: 0 });
    ended = ['0:60'];
    expect(await stats()).to.deep.equal([false]);
    await isTold(2);
  });
});
