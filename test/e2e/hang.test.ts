// A filesystem that hangs. The caller's deadline holds for what the plugin does on its behalf; one volume that hangs
// is nobody else's trouble, and it can be given up.
import { mkdirSync } from 'node:fs';

import { expect } from 'chai';
import { eventually } from '../support/fixtures.ts';
import { needFile, needRoot } from '../support/need.ts';
import { type HungFilesystem, hungFilesystem } from './hung-filesystem.ts';
import { mountsAt } from './kernel.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { engineProcesses, isAlive, waitsForFuse } from './serve.ts';
import { type Volume, volumeOn } from './volume.ts';

/** More than anything takes that is done meanwhile. */
const PATIENT = { timeoutMs: 200_000 };
/** Far less than what the plugin would wait by itself, and than a test may take. */
const LEAST_MS = 1_500;
/** How many times as long as the same takes where nothing hangs. */
const ROOM = 10;

/** A bind is not. */
const mountedByStage = (directory: string) => ({ type: 'overlay', lowerdir: directory });

describe('a filesystem that hangs', () => {
  let node: TestNode;
  let hung: HungFilesystem;
  let timeoutMs: number;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needFile(this, '/dev/fuse', 'a filesystem without a server');
    node = await startNode();
    mkdirSync(node.at('data'));
    timeoutMs = Math.max(LEAST_MS, ROOM * (await usualMs()));
  });
  after(() => node?.[Symbol.asyncDispose]());
  beforeEach(() => {
    hung = hungFilesystem(node.at('hung'));
  });
  afterEach(() => hung[Symbol.dispose]());

  /** With a plugin that has just been started. */
  async function usualMs(): Promise<number> {
    const begun = performance.now();
    await using volume = volumeOn(node, { context: mountedByStage(node.at('data')) });
    expect(await volume.stage()).to.include({ code: 'OK' });
    return performance.now() - begun;
  }

  /** What is below the root of a filesystem takes its server to find. */
  const hangingVolume = () => volumeOn(node, { context: mountedByStage(`${hung.path}/directory`) });

  /** Stages it as a caller with little patience, who is told nothing but that time is up. */
  function stageImpatiently(volume: Volume): Promise<Answer> {
    return volume.stage({}, { timeoutMs });
  }

  it('the deadline of the caller reaches the engine', async () => {
    await using volume = hangingVolume();
    expect(await stageImpatiently(volume)).to.include({ code: 'DEADLINE_EXCEEDED' });
    await eventually('the call ends', () => node.callsOf(volume.id).length === 1);
    const [call] = node.callsOf(volume.id);
    expect(call).to.include({ code: 'DEADLINE_EXCEEDED' });
    expect(call?.error).to.match(/^mountAll had no answer within the deadline; its outcome is unknown/);
  });

  it('the volume can be given up, and staged from elsewhere', async () => {
    await using volume = hangingVolume();
    await stageImpatiently(volume);
    await eventually('the call ends', () => node.callsOf(volume.id).length === 1);
    expect(node.records(), 'what happened is not known').to.have.length(1);
    expect(await volume.unstage()).to.include({ code: 'OK' });
    expect(node.records()).to.deep.equal([]);
    const elsewhere = { volumeContext: mountedByStage(node.at('data')) };
    expect(await volume.stage(elsewhere)).to.include({ code: 'OK' });
    expect(mountsAt(volume.stagingPath)).to.have.length(1);
  });

  it('other volumes are served meanwhile', async () => {
    await using volume = hangingVolume();
    const waiting = volume.stage({}, PATIENT);
    await using other = volumeOn(node, { context: { source: node.at('data') } });
    expect(await other.stage()).to.include({ code: 'OK' });
    expect(await other.publish()).to.include({ code: 'OK' });
    expect(await other.unpublish()).to.include({ code: 'OK' });
    expect(await volume.unstage(), 'the one that hangs').to.include({ code: 'ABORTED' });
    // What waits then fails.
    hung[Symbol.dispose]();
    expect((await waiting).code).to.not.equal('OK');
    expect(await volume.unstage()).to.include({ code: 'OK' });
  });

  it('more of them than the engine has processes: each comes back at its deadline, others are served after', async () => {
    await using volumes = new AsyncDisposableStack();
    const all = Array.from({ length: 5 }, () => volumes.use(hangingVolume()));
    const answers = await Promise.all(all.map(stageImpatiently));
    expect(answers.map(({ code }) => code)).to.deep.equal(all.map(() => 'DEADLINE_EXCEEDED'));
    await eventually('the calls end', () => all.every((volume) => node.callsOf(volume.id).length === 1));
    await using other = volumeOn(node, { context: { source: node.at('data') } });
    expect(await other.stage()).to.include({ code: 'OK' });
  });

  it('stats are given up, and the volume is unpublished all the same', async () => {
    await using volume = volumeOn(node, { context: { source: hung.path } });
    expect(await volume.stage()).to.include({ code: 'OK' });
    expect(await volume.publish()).to.include({ code: 'OK' });
    const request = { volumeId: volume.id, volumePath: volume.target, stagingTargetPath: '' };
    const stats = node.ask((rpc) => rpc.nodeGetVolumeStats(request, { timeoutMs }));
    await eventually('they wait for its server', () => waitsForFuse(node.directory));
    expect(await volume.unpublish(), 'meanwhile').to.include({ code: 'OK' });
    expect(await stats).to.include({ code: 'DEADLINE_EXCEEDED' });
    expect(await volume.unstage()).to.include({ code: 'OK' });
  });

  it('killed in the middle of a call, the plugin leaves nothing at work, and its successor cleans up', async () => {
    await using volume = hangingVolume();
    const waiting = volume.stage({}, PATIENT);
    await eventually('the call is at work', () => waitsForFuse(node.directory));
    expect(node.records()).to.have.length(1);
    expect(node.records()[0]?.text).to.contain('"intended"');
    const engine = engineProcesses(node.directory);
    await node.kill();
    expect((await waiting).code).to.be.oneOf(['UNAVAILABLE', 'DEADLINE_EXCEEDED']);
    expect(engine).to.not.be.empty;
    await eventually('its engine is gone', () => !engine.some(isAlive));
    await node.start();
    expect(await volume.publish()).to.include({ code: 'FAILED_PRECONDITION' });
    expect(await volume.unstage()).to.include({ code: 'OK' });
    expect(node.records()).to.deep.equal([]);
  });
});
