// Waiting without giving the thread away, for what has to be done in one go (under a lock, between two calls).
// In short steps only: nothing else happens in this process meanwhile.

const never = new Int32Array(new SharedArrayBuffer(4));

export function pause(ms: number): void {
  Atomics.wait(never, 0, 0, ms);
}

/** Waits for something between half of `ms` and all of it, so that those who met once do not meet again. */
export function pauseAbout(ms: number): void {
  pause(ms * (0.5 + Math.random() / 2));
}
