// The chart on a real node: is the driver there for kubelet, for the runtime, and for whoever asks?
import { expect } from 'chai';
import { DRIVER_NAME, helm, inRelease, metric, NAMESPACE, needChart } from './chart.ts';
import { kubectl } from './cluster.ts';
import { NODE } from './where.ts';

describe('the chart on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this);
  });

  it('registers the driver: CSINode lists it, with the name of the node', async () => {
    const { spec } = JSON.parse(await kubectl('get', 'csinode', NODE, '-o', 'json'));
    const ours = spec.drivers.find(({ name }: { name: string }) => name === DRIVER_NAME);
    expect(ours).to.deep.include({ name: DRIVER_NAME, nodeID: NODE });
  });

  it('tells the scheduler how many volumes a node takes', async () => {
    await needChart(this.ctx, { maxVolumes: 7 });
    const { spec } = JSON.parse(await kubectl('get', 'csinode', NODE, '-o', 'json'));
    const ours = spec.drivers.find(({ name }: { name: string }) => name === DRIVER_NAME);
    expect(ours.allocatable).to.deep.equal({ count: 7 });
    await needChart(this.ctx);
  });

  it('gives it the socket of the runtime: it is registered there by NRI', async () => {
    expect((await metric('csi_idmap_nri_registered')).map(({ value }) => value)).to.deep.equal([1]);
  });

  it('passes its own test: a pod with a volume, by `helm test`', async () => {
    expect(await helm('test', NAMESPACE, '-n', NAMESPACE, '--timeout', '2m')).to.match(/Phase:\s+Succeeded/);
  });

  it('has a doctor on the node', async () => {
    const said = await inRelease('driver', 'csi-driver-idmap', 'doctor');
    expect(said).to.match(/^mount-setattr +yes/m);
    // It knows where this node's runtime is, by the values of the chart.
    expect(said).to.match(/\(--user-namespaces auto: nri\)/);
    expect(said).to.match(/^volumes by \/.*\/plugins\/.*: none$/m);
    expect(said).to.match(/^fuse-host at .*: no helpers$/m);
  });
});
