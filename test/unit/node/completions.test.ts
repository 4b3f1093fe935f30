// When a volume that waits is completed, and when its pod is told that it is not. What is mounted: test/e2e/nested.test.ts,
// nri.test.ts.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'chai';
import { SCHEMA, type VolumeRecord } from '../../../src/journal/record.ts';
import { completions } from '../../../src/node/completions.ts';
import type { NodeDependencies } from '../../../src/node/dependencies.ts';
import { volumeLocks } from '../../../src/node/locks.ts';
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

describe('the completion of a volume that waits', () => {
  let kubelet: TemporaryDirectory;
  let told: Told;
  const locks = volumeLocks();

  beforeEach(() => {
    kubelet = temporaryDirectory();
    mkdirSync(join(kubelet.path, 'pods', UID), { recursive: true });
    told = { outcomes: [], events: [] };
  });
  afterEach(() => kubelet[Symbol.dispose]());

  function begin(options: { patienceMs?: number } = {}): AsyncDisposable {
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

  /** As kubelet does: whoever sees it sees all of it. */
  function writeRecord(ids = [{ hostId: 65_536, containerId: 0, length: 65_536 }]): void {
    const [directory, text] = [
      join(kubelet.path, 'pods', UID),
      JSON.stringify({ uidMappings: ids, gidMappings: ids }),
    ];
    writeFileSync(join(directory, 'new'), text);
    renameSync(join(directory, 'new'), join(directory, 'userns'));
  }

  const isOver = () => eventually('it has ended', () => told.outcomes.length > 0);

  it('waits for a call of kubelet that is at work on its target, however long it takes', async () => {
    writeRecord();
    const call = locks.take(RECORD.volumeId, RECORD.path);
    await using _running = begin();
    await delay(600);
    expect(told).to.deep.equal({ outcomes: [], events: [] });
    call[Symbol.dispose]();
    await isOver();
    expect(told).to.deep.equal({ outcomes: [{ outcome: 'completed' }], events: [] });
  });

  it('tells a pod whose record does not come, and goes on waiting for it', async () => {
    await using _running = begin({ patienceMs: 20 });
    await eventually('it is told', () => told.events.length > 0);
    expect(told.outcomes).to.deep.equal([]);
    writeRecord();
    await isOver();
    expect(told.outcomes).to.deep.equal([{ outcome: 'completed' }]);
    expect(told.events.map(({ reason }) => reason)).to.deep.equal(['UserNamespaceRecordMissing']);
    expect(told.events[0]?.message).to.contain('hostUsers: false');
  });

  it('tells nothing of a pod that is gone', async () => {
    rmSync(join(kubelet.path, 'pods', UID), { recursive: true });
    await using _running = begin();
    await isOver();
    expect(told).to.deep.equal({ outcomes: [{ outcome: 'unpublished' }], events: [] });
  });

  it('is tried again when it has failed: after a while, and at once when kubelet publishes again', async () => {
    for (const laterMs of [20, 2 ** 30]) {
      await using stack = new AsyncDisposableStack();
      writeRecord([]);
      const { running, outcomes } = waiting(stack, async () => undefined, laterMs);
      running.begin(RECORD);
      await eventually('it has failed', () => outcomes.length > 0);
      expect(outcomes[0]).to.deep.equal({ outcome: 'failed' });
      writeRecord();
      if (laterMs > 20) running.begin(RECORD);
      await eventually('it is complete', () => outcomes.length > 1);
      await eventually('and no more is tried', () =>
        isDeepStrictEqual(outcomes.at(-1), { outcome: 'completed' }),
      );
    }
  });

  /** With a record that waits until it is completed, which takes as long as `work`. */
  function waiting(stack: AsyncDisposableStack, work: () => Promise<void>, laterMs?: number) {
    let state: VolumeRecord['state'] = 'waiting';
    const outcomes: unknown[] = [];
    let tries = 0;
    const deps = {
      kubeletDir: kubelet.path,
      locks: volumeLocks(),
      journal: { find: () => ({ ...RECORD, state }) },
      events: { emit: () => undefined },
      metrics: { count: (_: string, labels: unknown) => void outcomes.push(labels) },
    } as unknown as NodeDependencies;
    const log = { warn: () => undefined, info: () => undefined };
    const complete = async () => {
      tries++;
      await work();
      state = 'done';
    };
    const running = stack.use(completions({ deps: () => deps, log, complete, ...(laterMs && { laterMs }) }));
    return { running, outcomes, tries: () => tries };
  }

  it('is one, whoever asks for it and however often', async () => {
    await using stack = new AsyncDisposableStack();
    const { promise, resolve } = Promise.withResolvers<void>();
    const { running, tries } = waiting(stack, () => promise);
    const asked = [running.now(RECORD, undefined), running.now(RECORD, undefined)];
    resolve();
    await Promise.all(asked);
    await running.now(RECORD, undefined);
    expect(tries()).to.equal(1);
  });

  it('by the runtime ends the wait for the record of kubelet, which never comes for a pod on the host', async () => {
    await using stack = new AsyncDisposableStack();
    const { running, outcomes } = waiting(stack, async () => undefined);
    running.begin(RECORD);
    await running.now(RECORD, undefined);
    await eventually('the wait has ended', () => outcomes.length > 0);
    expect(outcomes).to.deep.equal([{ outcome: 'completed' }]);
  });

  it('that fails is told to who asked, and may succeed for the next', async () => {
    await using stack = new AsyncDisposableStack();
    const problems = [new Error('no such source')];
    const { running, tries } = waiting(stack, async () => {
      const problem = problems.pop();
      if (problem) throw problem;
    });
    const failed = await running.now(RECORD, undefined).catch(({ message }) => message);
    expect(failed).to.equal('no such source');
    await running.now(RECORD, undefined);
    expect(tries()).to.equal(2);
  });

  it('is waited for by an unpublish', async () => {
    await using stack = new AsyncDisposableStack();
    const { promise, resolve } = Promise.withResolvers<void>();
    const { running } = waiting(stack, () => promise);
    const asked = running.now(RECORD, undefined);
    let ended = false;
    const end = running.end(RECORD).then(() => {
      ended = true;
    });
    await delay(20);
    expect(ended).to.equal(false);
    resolve();
    await Promise.all([asked, end]);
  });
});
