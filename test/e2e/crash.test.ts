// The plugin is killed at every single thing that it does in a call, and started again in a new mount namespace; the node
// may have been rebooted meanwhile, or the records lost or written by another version. Then the CO either repeats the
// call, or has changed its mind: both must end well, and leave nothing.
//
// One point of each call of a few kinds is taken here; CRASH_TEST=all takes every point of every kind, which takes a
// quarter of an hour (npm run test:crash).
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventually, temporaryDirectory } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { type NriHost, nriHost, startNriHost } from '../support/nri-host.ts';
import { tell } from '../support/report.ts';
import { wordsOf } from '../support/words.ts';
import { type CrashSwitch, crashSwitch } from './crash-switch.ts';
import { mountsAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { placeholderSpecimen } from './placeholder.ts';
import { engineProcesses, isAlive } from './serve.ts';
import {
  ALL_KINDS,
  type Call,
  devicesOf,
  expectNothingLeft,
  type Living,
  SPECIMENS,
  type Specimen,
  specimenNamed,
} from './specimens.ts';
import { rebooted, type World, withEarlierRecords, withLaterRecords, withoutRecords } from './worlds.ts';

/** With the most things to do. */
const FEW = [
  'overlay, ephemeral, of limited size, idmapped',
  'overlay with upperdir, idmapped',
  'image that is made',
  'image as a block device',
  'overlay that waits for its pod',
  'several mounts',
];
/** The one point of a call that is taken, for each of them in the order of SPECIMENS. */
const POINTS: { readonly [C in Call]: readonly number[] } = {
  stage: [2, 3, 6, 4, 3, 2],
  publish: [3, 9, 5, 3, 4, 5],
  unpublish: [2, 3, 1, 2, 3, 1],
  unstage: [1, 1, 2, 2, 1, 1],
};

const WORLDS: readonly World[] = [
  () => undefined,
  rebooted,
  withoutRecords,
  () => undefined,
  withLaterRecords,
  withEarlierRecords,
];

describe('a plugin that is killed', () => {
  const specimens = ALL_KINDS ? SPECIMENS : SPECIMENS.filter(({ title }) => FEW.includes(title));
  crashes(specimens, {
    waiting: specimenNamed('overlay that waits for its pod'),
    prepare: async () => ({ flags: [], used: new AsyncDisposableStack() }),
  });
});

describe('a plugin that is killed when it has shown a device, and its records are lost', () => {
  it('leaves no loop device, and the next publish shows one with the image behind it', async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'unshare', 'a plugin starts in a mount namespace of its own');
    const crash = crashSwitch();
    await using node = await startNode({ start: (directory) => crash.start(directory) });
    const specimen = specimenNamed('image as a block device');
    const living = specimen.make(node);
    await using volume = living.volume;
    await succeed(living, 'stage');
    let happened: readonly string[] = [];
    for (let n = 3; !happened.at(-1)?.startsWith('move_mount'); n++) {
      if (happened.length > 0) await succeed(living, 'unpublish');
      crash.arm(n);
      await living.call('publish');
      happened = crash.disarm();
      expect(happened, 'it is shown at some time').to.have.length(n);
      await node.kill();
      if (happened.at(-1)?.startsWith('move_mount')) withoutRecords(node, crash);
      await node.start();
    }
    expect(mountsAt(volume.target), 'it was shown').to.have.length(1);
    await eventually('no device', () => devicesOf(node).length === 0);
    await succeed(living, 'stage');
    await succeed(living, 'publish');
    living.expectPublished();
    expect(readFileSync(volume.target).length, 'the size of what it shows').to.be.greaterThan(0);
    await goBack(living, specimen);
    await expectNothingLeft(node);
  });
});

describe('a plugin that is killed, of a runtime with NRI', () => {
  let host: NriHost;
  const specimen = placeholderSpecimen(() => host);
  crashes([specimen], {
    waiting: specimen,
    async prepare(test) {
      test.timeout('10m'); // The first run of a checkout builds the runtime's side.
      const program = await nriHost(test);
      await using used = new AsyncDisposableStack();
      const place = used.use(temporaryDirectory());
      host = used.use(await startNriHost(program, place.at('nri.sock')));
      return { flags: ['--nri-socket', host.socket], used: used.move() };
    },
  });
});

interface CrashesOptions {
  /** One that is completed later. */
  readonly waiting: Specimen;
  /** What the plugin has beside it, and the flags by which it knows of that. */
  prepare(test: Mocha.Context): Promise<{
    readonly flags: readonly string[];
    readonly used: AsyncDisposableStack;
  }>;
}

function crashes(specimens: readonly Specimen[], { waiting, prepare }: CrashesOptions): void {
  const timeout = ALL_KINDS ? 600_000 : 240_000;
  let node: TestNode;
  let crash: CrashSwitch;
  let beside: AsyncDisposableStack;
  let kills = 0;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'unshare', 'a plugin starts in a mount namespace of its own');
    const { flags, used } = await prepare(this);
    beside = used;
    crash = crashSwitch(flags);
    node = await startNode({ start: (directory) => crash.start(directory) });
  });
  after(async () => {
    tell(`killed ${kills} times, at one thing after the other`);
    await node?.[Symbol.asyncDispose]();
    await beside?.disposeAsync();
  });

  for (const [i, specimen] of specimens.entries()) {
    for (const call of specimen.calls) {
      const only = ALL_KINDS ? undefined : POINTS[call][i % POINTS[call].length];
      const where = only === undefined ? 'at every point' : `at the ${only}. thing`;
      it(`${where} of a ${call} of ${specimen.title}: the CO comes to its end`, async function () {
        this.timeout(timeout);
        if (specimen.needs) needTool(this, specimen.needs, `volumes of kind ${specimen.title}`);
        for (let n = only ?? 1; ; n++) {
          const world = WORLDS[(n + i) % WORLDS.length] ?? rebooted;
          const happened = await killAt(n, call, specimen, world).catch((error: unknown) => {
            throw new Error(wordsOf(error), { cause: error });
          });
          await expectNothingLeft(node);
          if (only !== undefined) expect(happened, 'there are fewer things').to.have.length(n);
          if (only !== undefined || happened.length < n) break;
        }
      });
    }
  }

  it('while a volume that waits for its pod is completed: the next one completes it', async function () {
    this.timeout(timeout);
    const specimen = waiting;
    for (let n = 1; ; n += ALL_KINDS ? 1 : 4) {
      const living = specimen.make(node);
      await using _volume = living.volume;
      for (const call of ['stage', 'publish'] as const) await succeed(living, call);
      const isAlone = () => engineProcesses(node.directory).length === 0;
      const isDone = () =>
        node.records().some(({ text }) => text.includes('"publish"') && text.includes('"done"'));
      crash.arm(n);
      const made = living.makePod?.();
      await eventually('it is completed, or the plugin dead', () => isDone() || isAlone());
      const happened = crash.disarm();
      if (happened.length >= n) {
        kills++;
        await node.kill();
        await node.start();
      }
      await made;
      await living.run();
      await eventually('it is written down', isDone);
      await goBack(living, specimen);
      await expectNothingLeft(node);
      if (happened.length < n) break;
    }
  });

  /** What had happened in the call until its end or the plugin's, which came with the nth. */
  async function killAt(n: number, last: Call, specimen: Specimen, world: World): Promise<readonly string[]> {
    const living = specimen.make(node);
    await using _volume = living.volume;
    const before = specimen.calls.slice(0, specimen.calls.indexOf(last));
    for (const call of before) await succeed(living, call);
    const engines = engineProcesses(node.directory);
    crash.arm(n);
    const answer = await living.call(last);
    const happened = crash.disarm();
    const at = `killed at ${n}: ${happened.join(', ')}`;
    if (happened.length < n) {
      expect(answer, at).to.include({ code: 'OK' });
    } else {
      kills++;
      await node.kill();
      await eventually('its engine is gone', () => !engines.some(isAlive));
      world(node, crash);
      await node.start();
    }
    try {
      // Every second time the pod has been deleted meanwhile.
      const isUp = last === 'stage' || last === 'publish';
      const from = world === rebooted && last === 'publish' ? 'stage' : last;
      if (!isUp || Math.floor(n / WORLDS.length) % 2 === 0) await goOn(living, from, specimen);
      await goBack(living, specimen);
    } catch (error) {
      throw new Error(`${at}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
    return happened;
  }
}

/** From this call on, again, to the last one. */
async function goOn(living: Living, from: Call, { calls }: Specimen): Promise<void> {
  for (const call of calls.slice(Math.max(0, calls.indexOf(from)))) {
    await succeed(living, call);
    if (call === 'publish') {
      living.expectPublished();
      await living.run();
    }
  }
}

async function goBack({ volume, call }: Living, { calls }: Specimen): Promise<void> {
  for (const name of calls.filter((one) => one === 'unpublish' || one === 'unstage')) {
    expect(await call(name), name).to.include({ code: 'OK' });
  }
  expect(existsSync(volume.target), 'the target').to.equal(false);
  expect([...mountsAt(volume.target), ...mountsAt(volume.stagingPath)]).to.deep.equal([]);
}

async function succeed(living: Living, call: Call): Promise<void> {
  expect(await living.call(call), call).to.include({ code: 'OK' });
}
