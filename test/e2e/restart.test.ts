// The plugin is killed and started again, its mounts go away or its state is lost or damaged meanwhile: what it was
// asked to do before must hold, and what kubelet asks next must be served.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect } from 'chai';
import { eventually, unmountCommand } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { mountsAt, theMountAt } from './kernel.ts';
import { KINDS_HERE, type Kind, kindNamed, type VolumeOfKind, volumeOfKind } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { engineProcesses, isAlive } from './serve.ts';
import type { Volume } from './volume.ts';

const OVERLAY = kindNamed('overlay with upperdir, idmapped');

describe('a restart of the plugin', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  async function publishedVolume(kind: Kind): Promise<VolumeOfKind> {
    const volume = volumeOfKind(node, kind);
    if (!kind.inline) expect(await volume.stage()).to.include({ code: 'OK' });
    expect(await volume.publish()).to.include({ code: 'OK' });
    return volume;
  }

  const idsOf = ({ target, stagingPath }: Volume) =>
    [...mountsAt(stagingPath), ...mountsAt(target)].map(({ id }) => id);

  it('by SIGKILL, at any point: every volume is still there, and every call idempotent', async () => {
    await using volumes = new AsyncDisposableStack();
    const all: { kind: Kind; volume: VolumeOfKind }[] = [];
    for (const kind of KINDS_HERE) all.push({ kind, volume: volumes.use(await publishedVolume(kind)) });
    const before = node.mounts();

    await node.kill();
    expect(node.mounts(), 'without a plugin').to.deep.equal(before);
    await node.start();
    expect(node.mounts(), 'with a new one').to.deep.equal(before);
    for (const { kind, volume } of all) {
      if (!kind.inline) expect(await volume.stage(), kind.title).to.include({ code: 'OK' });
      expect(await volume.publish(), kind.title).to.include({ code: 'OK' });
      expect(await volume.publish({ readonly: true }), kind.title).to.include({ code: 'ALREADY_EXISTS' });
      expect(await volume.stats(volume.target), kind.title).to.include({ code: 'OK' });
    }
    expect(node.mounts(), 'after the same calls again').to.deep.equal(before);
    for (const { kind, volume } of all) {
      expect(await volume.unpublish(), kind.title).to.include({ code: 'OK' });
      expect(existsSync(volume.target), kind.title).to.equal(false);
    }

    await node.kill();
    await node.start();
    for (const { kind, volume } of all) {
      expect(await volume.unpublish(), kind.title).to.include({ code: 'OK' });
      if (!kind.inline) expect(await volume.unstage(), kind.title).to.include({ code: 'OK' });
    }
    expect(node.mounts()).to.deep.equal([]);
    expect(node.records()).to.deep.equal([]);
  });

  it('by SIGKILL: no process of its engine outlives it', async () => {
    await using _volume = await publishedVolume(OVERLAY);
    const before = engineProcesses(node.directory);
    expect(before).to.not.be.empty;
    await node.kill();
    try {
      // The kernel kills them in the same moment; each takes its own time to be gone.
      await eventually('they are gone', () => !before.some(isAlive));
    } finally {
      await node.start();
    }
  });

  it('of an engine process alone: it is replaced', async () => {
    await using volume = await publishedVolume(OVERLAY);
    for (const pid of engineProcesses(node.directory)) process.kill(pid, 'SIGKILL');
    // A call may still be given to one that is dying: the answer is an uncertain one, and a later try is served.
    let answer = await volume.unpublish();
    while (answer.code === 'UNAVAILABLE') answer = await volume.unpublish();
    expect(answer).to.include({ code: 'OK' });
    expect(await volume.publish()).to.include({ code: 'OK' });
  });

  describe('with its state lost', () => {
    it('unpublish and unstage go by what is mounted; stage and publish leave one mount at each place', async () => {
      await using removed = await publishedVolume(OVERLAY);
      await using repeated = await publishedVolume(OVERLAY);
      await node.kill();
      rmSync(node.stateDir, { recursive: true });
      await node.start();
      expect(await removed.unpublish()).to.include({ code: 'OK' });
      expect(existsSync(removed.target)).to.equal(false);
      expect(await removed.unstage()).to.include({ code: 'OK' });
      expect(idsOf(removed)).to.deep.equal([]);
      expect(await repeated.stage()).to.include({ code: 'OK' });
      expect(await repeated.publish()).to.include({ code: 'OK' });
      expect(idsOf(repeated)).to.have.length(2);
    });

    it('while it runs: unpublish and unstage still clean up, and new volumes are served', async () => {
      await using volume = await publishedVolume(OVERLAY);
      rmSync(join(node.stateDir, 'records'), { recursive: true });
      try {
        expect(await volume.unpublish()).to.include({ code: 'OK' });
        expect(existsSync(volume.target)).to.equal(false);
        expect(await volume.unstage()).to.include({ code: 'OK' });
        expect(await volume.stage()).to.include({ code: 'OK' });
      } finally {
        mkdirSync(join(node.stateDir, 'records'), { recursive: true });
      }
    });
  });

  describe('with a record', () => {
    const recordOf = ({ id }: Volume, kind: 'stage' | 'publish') => {
      const records = node.records().filter(({ text }) => text.includes(`"${id}"`));
      const record = records.find(({ file }) => basename(file).startsWith(kind));
      if (record === undefined) throw new Error(`no record of the ${kind} of ${id}`);
      return record;
    };
    const DAMAGES: readonly ((text: string) => string)[] = [
      (text) => text.slice(0, text.length / 2),
      () => '\n',
      () => 'null',
      (text) => text.replace(/"schema":\d+/, '"schema":"two"'),
      (text) => text.replace('"kind":"publish"', '"kind":"other"'),
    ];

    it('that cannot be read: set aside, reported, and the volume served', async () => {
      await using volumes = new AsyncDisposableStack();
      const damaged: { volume: Volume; file: string; text: string }[] = [];
      for (const damage of DAMAGES) {
        const volume = volumes.use(await publishedVolume(OVERLAY));
        const { file, text } = recordOf(volume, 'publish');
        damaged.push({ volume, file, text: damage(text) });
      }
      await node.kill();
      for (const { file, text } of damaged) writeFileSync(file, text);
      // What a write that was cut off leaves beside.
      writeFileSync(`${damaged[0]?.file}.tmp`, '{"schema": 1');
      await node.start();
      for (const { volume, file, text } of damaged) {
        const aside = `${file}.unreadable`;
        expect(readFileSync(aside, 'utf8')).to.equal(text);
        const reports = () => node.plugin.log.filter((line) => line.text.includes(aside));
        await eventually('it is reported', () => reports().length > 0);
        expect(reports()).to.have.length(1);
        expect(reports()[0]?.text).to.contain('"warn"').and.to.contain('was set aside');
        expect(await volume.publish()).to.include({ code: 'OK' });
        expect(idsOf(volume)).to.have.length(2);
        expect(await volume.unpublish()).to.include({ code: 'OK' });
        rmSync(aside);
      }
      const names = readdirSync(join(node.stateDir, 'records'));
      expect(names.filter((name) => !name.endsWith('.json'))).to.deep.equal([]);
    });

    it('and no mount, of this boot or another: the volume is mounted anew', async () => {
      await using ofThisBoot = await publishedVolume(OVERLAY);
      await using ofAnother = await publishedVolume(OVERLAY);
      await node.kill();
      for (const volume of [ofThisBoot, ofAnother]) {
        unmountCommand(volume.target);
        unmountCommand(volume.stagingPath);
      }
      for (const { file, text } of [recordOf(ofAnother, 'stage'), recordOf(ofAnother, 'publish')]) {
        writeFileSync(file, text.replace(/"bootId":"[^"]*"/, '"bootId":"of-another-boot"'));
      }
      await node.start();
      for (const volume of [ofThisBoot, ofAnother]) {
        expect(await volume.stats(volume.target)).to.include({ code: 'NOT_FOUND' });
        expect(await volume.publish(), 'before it is staged').to.include({ code: 'FAILED_PRECONDITION' });
        expect(await volume.stage()).to.include({ code: 'OK' });
        expect(await volume.publish()).to.include({ code: 'OK' });
        expect(theMountAt(volume.target).type).to.equal('overlay');
      }
    });
  });
});
