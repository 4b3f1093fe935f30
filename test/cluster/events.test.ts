// What a user sees of what the driver has to say: `kubectl get events`, `kubectl describe pod`.
import { chmodSync } from 'node:fs';
import { expect } from 'chai';
import { inRelease, needChart } from './chart.ts';
import { eventsOf, kubectl, until } from './cluster.ts';
import { dataSet, removeDataSets } from './data.ts';
import { pod, volume } from './objects.ts';
import { running, untilRunning } from './pods.ts';

const SLEEP = [{ name: 'main', script: 'sleep 600' }];

describe('Events of the driver on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this);
  });
  after(removeDataSets);

  it('a group that cannot write is told of on the pod, by the driver on this node', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet('no-group');
    chmodSync(at('base'), 0o755);
    await running(
      stack,
      ...volume('no-group', { source: at('base') }),
      pod({ name: 'no-group', fsGroup: 2000, containers: SLEEP }),
    );
    await untilRunning('no-group');
    const isTold = (event: string) => event.startsWith('FsGroupCannotWrite: ');
    await until('the pod is told', async () => (await eventsOf('no-group')).some(isTold));
    expect(await kubectl('describe', 'pod', 'no-group')).to.match(
      /Warning\s+FsGroupCannotWrite\s.*idmap\.csi\.dev.*chmod g\+w/,
    );
  });

  it('a FUSE server that has ended is told of, with what it was', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet('dies');
    await running(
      stack,
      ...volume('dies', { type: 'fuse.bindfs', source: at('base') }),
      pod({ name: 'dies', containers: SLEEP }),
    );
    await untilRunning('dies');
    await inRelease('fuse-host', 'sh', '-c', 'kill -9 $(pidof bindfs)');
    const isTold = (event: string) => event.startsWith('FuseServerEnded: ');
    await until('the pod is told', async () => (await eventsOf('dies')).some(isTold));
  });
});
