// Pods with `hostUsers: false`, with the driver as the chart installs it: it is given the runtime's socket, and so each
// volume is at its mountPath with the owners that the pod expects. In depth: user-namespaces.test.ts.
import { expect } from 'chai';
import { ownerOf } from '../support/fixtures.ts';
import { metric, needChart, restartDriver } from './chart.ts';
import { dataOf, removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { countingPods, runningAll, untilAllCountOn } from './kinds.ts';
import { inPod } from './pods.ts';

const LOOK = "cd /v; stat -c '%n %u:%g' * | grep -v count | sort; cat /proc/self/uid_map";

/** What pods see of the data set, and where that which they write is on the node. */
const SEEN: Readonly<Record<string, { readonly sees: readonly string[]; readonly writes?: string }>> = {
  bind: { sees: ['of-root 0:0', 'of-service 33:33'], writes: 'base' },
  'overlay-ephemeral': { sees: ['of-root 0:0', 'of-service 33:33', 'of-user 1000:1001', 'sub 0:0'] },
  'overlay-persistent': {
    sees: ['of-root 0:0', 'of-service 33:33', 'of-user 1000:1001', 'sub 0:0'],
    writes: 'upper',
  },
  image: { sees: ['lost+found 0:0'] },
  fuse: { sees: ['of-root 0:0', 'of-service 33:33'], writes: 'base' },
  tmpfs: { sees: [] },
};

describe('pods with user namespaces on a real node, with the chart', function () {
  this.timeout('8m');
  before(async function () {
    await needChart(this);
  });
  after(removeDataSets);

  it('each kind of volume is there with the owners of the pod, and stays when the driver is restarted', async () => {
    {
      await using stack = new AsyncDisposableStack();
      const pods = countingPods('userns', { hostUsers: false });
      const started = await runningAll(stack, pods);
      for (const [kind, { sees, writes }] of Object.entries(SEEN)) {
        const lines = (await inPod(`userns-${kind}`, 'sh', '-c', LOOK)).trim().split('\n');
        const [inside, outside, length] = lines.pop()?.trim().split(/\s+/).map(Number) ?? [];
        expect([inside, length], kind).to.deep.equal([0, 65536]);
        expect(outside, kind).to.be.greaterThan(65535);
        expect(lines, kind).to.deep.equal(sees);
        if (writes !== undefined) {
          expect(ownerOf(dataOf(`userns-${kind}`, writes, 'count')), kind).to.equal('0:0');
        }
      }
      const ways = await metric('csi_idmap_user_namespace_publish_total', { path: 'nri' });
      expect(ways[0]?.value).to.be.at.least(3);
      await restartDriver();
      await untilAllCountOn(pods, started);
    }
    await untilNothingIsHeld();
  });
});
