// Measuring in turns (ours, theirs, ours, theirs...), so that what the machine does meanwhile meets all sides alike.
import type { Sample } from './finding.ts';

export interface Contestant {
  readonly name: string;
  /** One round. What it makes it takes away again, outside of the time if it says so. A number is its own time, in ms. */
  readonly round: () => unknown;
  /** Ahead of each round, not measured. */
  readonly before?: () => Promise<void> | void;
  /** After each round, not measured. */
  readonly after?: () => Promise<void> | void;
}

export interface Rounds {
  readonly rounds: number;
  /** Of the first contestant, ours, before the others take part: not counted, its compiler learns from them. */
  readonly warmUp?: number;
}

/** Of all, not counted: for what is found out once. */
const FIRST_ROUNDS = 2;

/** In the order of the contestants. */
export async function measure(
  contestants: readonly Contestant[],
  { rounds, warmUp = 0 }: Rounds,
): Promise<Sample[]> {
  const samples = contestants.map(({ name }) => ({ name, values: [] as number[] }));
  const first = -FIRST_ROUNDS - warmUp;
  for (let i = first; i < rounds; i++) {
    const some = i < -FIRST_ROUNDS ? contestants.slice(0, 1) : contestants;
    for (const [at, { round, before, after }] of some.entries()) {
      await before?.();
      const started = performance.now();
      const own = await round();
      const took = typeof own === 'number' ? own : performance.now() - started;
      if (i >= 0) samples[at]?.values.push(took);
      await after?.();
    }
  }
  return samples;
}
