// A node that comes up with the driver's taint: is it taken away when the driver can serve pods there, and do pods wait for
// that?
import { expect } from 'chai';
import { DRIVER_NAME, needChart, podsOf, withoutDriver } from './chart.ts';
import { kubectl, podOf, until } from './cluster.ts';
import { pod } from './objects.ts';
import { running, untilRunning } from './pods.ts';
import { NODE } from './where.ts';

const TAINT = `${DRIVER_NAME}/agent-not-ready`;

describe('the startup taint on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this, { startupTaint: { enabled: true } });
  });
  // Whatever came of the test: the next would wait for ever.
  after(() => kubectl('taint', 'node', NODE, `${TAINT}-`).catch(() => ''));

  it('keeps pods away until the driver is registered, which takes it off', async () => {
    await using stack = new AsyncDisposableStack();
    {
      await using _away = await withoutDriver();
      await kubectl('taint', 'node', NODE, `${TAINT}=:NoSchedule`);
      const containers = [{ name: 'main', script: 'sleep 600' }];
      const attributes = { type: 'tmpfs' };
      await running(stack, pod({ name: 'waits', containers, inline: attributes, isScheduled: true }));
      await until('the scheduler has refused it', async () =>
        JSON.stringify((await podOf('waits')).status).includes('untolerated taint'),
      );
      expect(await podsOf('driver')).to.be.empty;
    }
    await untilRunning('waits');
    expect(await kubectl('get', 'node', NODE, '-o', 'jsonpath={.spec.taints}')).not.to.include(TAINT);
  });
});
