// When a nested volume is completed, and when its pod is told that it is not. What is mounted: test/e2e/nested.test.ts.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { SCHEMA, type VolumeRecord } from '../../../src/journal/record.ts';
import type { NodeDependencies } from '../../../src/node/dependencies.ts';
import { volumeLocks } from '../../../src/node/locks.ts';
import { completions } from '../../../src/node/nested.ts';
import { eventually, type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';

const UID = '01234567-89ab-cdef-0123-456789abcdef';
const RECORD: VolumeRecord = {
  ...{ schema: SCHEMA, kind: 'publish', volumeId: 'volume', path: '/target', state: 'waiting' },
  ...{ fingerprint: '', accessMode: '', bootId: '' },
  pod: { namespace: 'default', name: 'pod', uid: UID, serviceAccount: 'default' },
};

interface Told {
  readonly outcomes: unknown[];
  readonly events: { readonly reason: string; readonly message: string }[];
}

describe('the completion of a nested volume', () => {
  let kubelet: TemporaryDirectory;
  let told: Told;
  const locks = volumeLocks();

  beforeEach(() => {
    kubelet = temporaryDirectory();
    mkdirSync(join(kubelet.path, 'pods', UID), { recursive: true });
    told = { outcomes: [], events: [] };
  });
  afterEach(() => kubelet[Symbol.dispose]());

  function begin(options: { patienceMs?: number; timeoutMs?: number } = {}): AsyncDisposable {
    // What a completion asks for when the volume has been completed by somebody else.
    const journal: Partial<NodeDependencies['journal']> = { find: () => ({ ...RECORD, state: 'done' }) };
    const events: Partial<NodeDependencies['events']> = {
      emit: (_, event) => void told.events.push(event),
    };
    const metrics: Partial<NodeDependencies['metrics']> = {
      count: (_, labels) => void told.outcomes.push(labels),
    };
    const deps = { kubeletDir: kubelet.path, locks, journal, events, metrics };
    const log = { warn: () => undefined, info: () => undefined };
    const running = completions({ deps: () => deps as NodeDependencies, log, ...options });
    running.begin(RECORD);
    return running;
  }

  const isOver = () => eventually('it has ended', () => told.outcomes.length > 0);

  it('waits for a call of kubelet that is at work on its target, however long it takes', async () => {
    const ids = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
    const text = JSON.stringify({ uidMappings: ids, gidMappings: ids });
    writeFileSync(join(kubelet.path, 'pods', UID, 'userns'), text);
    const call = locks.take(RECORD.volumeId, RECORD.path);
    await using _running = begin();
    await delay(600);
    expect(told).to.deep.equal({ outcomes: [], events: [] });
    call[Symbol.dispose]();
    await isOver();
    expect(told).to.deep.equal({ outcomes: [{ outcome: 'completed' }], events: [] });
  });

  it('tells a pod whose record does not come, and waits no longer than it may', async () => {
    await using _running = begin({ patienceMs: 20, timeoutMs: 200 });
    await isOver();
    expect(told.outcomes).to.deep.equal([{ outcome: 'expired' }]);
    expect(told.events.map(({ reason }) => reason)).to.deep.equal(['UserNamespaceRecordMissing']);
    expect(told.events[0]?.message).to.contain('hostUsers: false');
  });

  it('tells nothing of a pod that is gone', async () => {
    rmSync(join(kubelet.path, 'pods', UID), { recursive: true });
    await using _running = begin();
    await isOver();
    expect(told).to.deep.equal({ outcomes: [{ outcome: 'unpublished' }], events: [] });
  });
});
