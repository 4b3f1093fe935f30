// The part of RESULTS.md that a soak writes (soak.ts), and `npm run bench` leaves as it is. Pure.
import { row } from './report.ts';

/** What test/e2e/soak.test.ts found. */
export interface SoakFigures {
  readonly seed: number;
  readonly seconds: number;
  readonly callers: number;
  readonly volumes: number;
  /** Calls by the code of their answer. */
  readonly codes: Readonly<Record<string, number>>;
  /** The first when the plugin was warm, the last when all volumes were gone; memory in KiB. */
  readonly looks: readonly Readonly<Record<string, number>>[];
}

const HEADING = '\n## Soak\n';
/** What of a look is memory. */
const MEMORY = ['resident', 'heap', 'engine'];

/** @returns the section with its heading; '' where the page has none. It is the last. */
export function soakOf(page: string): string {
  const at = page.indexOf(HEADING);
  return at < 0 ? '' : page.slice(at);
}

export function withSoak(page: string, section: string): string {
  return page.slice(0, page.length - soakOf(page).length) + section;
}

export function toSoak({ seed, seconds, callers, volumes, codes, looks }: SoakFigures): string {
  const calls = Object.values(codes).reduce((sum, one) => sum + one, 0);
  const each = Object.entries(codes).toSorted(([, a], [, b]) => b - a);
  const columns = Object.keys(looks[0] ?? {});
  const title = (column: string) => (MEMORY.includes(column) ? `${column}, MiB` : column);
  const figure = (column: string, value = 0) =>
    MEMORY.includes(column) ? (value / 1024).toFixed(1) : String(value);
  return `${HEADING}
Written by \`npm run test:soak\`, with seed ${seed}: ${callers} callers for ${seconds} s, volumes of all kinds, calls given up,
repeated and out of time. ${volumes} volumes, ${calls} calls: ${each.map(([code, count]) => `${count} ${code}`).join(', ')}.
The first line is from before, when the plugin was warm; the last from when all volumes were gone; the others from between. The heap is
that after a collection; the memory of the engine's processes is not collected.
[docs/reliability.md](../docs/reliability.md#soak) says what is held to.

${[
  row(columns.map(title)),
  row(columns.map(() => '---')),
  ...looks.map((look) => row(columns.map((column) => figure(column, look[column])))),
].join('\n')}
`;
}
