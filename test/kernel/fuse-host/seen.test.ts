// When a helper is held to have lost its mount: real helpers, whose mounts the list of mounts shows or not as told.
import { mkdirSync } from 'node:fs';
import { expect } from 'chai';
import { type Helpers, type HelperView, runHelpers } from '../../../src/fuse-host/helpers.ts';
import { localEngine } from '../../../src/mount/engine.ts';
import { type MountInfo, readMountinfo } from '../../../src/mount/mountinfo.ts';
import { createLogger } from '../../../src/observe/logger.ts';
import { mountsAt } from '../../e2e/kernel.ts';
import { isAlive } from '../../e2e/serve.ts';
import { eventually, mountPlace, type TemporaryDirectory, unmountCommand } from '../../support/fixtures.ts';
import { needFile, needRoot, needTool } from '../../support/need.ts';
import { scaled } from '../../support/time-scale.ts';

const TIMEOUT_MS = scaled(60_000);
const LOOK_MS = 10;

describe('the mount of a helper', () => {
  let place: TemporaryDirectory;
  let helpers: Helpers;
  let helper: HelperView;
  /** How a reading shows the mount; undefined: not at all. Told which reading it is. */
  let shown: (mount: MountInfo, reading: number) => MountInfo | undefined;
  let readings = 0;

  before(function () {
    needRoot(this, 'it mounts');
    needFile(this, '/dev/fuse', 'it mounts by it');
    needTool(this, 'bindfs', 'it is mounted with here');
  });
  beforeEach(async () => {
    place = mountPlace();
    const target = { path: place.at('target') };
    for (const name of ['target', 'source']) mkdirSync(place.at(name));
    const engine = localEngine();
    shown = (mount) => mount;
    helpers = runHelpers({
      groups: { are: 'not', because: 'none is needed here' },
      log: createLogger({ level: 'error', format: 'json' }),
      shownAt: async (path) => {
        const found = await engine.lookup({ target: { path } });
        return found.is === 'mount-point' ? found.mount : undefined;
      },
      unmount: async (path) => {
        await engine.unmount({ target: { path }, force: true });
      },
      mounts: () => {
        readings++;
        return readMountinfo().flatMap((mount) =>
          mount.target === target.path ? (shown(mount, readings) ?? []) : [mount],
        );
      },
      lookMs: LOOK_MS,
    });
    helper = await helpers.start(
      {
        ...{ target: target.path, volumeId: 'volume', name: 'bindfs', uid: 0 },
        job: (output) => ({
          request: {
            mounts: [{ type: 'fuse.bindfs', source: place.at('source'), options: [] }],
            ...{ target, programs: { foreground: true, output } },
          },
          ...{ place: target, kernel: {} },
        }),
      },
      TIMEOUT_MS,
    );
  });
  afterEach(async () => {
    shown = (mount) => mount;
    await helpers?.abandon(place.path);
    await helpers?.[Symbol.asyncDispose]();
    if (place !== undefined && mountsAt(place.at('target')).length > 0) unmountCommand(place.at('target'));
    place?.[Symbol.dispose]();
  });

  const stateNow = () => helpers.list().map(({ state }) => state);
  const pid = () => helper.pids[0] ?? 0;

  async function afterReadings(count: number): Promise<void> {
    const first = readings;
    await eventually(`${count} readings`, () => readings >= first + count);
  }

  it('is not held to be gone by looks that miss it now and then', async () => {
    const states = new Set<string>();
    shown = (mount, reading) => {
      for (const state of stateNow()) states.add(state);
      return reading % 3 === 0 ? mount : undefined;
    };
    await afterReadings(60);
    expect([...states].sort()).to.deep.equal(['ending', 'serving']);
    expect(isAlive(pid())).to.equal(true);
    shown = (mount) => mount;
    await afterReadings(2);
    expect(stateNow()).to.deep.equal(['serving']);
  });

  it('is gone when look after look misses it: its helper is told to end, and forgotten', async () => {
    shown = () => undefined;
    await eventually('it has ended', () => !isAlive(pid()));
    await eventually('it is forgotten', () => helpers.list().length === 0);
  });

  it('is gone when another filesystem has its number', async () => {
    shown = (mount) => ({ ...mount, type: 'tmpfs', source: 'tmpfs' });
    await eventually('it has ended', () => !isAlive(pid()));
    await eventually('it is forgotten', () => helpers.list().length === 0);
  });

  it('is there still when readings at the end of its helper miss it', async () => {
    const death = helpers.deaths(0, TIMEOUT_MS, new AbortController().signal);
    let missed = 0;
    shown = (mount) => {
      if (isAlive(pid()) || missed === 2) return mount;
      missed++;
      return undefined;
    };
    process.kill(pid(), 'SIGKILL');
    expect((await death).map((one) => one.helper.state)).to.deep.equal(['dead']);
    expect(missed).to.equal(2);
    shown = () => undefined;
    await eventually('it is forgotten', () => helpers.list().length === 0);
  });
});
