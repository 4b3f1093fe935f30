import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { HelperGroups } from '../../../src/fuse-host/cgroup.ts';
import { type HelperSpec, type Helpers, runHelpers } from '../../../src/fuse-host/helpers.ts';
import { MountError } from '../../../src/mount/errors.ts';
import type { MountInfo } from '../../../src/mount/mountinfo.ts';
import { createLogger } from '../../../src/observe/logger.ts';
import { openDescriptors } from '../../support/leaks.ts';

const NO_GROUPS: HelperGroups = { are: 'not', because: 'none is needed here' };

/** Others mount and unmount at its targets all the time. */
function helpersWith(groups: HelperGroups): Helpers {
  let count = 0;
  return runHelpers({
    groups,
    log: createLogger({ level: 'error', format: 'json' }),
    shownAt: async (target) => ({ ...FUSE, target, device: `0:${++count}` }),
    unmount: async () => {
      throw new Error('that is not ours to unmount');
    },
  });
}

const FUSE: MountInfo = {
  ...{ id: 1, parentId: 1, device: '', root: '/', target: '', type: 'fuse', source: 'source' },
  ...{ options: [], propagation: [], superblockOptions: [] },
};

describe('whoever waits for deaths', () => {
  let helpers: Helpers;
  beforeEach(() => {
    helpers = helpersWith(NO_GROUPS);
  });
  afterEach(() => helpers[Symbol.asyncDispose]());

  const LONG_MS = 3_600_000;

  it('is told of none when the caller is gone already', async () => {
    expect(await helpers.deaths(0, LONG_MS, AbortSignal.abort())).to.deep.equal([]);
  });

  it('is told of none when the caller goes, and when the time is over', async () => {
    const caller = new AbortController();
    const gone = helpers.deaths(0, LONG_MS, caller.signal);
    await delay(1);
    caller.abort();
    expect(await gone).to.deep.equal([]);
    expect(await helpers.deaths(0, 1, new AbortController().signal)).to.deep.equal([]);
  });
});

describe('a helper that cannot be started', () => {
  const SPEC: HelperSpec = {
    ...{ target: '/nowhere', volumeId: 'volume', name: 'helper', uid: 0 },
    job: (output) => ({
      ...{ request: { mounts: [], target: { path: '/nowhere' }, programs: { output } } },
      ...{ place: { path: '/nowhere' }, kernel: {} },
    }),
  };

  async function failureOf(helpers: Helpers): Promise<MountError> {
    const error = await helpers.start(SPEC, 60_000).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(MountError);
    expect(helpers.list()).to.deep.equal([]);
    return error as MountError;
  }

  it('for want of a control group: leaves no descriptor open', async () => {
    await using helpers = helpersWith({
      are: 'there',
      of: () => {
        throw Object.assign(new Error('no more cgroups'), { code: 'ENOSPC' });
      },
      removeEmpty: () => undefined,
    });
    const before = openDescriptors(process.pid);
    expect(await failureOf(helpers)).to.include({ reason: 'node-exhausted', rolledBack: true });
    expect(openDescriptors(process.pid)).to.deep.equal(before);
  });

  it('for want of its process: says that nothing was done', async () => {
    await using helpers = helpersWith(NO_GROUPS);
    const { execPath } = process;
    process.execPath = '/nowhere/node';
    try {
      const error = await failureOf(helpers);
      expect(error).to.include({ reason: 'engine-lost', rolledBack: true });
      expect(error.message).to.contain('could not be begun: spawn /nowhere/node ENOENT');
    } finally {
      process.execPath = execPath;
    }
  });
});
