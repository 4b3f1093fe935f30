// Measuring: medians of alternating rounds, so that what the machine does meanwhile meets both sides alike.

export interface Contestant {
  readonly name: string;
  /** One round. What it makes it takes away again, outside of the time if it says so. A number is its own time, in ms. */
  readonly round: () => unknown;
  /** Ahead of each round, not measured. */
  readonly before?: () => Promise<void> | void;
  /** After each round, not measured. */
  readonly after?: () => Promise<void> | void;
}

export interface Measured {
  readonly name: string;
  readonly medianMs: number;
}

/** @param contestants ours first; ratios are against the last */
export async function measure(contestants: readonly Contestant[], rounds: number): Promise<Measured[]> {
  const times = new Map(contestants.map(({ name }) => [name, [] as number[]]));
  for (let i = 0; i < rounds; i++) {
    for (const { name, round, before, after } of contestants) {
      await before?.();
      const started = performance.now();
      const own = await round();
      times.get(name)?.push(typeof own === 'number' ? own : performance.now() - started);
      await after?.();
    }
  }
  return [...times].map(([name, list]) => ({ name, medianMs: median(list) }));
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

export function report(title: string, measured: readonly Measured[]): string {
  const peer = measured.at(-1);
  const lines = measured.map(({ name, medianMs }) => {
    const ratio =
      peer && peer.name !== name
        ? `${(peer.medianMs / medianMs).toFixed(1)} times as fast as ${peer.name}`
        : '';
    return `  ${name.padEnd(42)} ${medianMs.toFixed(2).padStart(9)} ms  ${ratio}`.trimEnd();
  });
  return [title, ...lines].join('\n');
}
