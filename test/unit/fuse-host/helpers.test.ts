import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { type Helpers, runHelpers } from '../../../src/fuse-host/helpers.ts';
import { createLogger } from '../../../src/observe/logger.ts';

describe('whoever waits for deaths', () => {
  let helpers: Helpers;
  beforeEach(() => {
    helpers = runHelpers({
      groups: { are: 'not', because: 'no helper is started' },
      log: createLogger({ level: 'error', format: 'json' }),
      unmount: async () => undefined,
    });
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
