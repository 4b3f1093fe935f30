// bench/RESULTS.md, but for the soak (soak-page.ts). Pure.
import { isSkipped, judge, type Result, type Sample } from './finding.ts';
import { row, spreadOf, time, toNotes, toTable } from './report.ts';
import { summarise } from './statistics.ts';

export interface Page {
  readonly machine: readonly (readonly [string, string])[];
  readonly results: readonly Result[];
  /** Of an SVG file beside it. */
  readonly chart: string;
  /** What other volumes have of FUSE filesystems that hang. */
  readonly fuse: readonly Sample[];
}

/** RESULTS.md. */
export function toPage({ machine, results, chart, fuse }: Page): string {
  const reached = results.filter((result) => !isSkipped(result) && judge(result).isReached).length;
  return `# Results

Written by \`npm run bench\` (root, Go, gcc; \`npm run bench -- --quick\` measures less, in under a minute). Ours and its peer
take turns in the same run, on the same files. Another machine has other times: the ratios are what to read.
[docs/performance.md](../docs/performance.md) says how it is measured, and where the time goes.

${[row(['on', '']), row(['---', '---']), ...machine.map(row)].join('\n')}

## Goals

${reached} of ${results.length} reached. A ratio is of medians, where it does not say p99; the goals are in \`bench/goals.ts\`.

${toTable(results)}

## Beside them

${toNotes(results)}

## Publish latency

![What a publish and unpublish take, against layers, mounts and callers](${chart})

## Beside FUSE filesystems that hang

A tmpfs, published and unpublished 30 times over the socket, beside 5 FUSE volumes whose servers answer or are stopped: what
it shows is that no publish waits for a server of another volume.

${fuse.map(({ name, values }) => `- ${name}: ${spreadOf(summarise(values), time)}`).join('\n')}
`;
}
