// The plugin is killed at random moments under a load of several callers with volumes of all kinds, and started again in a
// new mount namespace; each caller repeats what had no answer, as kubelet does. What a pod has written is there as long as it
// has to be, and when all volumes are gone nothing of them is left.
//
// CRASH_ROUNDS=N kills it so often (npm run test:crash: 500), with volumes and moments that are drawn by a seed that is
// printed: CRASH_SEED=N draws the same. A usual run always has the same.
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { temporaryDirectory } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { nriHost, startNriHost } from '../support/nri-host.ts';
import { tell } from '../support/report.ts';
import { scaled } from '../support/time-scale.ts';
import { startNode, type TestNode } from './node.ts';
import { difference, stateOf } from './node-state.ts';
import { PASSING } from './passing.ts';
import { placeholderSpecimen } from './placeholder.ts';
import { startPluginBelow } from './serve.ts';
import { type Call, expectNothingLeft, type Living, type Specimen, specimens } from './specimens.ts';

const ROUNDS = Number(process.env.CRASH_ROUNDS) || 20;
const SEED = Number(
  process.env.CRASH_SEED ?? (process.env.CRASH_ROUNDS ? Math.floor(Math.random() * 1e6) : 1),
);
const CALLERS = 6;
/** As long as a few calls take, each with some steps. */
const LONGEST_MS = scaled(500);
/** So often all volumes are brought to their end, and the node is looked at. */
const ROUNDS_EACH = 5;
const WAITS = 'overlay that waits for its pod';
/**
 * But for one that the tests cannot make beside the others: mkfs.btrfs takes the source of a mounted erofs image,
 * `/proc/self/fd/4`, for the file that it has open there itself.
 */
const KINDS = specimens('every').filter(({ title }) => title !== 'image of btrfs');

describe('a plugin that is killed at random moments', function () {
  this.timeout(120_000 + ROUNDS * 10_000);

  before(function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'unshare', 'a plugin starts in a mount namespace of its own');
    for (const { needs, title } of KINDS) if (needs) needTool(this, needs, `volumes of kind ${title}`);
    console.log(`volumes and moments drawn with CRASH_SEED=${SEED}`);
  });

  it('under a load of all kinds: nothing is lost, and nothing is left', async () => {
    await crash(KINDS, ['--user-namespaces', 'nested'], Math.ceil(ROUNDS / 2));
  });

  it('the same with volumes behind placeholders, by NRI', async function () {
    this.timeout(600_000 + ROUNDS * 10_000); // The first run of a checkout builds the runtime's side.
    const program = await nriHost(this);
    using place = temporaryDirectory();
    await using host = await startNriHost(program, place.at('nri.sock'));
    const placeholders = Array.from({ length: 8 }, () => placeholderSpecimen(() => host));
    const others = KINDS.filter(({ title }) => title !== WAITS);
    await crash([...placeholders, ...others], ['--nri-socket', host.socket], Math.ceil(ROUNDS / 2));
  });
});

async function crash(kinds: readonly Specimen[], flags: readonly string[], rounds: number): Promise<void> {
  const random = randomFrom(SEED);
  const wrapper = ['unshare', '--mount', '--propagation', 'unchanged'];
  await using node = await startNode({ start: (directory) => startPluginBelow(wrapper, directory, flags) });
  const empty = lasting(node);
  let [calls, volumes] = [0, 0];
  for (let round = 0; round < rounds; ) {
    const load = { calls: 0, failures: [] as string[], over: [] as Living[], isOver: false };
    const callers = Array.from({ length: CALLERS }, () =>
      useVolumes(node, kinds, random, load).catch((error: unknown) => {
        load.failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
      }),
    );
    for (let i = 0; i < ROUNDS_EACH && round < rounds; i++, round++) {
      await delay(random() * LONGEST_MS);
      await node.kill();
      await node.start();
    }
    load.isOver = true;
    await Promise.all(callers);
    expect(load.failures, load.failures.join('\n\n')).to.deep.equal([]);
    for (const { volume } of load.over) await volume[Symbol.asyncDispose]();
    calls += load.calls;
    volumes += load.over.length;
    expect(load.calls, 'calls that were done').to.be.greaterThan(CALLERS);
    await expectNothingLeft(node);
    expect(difference(empty, lasting(node))).to.deep.equal([]);
  }
  tell(`CRASH_SEED=${SEED}: killed ${rounds} times at random, ${volumes} volumes, ${calls} calls`);
}

/** What does not change with the plugin's process, nor with what the tests keep. */
const lasting = (node: TestNode) =>
  stateOf(node).filter(
    (line) =>
      !/^(descriptor|process .*(serve|engine-process))/.test(line) &&
      !/^name .*\/(data|kubelet\/(pods|plugins\/kubernetes\.io))(\/|$)/.test(line) &&
      // Made once, and there for good.
      !/^name .*\/(layers|empty)$/.test(line),
  );

interface Load {
  calls: number;
  readonly failures: readonly string[];
  /** Volumes that are gone. */
  readonly over: Living[];
  isOver: boolean;
}

/** One caller: a volume after the other, each from its first call to its last. */
async function useVolumes(
  node: TestNode,
  kinds: readonly Specimen[],
  random: () => number,
  load: Load,
): Promise<void> {
  while (!load.isOver && load.failures.length === 0) {
    const specimen = kinds[Math.floor(random() * kinds.length)] as Specimen;
    const living = specimen.make(node);
    try {
      for (const call of callsOf(specimen)) {
        await insist(living, call, load);
        if (call === 'publish') await use(living, load);
      }
    } catch (error) {
      throw new Error(`${specimen.title}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
    load.over.push(living);
  }
}

/** Published to two pods, one after the other. */
const callsOf = ({ calls }: Specimen): Call[] =>
  calls.flatMap((call) => (call === 'unpublish' ? [call, 'publish', call] : [call]));

/** The pod writes, and finds what it wrote for as long as it runs, whatever becomes of the plugin. */
async function use(living: Living, load: Load): Promise<void> {
  living.expectPublished();
  await living.run();
  for (let i = 0; i < 3; i++) {
    await delay(10);
    // Kubelet's repeated call, which a running pod must not notice.
    await insist(living, 'publish', load);
    living.expectPublished();
    if (living.hasNote !== undefined) expect(living.hasNote(), 'what the pod wrote').to.equal(true);
  }
}

/** As kubelet does, until it is done. */
async function insist(living: Living, call: Call, load: Load): Promise<void> {
  for (;;) {
    const { code, message } = await living.call(call);
    if (code === 'OK') break;
    if (!PASSING.includes(code)) throw new Error(`${call}: ${code} ${message}`);
    await delay(20);
  }
  load.calls++;
}

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}
