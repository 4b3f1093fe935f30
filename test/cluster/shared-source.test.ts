// Two PersistentVolumes of one source, as two namespaces have them: kubelet unstages a volume only when nothing else on the
// node is a mount of the same device and directory (GetDeviceMountRefs). Are both taken away when their pods are gone?
import { expect } from 'chai';
import { needChart } from './chart.ts';
import { type At, dataSet, removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { type Attributes, pod, volume } from './objects.ts';
import { inPod, running, untilRunning } from './pods.ts';

const KINDS: Readonly<Record<string, (at: At) => Attributes>> = {
  bind: (at) => ({ source: at('base') }),
  owner: (at) => ({ source: at('base'), owner: '1000:1000' }),
  overlay: (at) => ({ type: 'overlay', lowerdir: `${at('top')}:${at('base')}` }),
  fuse: (at) => ({ type: 'fuse.bindfs', source: at('base') }),
};
const PAIR = ['a', 'b'];

describe('two volumes of one source on a real node', function () {
  this.timeout('8m');
  before(async function () {
    await needChart(this);
  });
  after(removeDataSets);

  it('both are there for their pods, and nothing is left of either', async () => {
    {
      await using stack = new AsyncDisposableStack();
      const names = Object.entries(KINDS).flatMap(([kind, attributes]) => {
        const at = dataSet(`shared-${kind}`);
        return PAIR.map((which) => ({ name: `shared-${kind}-${which}`, attributes: attributes(at) }));
      });
      const containers = [{ name: 'main', script: 'sleep 600' }];
      await running(
        stack,
        ...names.flatMap(({ name, attributes }) => [...volume(name, attributes), pod({ name, containers })]),
      );
      for (const { name } of names) {
        await untilRunning(name);
        expect(await inPod(name, 'cat', '/v/of-service'), name).to.equal('service');
      }
    }
    await untilNothingIsHeld();
  });
});
