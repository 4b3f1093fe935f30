// `helm upgrade` replaces the driver's pod and leaves fuse-host: does a pod notice that reads a FUSE volume all the while?
import { expect } from 'chai';
import { anotherTag, install, needChart, podOfRelease, type Values } from './chart.ts';
import { until } from './cluster.ts';
import { dataSet, removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { pod, volume } from './objects.ts';
import { inPod, running, untilRunning } from './pods.ts';

/** Without pauses; what fails is counted and told of. Uncached: each read is the helper's to answer. */
const READ =
  'ok=0; while [ ! -e /tmp/stop ]; do if [ "$(cat /v/of-root 2>>/tmp/failed)" = root ]; then ok=$((ok+1)); else echo read $ok >>/tmp/failed; fi; echo $ok >/tmp/.ok; mv /tmp/.ok /tmp/ok; done; sleep 600';

describe('an upgrade of the chart on a real node', function () {
  this.timeout('8m');
  before(async function () {
    await needChart(this);
  });
  after(removeDataSets);

  const UPGRADES: Readonly<Record<string, () => Promise<Values>>> = {
    'another flag': async () => ({ log: { level: 'debug' } }),
    'another image': async () => ({ image: { tag: await anotherTag() } }),
    'back again': async () => ({}),
  };

  it('does not let one read of a FUSE volume fail: another flag, another image, and back again', async () => {
    {
      await using stack = new AsyncDisposableStack();
      const at = dataSet('upgrade');
      const name = 'upgrade-reader';
      await running(
        stack,
        ...volume(name, { type: 'fuse.bindfs', source: at('base') }),
        pod({ name, containers: [{ name: 'main', script: READ }] }),
      );
      await untilRunning(name);
      const reads = async () => Number(await inPod(name, 'cat', '/tmp/ok').catch(() => '0'));
      await until('it reads', async () => (await reads()) > 10);
      const host = await podOfRelease('fuse-host');
      for (const [what, values] of Object.entries(UPGRADES)) {
        const old = await podOfRelease('driver');
        await install(await values());
        const next = await podOfRelease('driver');
        expect(next.metadata.uid, `${what}: the driver is another`).not.to.equal(old.metadata.uid);
        const before = await reads();
        await until('it reads on', async () => (await reads()) > before + 10);
      }
      expect((await podOfRelease('fuse-host')).metadata.uid, 'fuse-host is the same').to.equal(
        host.metadata.uid,
      );
      expect(await inPod(name, 'sh', '-c', 'touch /tmp/failed; cat /tmp/failed')).to.equal('');
      expect(await reads()).to.be.greaterThan(100);
    }
    await untilNothingIsHeld();
  });
});
