// Pods with volumes of every kind run on while what serves them is restarted, and their volumes end as they should
// afterwards.
import { expect } from 'chai';
import { needChart, restartDriver } from './chart.ts';
import { podOf, script } from './cluster.ts';
import { removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { countingPods, runningAll, untilAllCountOn } from './kinds.ts';

/** What is restarted, and how. */
const RESTARTS: Readonly<Record<string, () => Promise<void>>> = {
  driver: restartDriver,
  kubelet: () => script('restart', 'kubelet'),
  containerd: () => script('restart', 'containerd'),
};

describe('pods on a real node run on, and can be deleted, when what serves them is restarted', function () {
  this.timeout('8m');
  before(async function () {
    await needChart(this);
  });
  after(removeDataSets);

  for (const [part, restart] of Object.entries(RESTARTS)) {
    it(part, async () => {
      {
        await using stack = new AsyncDisposableStack();
        const old = countingPods(`${part}-old`);
        const before = await runningAll(stack, old);
        await restart();
        await untilAllCountOn(old, before);
        const after = await Promise.all(old.map(({ name }) => podOf(name)));
        expect(restartCounts(after), 'no container was restarted').to.deep.equal(old.map(() => 0));
        // And pods that come later are served.
        await runningAll(stack, countingPods(`${part}-new`));
      }
      await untilNothingIsHeld();
    });
  }
});

const restartCounts = (pods: Awaited<ReturnType<typeof podOf>>[]): (number | undefined)[] =>
  pods.map(({ status }) => status.containerStatuses?.[0]?.restartCount);
