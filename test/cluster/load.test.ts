// Sixty pods at once, a volume each: do all start, is none left, and how long does a publish take meanwhile?
import { expect } from 'chai';
import { metric, needChart, restartDriver } from './chart.ts';
import { until } from './cluster.ts';
import { dataSet, removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { type Attributes, pod, volume } from './objects.ts';
import { isRunning, podsCalled, running } from './pods.ts';
import { note, quantileOf } from './summary.ts';

const PODS = 60;
const METHODS = ['NodeStageVolume', 'NodePublishVolume', 'NodeUnpublishVolume', 'NodeUnstageVolume'];

describe('many pods on a real node', function () {
  this.timeout('15m');
  before(async function () {
    await needChart(this);
    // So that the figures are of these pods alone.
    await restartDriver();
  });
  after(removeDataSets);

  it(`${PODS} with one volume each, at once: all start, and none is left`, async () => {
    const at = dataSet('many');
    const kinds: readonly Attributes[] = [
      { source: at('base') },
      { type: 'overlay', lowerdir: `${at('top')}:${at('base')}`, writable: 'ephemeral' },
      { type: 'tmpfs', sizeLimit: '1Mi' },
    ];
    const names = Array.from({ length: PODS }, (_, index) => `many-${index}`);
    const containers = [{ name: 'main', script: 'echo new >/v/$HOSTNAME && sleep 3600' }];
    const objects = names.flatMap((name, index) => [
      ...volume(name, kinds[index % kinds.length] ?? {}),
      pod({ name, containers }),
    ]);
    const begun = performance.now();
    {
      await using stack = new AsyncDisposableStack();
      await running(stack, ...objects);
      const all = () => podsCalled(names);
      await until('all run', async () => (await all()).every(isRunning), 10 * 60_000);
      note(`${PODS} pods at once, created to running: ${seconds(begun)} s`);
      expect(await count('csi_idmap_mounts', { kind: 'publish', state: 'done' })).to.equal(PODS);
    }
    await untilNothingIsHeld();
    note(`created to gone: ${seconds(begun)} s`);
    for (const method of METHODS) {
      const buckets = await metric('csi_idmap_operations_seconds_bucket', {
        method: `/csi.v1.Node/${method}`,
        grpc_status_code: 'OK',
      });
      const calls = Math.max(...buckets.map(({ value }) => value));
      expect(calls, method).to.be.at.least(PODS);
      note(`${method}: ${calls} calls, p50 ${quantileOf(0.5, buckets)}, p99 ${quantileOf(0.99, buckets)}`);
    }
  });
});

const seconds = (since: number): string => ((performance.now() - since) / 1000).toFixed(0);

const count = async (name: string, labels: Readonly<Record<string, string>>): Promise<number> =>
  (await metric(name, labels)).reduce((sum, { value }) => sum + value, 0);
