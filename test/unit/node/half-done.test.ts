// No refusal is final while an earlier call has left something half done.
import { expect } from 'chai';
import type { Journal } from '../../../src/journal/journal.ts';
import { MountError } from '../../../src/mount/errors.ts';
import type { NodeDependencies } from '../../../src/node/dependencies.ts';
import { uncertainWhileHalfDone } from '../../../src/node/half-done.ts';
import { NodeError } from '../../../src/node/reasons.ts';
import { nodeHandlers } from '../../../src/node/service.ts';
import type { CallContext } from '../../../src/rpc/context.ts';
import { NodePublishVolumeRequest, NodeStageVolumeRequest } from '../../../src/rpc/generated/csi.ts';
import { StatusError } from '../../../src/rpc/status.ts';

const KEY = { kind: 'publish', volumeId: 'v', path: '/t' } as const;

/** A journal of one record, or none: nothing but its state is looked at. */
const journalWith = (state: 'intended' | 'waiting' | 'done' | undefined) => ({
  journal: { find: () => (state === undefined ? undefined : { ...KEY, state }) } as unknown as Journal,
});

const refusal = new NodeError('published-elsewhere', 'no');

async function codeOf(state: Parameters<typeof journalWith>[0], error: Error): Promise<unknown> {
  try {
    await uncertainWhileHalfDone(KEY, journalWith(state), () => Promise.reject(error));
  } catch (thrown) {
    return thrown === error ? 'as it was' : (thrown as StatusError).code;
  }
  return 'OK';
}

describe('a refusal', () => {
  it('while a record says intended: UNAVAILABLE', async () => {
    expect(await codeOf('intended', refusal)).to.equal('UNAVAILABLE');
  });

  for (const state of ['waiting', 'done', undefined] as const) {
    it(`${state === undefined ? 'without a record' : `while a record says ${state}`}: as it is`, async () => {
      expect(await codeOf(state, refusal)).to.equal('as it was');
    });
  }

  for (const state of ['waiting', 'done'] as const) {
    it(`while a record says ${state}, because the kernel could not be asked: UNAVAILABLE`, async () => {
      const error = new MountError({ reason: 'mount-failed', message: 'EIO', rolledBack: true });
      expect(await codeOf(state, error)).to.equal('UNAVAILABLE');
    });
  }

  it('that is not final anyway: as it is', async () => {
    const error = new StatusError({ code: 'CANCELLED', message: 'gone' });
    expect(await codeOf('intended', error)).to.equal('as it was');
  });

  it('is known by its path, however the caller writes that', async () => {
    const journal = {
      find: ({ path }: { path: string }) => (path === '/t' ? { state: 'intended' } : undefined),
    };
    const { nodeStageVolume, nodePublishVolume } = nodeHandlers({ journal } as unknown as NodeDependencies);
    const context = {} as CallContext;
    const volumeId = 'v';
    const answers = [
      nodeStageVolume?.(NodeStageVolumeRequest.create({ volumeId, stagingTargetPath: '//t/' }), context),
      nodePublishVolume?.(NodePublishVolumeRequest.create({ volumeId, targetPath: '//t/' }), context),
    ];
    for (const answer of await Promise.allSettled(answers)) {
      expect(answer).to.have.nested.include({ status: 'rejected', 'reason.code': 'UNAVAILABLE' });
    }
  });

  it('is none where the call succeeds', async () => {
    expect(await uncertainWhileHalfDone(KEY, journalWith('intended'), async () => 'served')).to.equal(
      'served',
    );
  });
});
