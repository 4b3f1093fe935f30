// `npm run bench` (root, Go, gcc): everything, in about six minutes; writes bench/RESULTS.md and the chart beside it.
// `npm run bench -- --quick`: in less than one, writes nothing, fails when a goal is missed by half.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bind } from './bind.ts';
import { toSvg } from './chart.ts';
import { crowd } from './crowd.ts';
import { isSkipped, judge, type Result } from './finding.ts';
import { fuse } from './fuse.ts';
import { image } from './image.ts';
import { latency } from './latency.ts';
import { describeMachine } from './machine.ts';
import { memory } from './memory.ts';
import { nri } from './nri.ts';
import { overlay } from './overlay.ts';
import { owner } from './owner.ts';
import { toPage } from './page.ts';
import { publish } from './publish.ts';
import { type Benchmark, inSession, isQuick, runAll } from './session.ts';
import { soakOf, withSoak } from './soak-page.ts';
import { start } from './start.ts';
import { usernsFd } from './usernsfd.ts';

const BENCHMARKS: readonly Benchmark[] = [
  ...[usernsFd, overlay, bind, image, publish, crowd, owner, start, memory, nri],
];
const CHART = 'publish-latency.svg';
const CHART_TITLE = 'What a publish and unpublish take, against layers, mounts and callers';

const outcome = await inSession(isQuick(), async (session) => {
  const machine = describeMachine();
  const results = await runAll(BENCHMARKS, session);
  if (session.quick) return results;
  writeFileSync(at(CHART), toSvg(CHART_TITLE, await latency(session)));
  const page = toPage({ machine, results, chart: CHART, fuse: await fuse() });
  writeFileSync(at('RESULTS.md'), withSoak(page, soakOf(readFileSync(at('RESULTS.md'), 'utf8'))));
  return results;
});
if (typeof outcome === 'string') console.log(outcome);
else conclude(outcome);

function conclude(results: readonly Result[]): void {
  const verdicts = results.flatMap((result) => (isSkipped(result) ? [] : [judge(result)]));
  const reached = verdicts.filter(({ isReached }) => isReached).length;
  const far = verdicts.filter(({ isFar }) => isFar);
  console.log(`${reached} of ${results.length} goals reached, ${far.length} missed by half`);
  if (isQuick() && far.length > 0) process.exitCode = 1;
}

function at(name: string): string {
  return join(import.meta.dirname, name);
}
