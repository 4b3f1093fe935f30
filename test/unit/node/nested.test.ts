// When a nested volume is completed, and when its pod is told that it is not. What is mounted: test/e2e/nested.test.ts.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { SCHEMA, type VolumeRecord } from '../../../src/journal/record.ts';
import type { NodeDependencies } from '../../../src/node/dependencies.ts';
import { volumeLocks } from '../../../src/node/locks.ts';
import { completions } from '../../../src/node/nested.ts';
import { eventually, temporaryDirectory } from '../../support/fixtures.ts';

const UID = '01234567-89ab-cdef-0123-456789abcdef';
const RECORD: VolumeRecord = {
  ...{ schema: SCHEMA, kind: 'publish', volumeId: 'volume', path: '/target', state: 'waiting' },
  ...{ fingerprint: '', accessMode: '', bootId: '' },
  pod: { namespace: 'default', name: 'pod', uid: UID, serviceAccount: 'default' },
};

describe('the completion of a nested volume', () => {
  it('waits for a call of kubelet that is at work on its target, however long it takes', async () => {
    using kubelet = temporaryDirectory();
    const pod = join(kubelet.path, 'pods', UID);
    mkdirSync(pod, { recursive: true });
    const ids = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
    writeFileSync(join(pod, 'userns'), JSON.stringify({ uidMappings: ids, gidMappings: ids }));
    const outcomes: unknown[] = [];
    const events: unknown[] = [];
    const locks = volumeLocks();
    const deps: Partial<NodeDependencies> = {
      kubeletDir: kubelet.path,
      locks,
      // Completed by that call.
      journal: { find: () => ({ ...RECORD, state: 'done' }) } as Partial<
        NodeDependencies['journal']
      > as NodeDependencies['journal'],
      events: { emit: (_, event) => void events.push(event) } as NodeDependencies['events'],
      metrics: {
        count: (_, labels) => void outcomes.push(labels),
      } as Partial<NodeDependencies['metrics']> as NodeDependencies['metrics'],
    };
    const log = { warn: () => undefined, info: () => undefined };
    await using running = completions({ deps: () => deps as NodeDependencies, log });
    {
      using _call = locks.take(RECORD.volumeId, RECORD.path);
      running.begin(RECORD);
      await delay(600);
      expect(outcomes).to.deep.equal([]);
    }
    await eventually('it has ended', () => outcomes.length > 0);
    expect(outcomes).to.deep.equal([{ outcome: 'completed' }]);
    expect(events).to.deep.equal([]);
  });
});
