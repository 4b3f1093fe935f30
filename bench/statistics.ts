// What is said of many times: pure. Times are in ms everywhere in bench/.

export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly p99: number;
  readonly max: number;
}

export function summarise(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  return {
    count: sorted.length,
    min: at(sorted, 0),
    median: at(sorted, 0.5),
    p99: at(sorted, 0.99),
    max: at(sorted, 1),
  };
}

export const median = (values: readonly number[]): number => summarise(values).median;

/** One ratio for each pair that was measured one after the other, so that what the machine did meanwhile met both. */
export function pairRatios(ours: readonly number[], theirs: readonly number[]): number[] {
  return ours.slice(0, theirs.length).map((value, i) => value / (theirs[i] ?? Number.NaN));
}

/** What ours took longer, pair by pair. */
export function pairDifferences(ours: readonly number[], theirs: readonly number[]): number[] {
  return ours.slice(0, theirs.length).map((value, i) => value - (theirs[i] ?? Number.NaN));
}

/** The nearest rank: one of the values, never something between two. */
function at(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
