// How much slower than usual the machine is that tests run on: by TEST_TIME_SCALE, a number. What a test allows for
// things outside of it is multiplied by that; what it gives to the code under test as a deadline is not.

const scale = Number(process.env.TEST_TIME_SCALE ?? 1);
if (!(scale > 0))
  throw new Error(`TEST_TIME_SCALE is ${process.env.TEST_TIME_SCALE}, and must be a number above 0`);

export const scaled = (ms: number): number => ms * scale;

type Timeout = (this: Mocha.Runnable, ms?: string | number) => unknown;

/** Those of mocha, wherever they were set: it asks its tests and hooks for theirs by this method when it runs them. */
export function scaleTimeouts(prototype: { timeout: Timeout }): void {
  const { timeout } = prototype;
  prototype.timeout = function (ms) {
    return ms === undefined ? scaled(timeout.call(this) as number) : timeout.call(this, ms);
  };
}
