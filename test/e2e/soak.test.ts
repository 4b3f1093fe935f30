// A hundred callers with volumes of all kinds, for as long as is wanted, and a kubelet that gives calls up, repeats them at
// the same time, or leaves them too little time (unsteady.ts). When all volumes are gone, the plugin has what it had at the
// beginning, in itself and on the node.
//
//   SOAK_SECONDS   how long (default: 30; npm run test:soak: 600)
//   SOAK_BUNDLE    the bundle to be tried rather than the sources
//   SOAK_FIGURES   a file for what was found, as JSON
//   SOAK_SEED      the draws of that seed (default: the same in every run, others with SOAK_SECONDS)
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { SoakFigures } from '../../bench/soak-page.ts';
import { eventually } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { tell } from '../support/report.ts';
import { scaled } from '../support/time-scale.ts';
import { type Counts, countsOf, type Memory, memoryFileOf, memoryOf } from './figures.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { PASSING } from './passing.ts';
import { startPluginBelow } from './serve.ts';
import { type Call, expectNothingLeft, type Living, type Specimen, specimens } from './specimens.ts';
import { unsteady } from './unsteady.ts';

const SECONDS = Number(process.env.SOAK_SECONDS) || 30;
const BUNDLE = process.env.SOAK_BUNDLE;
const FIGURES = process.env.SOAK_FIGURES;
const SEED = Number(
  process.env.SOAK_SEED ?? (process.env.SOAK_SECONDS ? Math.floor(Math.random() * 2 ** 31) : 1),
);
/** By emulation, a hundred would wait for minutes for their turn, which no kubelet does. */
const CALLERS = Math.max(10, Math.round(100 / scaled(1)));
/** Everything is warm when each caller has had so many volumes. */
const WARM_ROUNDS = 1;
/** While it lasts, figures are taken so many times. */
const LOOKS = 10;
/** How long a call is repeated until its volume is said to hang: much longer than a hundred volumes take on a slow machine. */
const PATIENCE_MS = scaled(300_000);
const RETRY_MS = 20;
/**
 * What may be more at the end than when it was warm. The engine has one process more or less, as there was to do; memory, in
 * KiB, is what a process keeps for later, no more for ten minutes than for one.
 */
const MORE: Readonly<Partial<Record<keyof Counts, number>>> = { descriptors: 12, threads: 4, processes: 1 };
const MORE_HEAP = 16 * 1024;

interface Load {
  readonly codes: Map<string, number>;
  volumes: number;
  isOver: boolean;
}

describe('a hundred callers', function () {
  this.timeout(600_000 + SECONDS * 3_000);

  before(function () {
    needRoot(this, 'the plugin mounts');
    for (const { needs, title } of specimens('ways'))
      if (needs) needTool(this, needs, `volumes of kind ${title}`);
  });

  it('leave nothing, and the plugin as it was', async () => {
    await using node = await startNode({ start: startCollecting });
    const load: Load = { codes: new Map(), volumes: 0, isOver: false };
    await callers((random) => useVolumes(node, random, load, WARM_ROUNDS));
    await expectNothingLeft(node);
    const [counts, memory] = [countsOf(node), await memoryOf(node)];
    const looks: Look[] = [{ second: 0, volumes: load.volumes, ...counts, ...memory }];

    const begun = performance.now();
    const running = callers((random) => useVolumes(node, random, load));
    running.catch(() => undefined);
    const look = async () => {
      const second = Math.round((performance.now() - begun) / 1000);
      looks.push({ second, volumes: load.volumes, ...countsOf(node), ...(await memoryOf(node)) });
    };
    for (let i = 1; i <= LOOKS; i++) {
      // One that fails ends the others.
      await Promise.race([running, delay((SECONDS * 1000) / LOOKS)]);
      await look();
    }
    load.isOver = true;
    await running;
    await expectNothingLeft(node);
    await eventually('the plugin holds what it held', () => grown(counts, countsOf(node)).length === 0).catch(
      () => undefined, // Told below.
    );
    await look();
    tellOf(looks, load);
    const last = looks.at(-1) as Look;
    expect(grown(counts, last)).to.deep.equal([]);
    expect(last.heap, 'KiB of heap at the end').to.be.at.most(memory.heap + MORE_HEAP);
    expect(load.codes.get('CANCELLED'), 'calls that were given up').to.be.greaterThan(0);
    expect(node.plugin.log.map(({ text }) => text).join('\n')).to.equal('');
    if (FIGURES !== undefined) writeFileSync(FIGURES, JSON.stringify(figuresOf(looks, load)));
  });
});

type Look = Record<'second' | 'volumes', number> & Counts & Memory;

/** What is more than it was, and may not be. */
function grown(before: Counts, now: Counts): string[] {
  const names = Object.keys(before) as (keyof Counts)[];
  return names
    .filter((name) => now[name] > before[name] + (MORE[name] ?? 0))
    .map((name) => `${name}: ${before[name]}, now ${now[name]}`);
}

function figuresOf(looks: readonly Look[], { codes, volumes }: Load): SoakFigures {
  return {
    ...{ seed: SEED, seconds: SECONDS, callers: CALLERS },
    ...{ volumes, codes: Object.fromEntries(codes), looks: looks.map((look) => ({ ...look })) },
  };
}

function tellOf(looks: readonly Look[], { codes, volumes }: Load): void {
  console.table(looks);
  const calls = [...codes.values()].reduce((sum, one) => sum + one, 0);
  const each = [...codes].toSorted(([, a], [, b]) => b - a).map(([code, count]) => `${count} ${code}`);
  tell(`SOAK_SEED=${SEED}: ${volumes} volumes, ${calls} calls: ${each.join(', ')}`);
}

/** @throws the first failure, when all have ended */
async function callers(work: (random: () => number) => Promise<void>): Promise<void> {
  const ended = await Promise.allSettled(
    Array.from({ length: CALLERS }, (_, i) => work(randomFrom(SEED + i))),
  );
  const failed = ended.find((one) => one.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** One caller: a volume after the other. */
async function useVolumes(node: TestNode, random: () => number, load: Load, most = Infinity): Promise<void> {
  const kinds = specimens('ways');
  for (let i = 0; i < most && !load.isOver; i++) {
    const specimen = kinds[Math.floor(random() * kinds.length)] as Specimen;
    const impatient = unsteady(node, random);
    const living = specimen.make(impatient);
    try {
      await useVolume(living, specimen, random, load);
    } catch (error) {
      load.isOver = true;
      throw new Error(`${specimen.title}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
    impatient.calm();
    await living.volume[Symbol.asyncDispose]();
    load.volumes++;
  }
}

/** All its calls, or a pod that is deleted while its volume is on its way. */
async function useVolume(
  living: Living,
  { calls }: Specimen,
  random: () => number,
  load: Load,
): Promise<void> {
  const up = calls.filter((call) => call === 'stage' || call === 'publish');
  const until = random() < 0.15 ? Math.floor(random() * up.length) : up.length;
  for (const [i, call] of up.entries()) {
    if (i >= until) {
      // Once, whatever comes of it.
      note(await living.call(call), load);
      break;
    }
    await insist(living, call, load);
    if (call !== 'publish') continue;
    living.makePod?.();
    if (random() < 0.3) await insist(living, call, load);
  }
  for (const call of calls.filter((one) => one === 'unpublish' || one === 'unstage'))
    await insist(living, call, load);
}

/** As kubelet does, until it is done. */
async function insist(living: Living, call: Call, load: Load): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  do {
    const { code, message } = note(await living.call(call), load);
    if (code === 'OK') return;
    if (!PASSING.includes(code)) throw new Error(`${call}: ${code} ${message}`);
    await delay(RETRY_MS);
  } while (performance.now() < deadline);
  throw new Error(`${call}: not done after ${PATIENCE_MS} ms`);
}

function note(answer: Answer, { codes }: Load): Answer {
  codes.set(answer.code, (codes.get(answer.code) ?? 0) + 1);
  return answer;
}

const COLLECT = join(import.meta.dirname, '../support/soak/collect.fixture.ts');

function startCollecting(directory: string) {
  const program =
    BUNDLE === undefined ? 'exec "$0" "$@"' : `shift; exec '${process.execPath}' '${BUNDLE}' "$@"`;
  const wrapper = [
    ...['env', `SOAK_MEMORY=${memoryFileOf(directory)}`, `NODE_OPTIONS=--import=${COLLECT}`],
    ...['sh', '-c', program, 'sh'],
  ];
  return startPluginBelow(wrapper, directory, ['--user-namespaces', 'nested', '--log-level', 'error']);
}

function randomFrom(seed: number): () => number {
  let state = seed % 2 ** 31;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}
