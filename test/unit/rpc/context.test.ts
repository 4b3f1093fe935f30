// How long a call has, by a clock that nobody sets.
import { expect } from 'chai';
import { createLogger } from '../../../src/observe/logger.ts';
import { openContext } from '../../../src/rpc/context.ts';

const DAY_MS = 86_400_000;

/** Until the end of the block the clock of the day is off by so much. */
function clockSet(ms: number): Disposable {
  const { now } = Date;
  Date.now = () => now() + ms;
  return {
    [Symbol.dispose]: () => {
      Date.now = now;
    },
  };
}

describe('the time that a call has', () => {
  const log = () => createLogger({ level: 'error', format: 'json' });

  for (const jump of [DAY_MS, -DAY_MS]) {
    it(`is the same after the clock was set by ${jump} ms`, () => {
      using open = openContext({ method: '/x', deadline: Date.now() + 60_000, log });
      using _set = clockSet(jump);
      expect(open.context.remaining()).to.be.within(1, 60_000);
      open.cancel();
      expect(open.context.signal.reason).to.include({ code: 'CANCELLED' });
    });
  }
});
