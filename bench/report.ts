// How results are written: lines for a terminal while they come, rows and items of Markdown in the end (page.ts). Pure.
import { type Finding, isSkipped, judge, type Result, type Sample, type Verdict } from './finding.ts';
import { type Goal, goalOf } from './goals.ts';
import { type Summary, summarise } from './statistics.ts';

/** For a terminal: the verdict, and below it what it rests on. */
export function toLines(result: Result): string {
  const goal = goalOf(result.goal);
  if (isSkipped(result)) return `skipped  ${goal.what}: ${result.skipped}`;
  const verdict = judge(result);
  const mark = verdict.isReached ? 'reached' : verdict.isFar ? 'FAR' : 'missed';
  const head = `${mark.padEnd(8)} ${shown(verdict)} of ${limitOf(goal)}  ${goal.what}`;
  const { ours, peer, limit, beside = [], note } = result;
  const samples = [ours, peer, limit, ...beside].filter((sample) => sample !== undefined);
  const rows = samples.map((sample) => `           ${sample.name.padEnd(44)} ${spread(sample, goal)}`);
  const pairs =
    verdict.ratios && `           ${'ratio of the pairs'.padEnd(44)} ${spreadOf(verdict.ratios, digits)}`;
  return [head, ...rows, pairs, note && `           ${note}`].filter(Boolean).join('\n');
}

const COLUMNS = [
  'what',
  'goal',
  'measured',
  'verdict',
  'ours: min / median / max',
  'peer: min / median / max',
  'ratio of pairs: min / median / max',
  'n',
  'bare system calls',
  'ours above them',
];

export function toTable(results: readonly Result[]): string {
  return [row(COLUMNS), row(COLUMNS.map(() => '---')), ...results.map(toRow)].join('\n');
}

function toRow(result: Result): string {
  const goal = goalOf(result.goal);
  if (isSkipped(result)) return row([goal.what, limitOf(goal), 'not measured', result.skipped]);
  const { ours, peer, limit } = result;
  const verdict = judge(result);
  return row([
    goal.what,
    limitOf(goal),
    shown(verdict),
    verdict.isReached ? 'reached' : '**missed**',
    spread(ours, goal),
    peer ? spread(peer, goal) : '',
    verdict.ratios ? spreadOf(verdict.ratios, digits) : '',
    String(verdict.ours.count),
    limit ? time(summarise(limit.values).median) : '',
    verdict.aboveLimit === undefined ? '' : `${digits(verdict.aboveLimit)} x`,
  ]);
}

/** What was measured beside the goals, a list item each. */
export function toNotes(results: readonly Result[]): string {
  const found = results.filter((result): result is Finding => !isSkipped(result));
  return found
    .flatMap(({ goal: name, beside = [], note }) => {
      const goal = goalOf(name);
      const lines = beside.map((sample) => `${sample.name}: ${spread(sample, goal)}`);
      return [...lines, ...(note ? [note] : [])].map((line) => `- ${goal.what}: ${line}`);
    })
    .join('\n');
}

export function row(values: readonly string[]): string {
  return `| ${values.join(' | ')} |`;
}

const shown = ({ goal, value }: Verdict): string =>
  goal.peer === undefined ? `${digits(value)} ${goal.unit}` : `${digits(value)} x`;

const limitOf = ({ most, peer, unit }: Goal): string =>
  peer === undefined ? `<= ${most} ${unit}` : `<= ${most} x ${peer}`;

function spread({ values }: Sample, { unit, peer, of }: Goal): string {
  const isTime = peer !== undefined || unit === 'ms' || unit === undefined;
  const show = isTime ? time : (value: number) => `${digits(value)} ${unit}`;
  return spreadOf(summarise(values), show, of);
}

/** One value alone, where there is but one; p99 too, where that is what is held to the goal. */
export function spreadOf(
  { count, min, median, p99, max }: Summary,
  show: (value: number) => string,
  of?: Goal['of'],
): string {
  if (count === 1) return show(median);
  const three = [min, median, max].map(show).join(' / ');
  return of === 'p99' ? `${three}; p99 ${show(p99)}` : three;
}

/** From ms to what is read best. */
export function time(ms: number): string {
  return Math.abs(ms) < 1 ? `${digits(ms * 1000)} us` : `${digits(ms)} ms`;
}

/** Three digits that count. */
function digits(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
