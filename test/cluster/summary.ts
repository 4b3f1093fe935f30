// The account of a run on the cluster, as Markdown. Figures are noted, never asserted: they say something of this machine
// and hour.
export interface TestRun {
  readonly file: string;
  readonly title: string;
  readonly state: string;
  readonly seconds: number;
}

const notes: string[] = [];

/** A line of the summary: `60 pods at once: p50 ...`. */
export function note(line: string): void {
  notes.push(line);
}

/** Of cumulative buckets of a histogram, as Prometheus has it: linear within a bucket. In milliseconds, as text. */
export function quantileOf(
  quantile: number,
  buckets: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[],
): string {
  const steps = buckets
    .map(({ labels, value }) => ({ bound: Number((labels.le ?? '').replace('+Inf', 'Infinity')), value }))
    .toSorted((a, b) => a.bound - b.bound);
  const rank = quantile * (steps.at(-1)?.value ?? 0);
  const at = steps.findIndex(({ value }) => value >= rank);
  const upper = steps[at];
  const lower = steps[at - 1] ?? { bound: 0, value: 0 };
  if (upper === undefined || upper.bound === Infinity) return `more than ${lower.bound * 1000} ms`;
  const share = (rank - lower.value) / Math.max(upper.value - lower.value, 1);
  return `${((lower.bound + (upper.bound - lower.bound) * share) * 1000).toFixed(1)} ms`;
}

export function summaryOf(runs: readonly TestRun[]): string {
  const rows = runs.map(
    ({ file, title, state, seconds }) =>
      `| ${file.replace(/\.test\.ts$/, '')} | ${title} | ${state} | ${seconds.toFixed(1)} |`,
  );
  const total = runs.reduce((sum, { seconds }) => sum + seconds, 0);
  const count = (state: string) => runs.filter((run) => run.state === state).length;
  return [
    '| file | test | | seconds |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
    `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped, in ${Math.round(total)} s of tests.`,
    ...(notes.length > 0 ? ['', ...notes.map((line) => `- ${line}`)] : []),
    '',
  ].join('\n');
}
