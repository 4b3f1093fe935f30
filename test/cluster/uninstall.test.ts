// What is left of the driver on a node that it was uninstalled from, and what of pods that ran meanwhile?
import { rmSync } from 'node:fs';
import { expect } from 'chai';
import { install, needChart, uninstall } from './chart.ts';
import { podOf } from './cluster.ts';
import { removeDataSets } from './data.ts';
import { heldOfDriver, PLUGIN_DIR, untilNothingIsHeld } from './held.ts';
import { countingPods, runningAll, untilAllCountOn } from './kinds.ts';

describe('the chart uninstalled from a real node', function () {
  this.timeout('8m');
  before(async function () {
    await needChart(this);
  });
  // For the next, whatever came of this.
  after(async () => {
    await install();
    removeDataSets();
  });

  it('leaves no mount, socket, process, record or file when the pods went first', async () => {
    {
      await using stack = new AsyncDisposableStack();
      await runningAll(stack, countingPods('before'));
    }
    await untilNothingIsHeld();
    await uninstall();
    await untilNothingIsHeld(heldOfDriver);
    // As docs/operations.md has it, step 4.
    rmSync(PLUGIN_DIR, { recursive: true });
  });

  it('and installed again under running pods: they ran on, and end as they should', async () => {
    // FUSE helpers end with fuse-host (docs/fuse.md).
    const kinds = ['bind', 'overlay-ephemeral', 'overlay-persistent', 'image', 'tmpfs'];
    {
      await using stack = new AsyncDisposableStack();
      const pods = countingPods('under', { kinds });
      await install();
      const started = await runningAll(stack, pods);
      await uninstall();
      await untilAllCountOn(pods, started);
      await install();
      await untilAllCountOn(pods, started);
      const after = await Promise.all(pods.map(({ name }) => podOf(name)));
      expect(after.map(({ status }) => status.containerStatuses?.[0]?.restartCount)).to.deep.equal(
        pods.map(() => 0),
      );
    }
    await untilNothingIsHeld();
  });
});
