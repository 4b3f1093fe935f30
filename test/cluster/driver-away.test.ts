// Pods that are deleted while their node has no driver: when it is back, is all of them taken away?
import { expect } from 'chai';
import { needChart, withoutDriver } from './chart.ts';
import { kubectl, untilGone } from './cluster.ts';
import { removeDataSets } from './data.ts';
import { heldOfVolumes, untilNothingIsHeld } from './held.ts';
import { countingPods, runningAll } from './kinds.ts';

/** How a user deletes them. */
const DELETIONS: Readonly<Record<string, readonly string[]>> = {
  deleted: [],
  'deleted by force': ['--force', '--grace-period=0'],
};

describe('pods on a real node without a driver', function () {
  this.timeout('8m');
  before(async function () {
    await needChart(this);
  });
  after(removeDataSets);

  for (const [how, flags] of Object.entries(DELETIONS)) {
    it(`${how} while it is away: nothing is left when it is back`, async () => {
      await using stack = new AsyncDisposableStack();
      const pods = countingPods(flags.length > 0 ? 'forced' : 'deleted');
      const started = await runningAll(stack, pods);
      {
        await using _away = await withoutDriver();
        await kubectl('delete', 'pod', '--wait=false', ...flags, ...pods.map(({ name }) => name));
        expect(heldOfVolumes(), 'their volumes wait for the driver').not.to.be.empty;
      }
      await Promise.all(started.map(untilGone));
      await untilNothingIsHeld();
    });
  }

  it('deleted by force with the driver there: nothing is left either', async () => {
    await using stack = new AsyncDisposableStack();
    const pods = countingPods('at-once');
    const started = await runningAll(stack, pods);
    await kubectl('delete', 'pod', '--force', '--grace-period=0', ...pods.map(({ name }) => name));
    await Promise.all(started.map(untilGone));
    await untilNothingIsHeld();
  });
});
