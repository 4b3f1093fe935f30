// A claim that is made larger while a pod uses it. There is no controller: after the claim has asked for more, this test does
// what an external resizer does last, and writes the new capacity into the PersistentVolume. From there on it is kubelet's
// affair, and the driver's (NodeExpandVolume).
import { statSync } from 'node:fs';
import { expect } from 'chai';
import { sparseFile } from '../support/images.ts';
import { needChart } from './chart.ts';
import { applied, eventsOf, kubectl, until } from './cluster.ts';
import { dataSet, removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { pod, volume } from './objects.ts';
import { inPod, running, untilRunning } from './pods.ts';

const MIB = 2 ** 20;
// Of xfs: an ext4 grows only where the node's root has CAP_SYS_RESOURCE.

/** Kubernetes lets only claims of such a class ask for more. */
const CLASS = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: { name: 'of-tests' },
  provisioner: 'kubernetes.io/no-provisioner',
  allowVolumeExpansion: true,
};

interface Row {
  readonly name: string;
  readonly block: boolean;
  /** Prints the bytes that the pod has. */
  readonly size: string;
}

const ROWS: readonly Row[] = [
  { name: 'grows-filesystem', block: false, size: 'echo $(($(stat -f -c "%b * %S" /v)))' },
  { name: 'grows-block', block: true, size: 'blockdev --getsize64 /dev/v' },
];

describe('a claim that asks for more on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this);
  });
  after(async () => {
    await untilNothingIsHeld();
    removeDataSets();
  });

  for (const { name, block, size } of ROWS) {
    it(`${name}: image, claim and what the pod has are larger, and the pod goes on`, async () => {
      await using stack = new AsyncDisposableStack();
      stack.use(await applied(CLASS));
      const image = dataSet(name)('image');
      if (block) sparseFile(image, 320 * MIB);
      const attributes = {
        type: 'image',
        source: image,
        ...(!block && { fsType: 'xfs', mkfs: 'true', size: '320Mi' }),
      };
      const claimed = {
        accessMode: 'ReadWriteOnce',
        capacity: '320Mi',
        storageClassName: 'of-tests',
      } as const;
      const containers = [{ name: 'main', script: 'sleep 600' }];
      await running(
        stack,
        ...volume(name, attributes, { block, ...claimed }),
        pod({ name, ...(block && { block: '/dev/v' }), containers }),
      );
      await untilRunning(name);
      const sizeInPod = async () => Number(await inPod(name, 'sh', '-c', size));
      const before = await sizeInPod();
      const storage = { storage: '640Mi' };
      await kubectl(
        'patch',
        'pvc',
        name,
        '-p',
        JSON.stringify({ spec: { resources: { requests: storage } } }),
      );
      await until('a resizer is waited for', async () =>
        (await eventsOf(name)).some((event) => event.startsWith('ExternalExpanding')),
      );
      await kubectl('patch', 'pv', name, '-p', JSON.stringify({ spec: { capacity: storage } }));
      await until('the claim has it', async () => {
        const { status } = JSON.parse(await kubectl('get', 'pvc', name, '-o', 'json'));
        return status.capacity?.storage === storage.storage;
      });
      expect(await sizeInPod()).to.be.greaterThan(before + 256 * MIB);
      expect(statSync(image).size).to.equal(640 * MIB);
    });
  }
});
