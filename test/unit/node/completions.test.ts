// When a volume that waits is completed, and when its pod is told that it is not. What is mounted: test/e2e/nested.test.ts,
// nri.test.ts.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { SCHEMA, type VolumeRecord } from '../../../src/journal/record.ts';
import { completions } from '../../../src/node/completions.ts';
import type { NodeDependencies } from '../../../src/node/dependencies.ts';
import { volumeLocks } from '../../../src/node/locks.ts';
import { eventually, temporaryDirectory } from '../../support/fixtures.ts';

const UID = '01234567-89ab-cdef-0123-456789abcdef';
const RECORD: VolumeRecord = {
  ...{ schema: SCHEMA, kind: 'publish', volumeId: 'volume', path: '/target', state: 'waiting' },
  ...{ fingerprint: '', accessMode: '', bootId: '' },
  pod: { namespace: 'default', name: 'pod', uid: UID, serviceAccount: 'default' },
};

describe('the completion of a volume that waits', () => {
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

  /** With a record that waits until it is completed, which takes as long as `work`. */
  function waiting(stack: AsyncDisposableStack, work: () => Promise<void>) {
    const kubelet = stack.use(temporaryDirectory());
    mkdirSync(join(kubelet.path, 'pods', UID), { recursive: true });
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
    const running = stack.use(completions({ deps: () => deps, log, complete }));
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
