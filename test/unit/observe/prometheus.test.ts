// The metrics by themselves: that each row of the table can be counted, and what a scrape then shows.
import { expect } from 'chai';
import { METRICS, type MetricName, noMetrics } from '../../../src/observe/metrics.ts';
import { prometheusMetrics } from '../../../src/observe/prometheus.ts';

describe('metrics', () => {
  const metrics = prometheusMetrics();
  const lines = async (start: string) =>
    (await metrics.render()).text.split('\n').filter((line) => line.startsWith(start));

  it('all have a type, a help text, and a name as Prometheus wants it', async () => {
    for (const [name, { type }] of Object.entries(METRICS)) {
      if (type === 'gauge') metrics.gauge(name as MetricName<'gauge'>, () => []);
    }
    for (const [name, { type, help, labels }] of Object.entries(METRICS)) {
      expect(await lines(`# TYPE ${name} `)).to.deep.equal([`# TYPE ${name} ${type}`]);
      expect(await lines(`# HELP ${name} `)).to.deep.equal([`# HELP ${name} ${help}`]);
      expect(name.endsWith('_total'), name).to.equal(type === 'counter');
      for (const label of Object.keys(labels)) expect(label).to.match(/^[a-z]+(_[a-z]+)*$/);
    }
  });

  it('a counter counts by its labels', async () => {
    metrics.count('csi_idmap_userns_record_waits_total', { outcome: 'completed' });
    metrics.count('csi_idmap_userns_record_waits_total', { outcome: 'completed' }, 2);
    metrics.count('csi_idmap_userns_record_waits_total', { outcome: 'expired' });
    expect(await lines('csi_idmap_userns_record_waits_total')).to.deep.equal([
      'csi_idmap_userns_record_waits_total{outcome="completed"} 3',
      'csi_idmap_userns_record_waits_total{outcome="expired"} 1',
    ]);
  });

  it('a histogram has the buckets of the table', async () => {
    const labels = { method: '/csi.v1.Node/NodeGetInfo', grpc_status_code: 'OK' };
    metrics.observe('csi_idmap_operations_seconds', labels, 0.02);
    const shown = await lines('csi_idmap_operations_seconds_bucket');
    const { buckets } = METRICS.csi_idmap_operations_seconds;
    expect(shown.map((line) => /le="([^"]*)"/.exec(line)?.[1])).to.deep.equal([
      ...buckets.map(String),
      '+Inf',
    ]);
    expect(shown.map((line) => line.split(' ').at(-1))).to.deep.equal(
      [...buckets, Number.POSITIVE_INFINITY].map((bound) => (bound < 0.02 ? '0' : '1')),
    );
  });

  it('a gauge is read at each scrape, and forgets what is not there any more', async () => {
    const fresh = prometheusMetrics();
    let staged = 2;
    fresh.gauge('csi_idmap_mounts', () =>
      staged > 0 ? [[{ kind: 'stage', state: 'done' }, staged] as const] : [],
    );
    const shown = async () => /^csi_idmap_mounts\{.*$/m.exec((await fresh.render()).text)?.[0];
    expect(await shown()).to.equal('csi_idmap_mounts{kind="stage",state="done"} 2');
    staged = 3;
    expect(await shown()).to.equal('csi_idmap_mounts{kind="stage",state="done"} 3');
    staged = 0;
    expect(await shown()).to.equal(undefined);
  });

  it('show the process too', async () => {
    const [line = ''] = await lines('process_resident_memory_bytes');
    expect(Number(line.split(' ')[1])).to.be.greaterThan(1e6);
  });

  it('where nobody looks, counting is nothing', () => {
    noMetrics.count('csi_idmap_userns_record_waits_total', { outcome: 'completed' });
    noMetrics.gauge('csi_idmap_mounts', () => {
      throw new Error('read by nobody');
    });
  });
});
