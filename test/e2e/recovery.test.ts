// What becomes of volumes of every kind when the plugin is gone for a while: the node is rebooted, the plugin's records
// are lost, or written by another version. All are published, the plugin is killed, the change is made, and the next one
// starts in a new mount namespace.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect } from 'chai';
import { eventually, mountCommand, unmountCommand, writeFiles } from '../support/fixtures.ts';
import { sparseFile } from '../support/images.ts';
import { needRoot, needTool } from '../support/need.ts';
import { type CrashSwitch, crashSwitch } from './crash-switch.ts';
import { mountsAt, theMountAt } from './kernel.ts';
import { kindNamed, volumeOfKind } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import {
  devicesOf,
  expectNothingLeft,
  type Living,
  layersOf,
  removePod,
  SPECIMENS,
  type Specimen,
  specimenNamed,
} from './specimens.ts';
import { type Volume, volumeOn } from './volume.ts';
import {
  rebooted,
  type World,
  withEarlierRecords,
  withForeignVolumes,
  withLaterRecords,
  withoutRecords,
} from './worlds.ts';

const EPHEMERAL = kindNamed('overlay, ephemeral');
const LIMITED = kindNamed('overlay, ephemeral, of limited size, idmapped');

/** xfs is made no smaller. */
const SMALL = 300n * 2n ** 20n;
const LARGER = 2n * SMALL;

interface Published {
  readonly specimen: Specimen;
  readonly living: Living;
}

describe('what the plugin finds when it starts', () => {
  let node: TestNode;
  let crash: CrashSwitch;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'unshare', 'a plugin starts in a mount namespace of its own');
    for (const { needs, title } of SPECIMENS) if (needs) needTool(this, needs, `volumes of kind ${title}`);
    crash = crashSwitch();
    node = await startNode({ start: (directory) => crash.start(directory) });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const expectOk = async (asked: ReturnType<Living['call']>, what: string) => {
    const { code, message } = await asked;
    expect(code, `${what}: ${message}`).to.equal('OK');
  };

  /** One volume of each kind, in use by a pod. */
  async function publishAll(): Promise<Published[]> {
    const all = SPECIMENS.map((specimen) => ({ specimen, living: specimen.make(node) }));
    for (const { specimen, living } of all) {
      for (const call of specimen.calls.filter(isUp))
        await expectOk(living.call(call), `${call} ${specimen.title}`);
      await living.run();
    }
    await eventually('all is written down', () =>
      node.records().every(({ text }) => text.includes('"done"')),
    );
    return all;
  }

  async function repeatAll(all: readonly Published[]): Promise<void> {
    for (const { specimen, living } of all) {
      for (const call of specimen.calls.filter(isUp))
        await expectOk(living.call(call), `${call} ${specimen.title}`);
      living.expectPublished();
    }
  }

  async function removeAll(all: readonly Published[]): Promise<void> {
    for (const { specimen, living } of all) {
      for (const call of specimen.calls.filter((one) => !isUp(one))) {
        await expectOk(living.call(call), `${call} ${specimen.title}`);
      }
      expect(existsSync(living.volume.target), specimen.title).to.equal(false);
      await living.volume[Symbol.asyncDispose]();
    }
    await expectNothingLeft(node);
  }

  async function expectStats(all: readonly Published[]): Promise<void> {
    for (const { specimen, living } of all)
      await expectOk(living.volume.stats(living.volume.target), `stats of ${specimen.title}`);
  }

  type XfsImage = Volume & { readonly image: string };

  async function xfsImage(test: Mocha.Context): Promise<XfsImage> {
    needTool(test, 'mkfs.xfs', 'the one filesystem that grows without a capability');
    mkdirSync(node.at('data'), { recursive: true });
    const image = node.at('data', `image-${randomUUID()}`);
    const context = { type: 'image', source: image, fsType: 'xfs', mkfs: 'true', size: String(SMALL) };
    const volume = volumeOn(node, { context });
    for (const call of ['stage', 'publish'] as const) await expectOk(volume[call](), call);
    return Object.assign(volume, { image });
  }

  async function expectGrown(volume: XfsImage): Promise<void> {
    const before = totalOf(volume.target);
    await expectOk(volume.expand(volume.target, { requiredBytes: LARGER }), 'expand');
    expect(statSync(volume.image).size).to.equal(Number(LARGER));
    expect(totalOf(volume.target)).to.be.greaterThan(1.5 * before);
  }

  async function restart(...meanwhile: World[]): Promise<void> {
    await node.kill();
    for (const world of meanwhile) world(node, crash);
    await node.start();
  }

  const recordsOf = ({ id }: { id: string }) => node.records().filter(({ text }) => text.includes(`"${id}"`));

  describe('after a reboot', () => {
    it('the same pods get the same volumes again, with what they wrote', async () => {
      const all = await publishAll();
      await restart(rebooted);
      await repeatAll(all);
      for (const { living } of all) {
        living.makePod?.();
        await eventually('it is complete', () => isComplete(living));
        living.expectKept();
      }
      await removeAll(all);
    });

    it('pods that were deleted meanwhile are unpublished, and nothing is left', async () => {
      const all = await publishAll();
      await restart(rebooted);
      await removeAll(all);
    });

    it('what was written by pods that kubelet has forgotten goes without a call', async () => {
      const all = await publishAll();
      await restart(rebooted, () => {
        for (const { living } of all) removePod(living.volume);
      });
      await eventually('nothing is left', () => node.records().length === 0 && layersOf(node).length === 0);
      await removeAll(all);
    });
  });

  describe('without its records', () => {
    it('unpublish and unstage go by what the kernel shows', async () => {
      const all = await publishAll();
      await restart(withoutRecords);
      await removeAll(all);
    });

    it('stage and publish leave running pods what they have', async () => {
      const all = await publishAll();
      await restart(withoutRecords);
      await expectStats(all);
      await repeatAll(all);
      for (const { living } of all) living.expectKept();
      await removeAll(all);
    });

    it('stats go by what is mounted at a place of volumes, and nowhere else', async () => {
      await using volume = volumeOfKind(node, kindNamed('tmpfs'));
      await using other = volumeOfKind(node, kindNamed('tmpfs'));
      for (const call of ['stage', 'publish'] as const) await expectOk(volume[call](), call);
      await restart(withoutRecords);
      for (const call of ['stage', 'publish'] as const) await expectOk(other[call](), call);
      const elsewhere = join(node.kubeletDir, 'pods', 'elsewhere');
      mkdirSync(elsewhere, { recursive: true });
      mountCommand('--bind', volume.target, elsewhere);
      await expectOk(volume.stats(volume.target), 'stats');
      for (const place of [elsewhere, other.target, volume.targetOf('nobody'), `${volume.target}/../mount`])
        expect(await volume.stats(place), place).to.include({ code: 'NOT_FOUND' });
      unmountCommand(elsewhere);
      rmSync(elsewhere, { recursive: true });
    });

    it('a volume with a size of its own grows when it is recorded again', async function () {
      await using volume = await xfsImage(this);
      await restart(withoutRecords);
      const refused = await volume.expand(volume.target, { requiredBytes: LARGER });
      expect(refused.code, 'kubelet must come back').to.equal('UNAVAILABLE');
      expect(refused.message).to.match(/record of volume .* is lost.*; restart kubelet/);
      expect(statSync(volume.image).size).to.equal(Number(SMALL));
      for (const call of ['stage', 'publish'] as const) await expectOk(volume[call](), call);
      await expectGrown(volume);
    });

    it('one without has what the node has, still', async () => {
      await using volume = volumeOfKind(node, kindNamed('bind'));
      for (const call of ['stage', 'publish'] as const) await expectOk(volume[call](), call);
      await restart(withoutRecords);
      await expectOk(volume.expand(volume.target, { requiredBytes: LARGER }), 'expand');
    });
  });

  describe('without its records, for a volume that kubelet knows to be staged', () => {
    it('another pod is served; one whose volume is not staged is not', async () => {
      await using staged = volumeOfKind(node, kindNamed('overlay with upperdir, idmapped'));
      await using other = volumeOfKind(node, kindNamed('tmpfs'));
      await expectOk(staged.stage(), 'stage');
      await restart(withoutRecords);
      await expectOk(staged.publish(), 'publish');
      expect(theMountAt(staged.target).type).to.equal('overlay');
      expect(await other.publish()).to.include({ code: 'FAILED_PRECONDITION' });
      await expectOk(staged.stage(), 'stage again');
    });
  });

  describe('without the directories of pods', () => {
    it('no pod is forgotten, for kubelet may have them still', async () => {
      const living = specimenNamed('overlay, ephemeral').make(node);
      await using volume = living.volume;
      for (const call of ['stage', 'publish'] as const) await expectOk(living.call(call), call);
      await living.run();
      const [pods, away] = [join(node.kubeletDir, 'pods'), join(node.kubeletDir, 'away')];
      await restart(rebooted, () => {
        renameSync(pods, away);
        writeFiles(node.stateDir, { 'layers/removed-decoy/file': '' });
      });
      await eventually('a round is over', () => !layersOf(node).includes('removed-decoy'));
      expect([layersOf(node).length, recordsOf(volume).length]).to.deep.equal([1, 1]);
      rmSync(pods, { recursive: true, force: true });
      renameSync(away, pods);
      for (const call of ['stage', 'publish'] as const) await expectOk(living.call(call), call);
      living.expectKept();
    });
  });

  describe('with the records of a later version', () => {
    it('they are left alone and reported, and every call works', async () => {
      const all = await publishAll();
      let before: unknown;
      await restart(withLaterRecords, () => {
        before = node.records();
      });
      expect(node.records()).to.deep.equal(before);
      const reports = () => node.plugin.log.filter(({ text }) => text.includes('a later version'));
      await eventually('they are reported', () => reports().length >= node.records().length);
      expect(reports()).to.have.length(node.records().length);
      await repeatAll(all);
      for (const { living } of all) living.expectKept();
      await removeAll(all);
    });
  });

  describe('with the records of an earlier version', () => {
    it('running pods keep what they have, and every call works', async () => {
      const all = await publishAll();
      await restart(withEarlierRecords);
      await expectStats(all);
      await repeatAll(all);
      for (const { living } of all) living.expectKept();
      await removeAll(all);
    });

    for (const [title, world] of [
      ['them', withEarlierRecords],
      ['those of a later one that say it in other words', withForeignVolumes],
    ] as const) {
      it(`an image grows by ${title}, which do not say what it is`, async function () {
        await using volume = await xfsImage(this);
        await restart(world);
        await expectGrown(volume);
      });
    }

    it('the disk of the node that a bind shows does not grow', async function () {
      const image = node.at(`disk-${randomUUID()}`);
      const disk = node.at('mounted-disk');
      needTool(this, 'mkfs.xfs', 'a disk of the node');
      sparseFile(image, Number(SMALL));
      execFileSync('mkfs.xfs', ['-q', image]);
      mkdirSync(disk);
      mountCommand('-o', 'loop', image, disk);
      try {
        await using volume = volumeOn(node, { context: { source: disk } });
        for (const call of ['stage', 'publish'] as const) await expectOk(volume[call](), call);
        await restart(withEarlierRecords);
        await expectOk(volume.expand(volume.target, { requiredBytes: LARGER }), 'expand');
        expect(statSync(image).size).to.equal(Number(SMALL));
      } finally {
        unmountCommand(disk);
      }
    });
  });

  describe('half done', () => {
    /** Killed when something is mounted that is not written down as done. */
    async function halfDone(specimen: Specimen, call: 'stage' | 'publish', from: number): Promise<Living> {
      for (let n = from; ; n++) {
        const living = specimen.make(node);
        const { volume } = living;
        if (call === 'publish' && specimen.calls.includes('stage'))
          await expectOk(living.call('stage'), 'stage');
        crash.arm(n);
        const { code } = await living.call(call);
        const happened = crash.disarm();
        expect(code, happened.join(', ')).to.equal('UNAVAILABLE');
        await node.kill();
        const isIntended = recordsOf(volume).some(({ text }) => text.includes('"intended"'));
        const isHalf =
          isIntended && mountsAt(call === 'stage' ? volume.stagingPath : volume.target).length > 0;
        await node.start();
        if (isHalf) return living;
        if (call === 'publish') await expectOk(volume.unpublish(), 'unpublish');
        await volume[Symbol.asyncDispose]();
      }
    }

    // From about the thing on that may be the mount.
    for (const [title, call, from] of [
      ['image that is made', 'stage', 7],
      ['image as a block device', 'publish', 4],
      ['tmpfs, inline', 'publish', 3],
      ['several mounts', 'stage', 3],
    ] as const) {
      it(`a ${call} of ${title} that nobody repeats is taken back`, async () => {
        const { volume } = await halfDone(specimenNamed(title), call, from);
        expect(mountsAt(call === 'stage' ? volume.stagingPath : volume.target)).to.deep.equal([]);
        expect(recordsOf(volume).filter(({ text }) => text.includes(`"${call}"`))).to.deep.equal([]);
        expect(devicesOf(node)).to.deep.equal([]);
        await expectOk(volume.unpublish(), 'unpublish');
        await expectOk(volume.unstage(), 'unstage');
        await expectNothingLeft(node);
      });
    }

    it('a publish with a writable layer keeps that, until it is unpublished', async () => {
      const title = 'overlay, ephemeral, of limited size, idmapped';
      const { volume } = await halfDone(specimenNamed(title), 'publish', 14);
      expect(mountsAt(volume.target)).to.deep.equal([]);
      expect(layersOf(node)).to.have.length(1);
      await expectOk(volume.unpublish(), 'unpublish');
      await expectOk(volume.unstage(), 'unstage');
      await expectNothingLeft(node);
    });
  });

  describe('in its own directories', () => {
    it('layers without a record go, also when they are half deleted; nothing else does', async () => {
      const at = (...names: string[]) => join(node.stateDir, ...names);
      const name = (digit: string) => `publish-${digit.repeat(40)}`;
      await restart(() => {
        writeFiles(at('layers'), {
          [`${name('1')}/upper/file`]: '',
          [`removed-${name('2')}-0123456789ab/upper/file`]: '',
          [`${name('3')}/upper/file`]: '',
          'of-somebody/file': '',
          'publish-me': '',
        });
        writeFiles(node.stateDir, {
          [`records/${name('3')}.json`]: 'damaged',
          'set-aside/x/file': 'of a pod',
        });
        symlinkSync(node.at('data'), at('layers', 'link'));
      });
      await eventually('they are gone', () => layersOf(node).length <= 4);
      expect(layersOf(node)).to.have.members([name('3'), 'of-somebody', 'publish-me', 'link']);
      expect(readFileSync(at('set-aside/x/file'), 'utf8')).to.equal('of a pod');
      await restart(() => {
        for (const left of ['set-aside', `records/${name('3')}.json.unreadable`])
          rmSync(at(left), { recursive: true });
        for (const left of ['of-somebody', 'publish-me', 'link'])
          rmSync(at('layers', left), { recursive: true });
      });
      await expectNothingLeft(node);
    });

    it('a layer that an overlay has stays, its record unreadable or lost', async () => {
      await using volume = volumeOfKind(node, LIMITED);
      await expectOk(volume.stage(), 'stage');
      await expectOk(volume.publish(), 'publish');
      await restart(withoutRecords);
      await eventually('the plugin has tried', () =>
        node.plugin.log.some(({ text }) => text.includes('writes to it')),
      );
      expect(layersOf(node)).to.have.length(1);
      await expectOk(volume.unpublish(), 'unpublish');
      await expectOk(volume.unstage(), 'unstage');
      await expectNothingLeft(node);
    });
  });

  describe('at a target', () => {
    it('files that are in the way are moved aside, once', async () => {
      await using volume = volumeOfKind(node, EPHEMERAL);
      await expectOk(volume.stage(), 'stage');
      writeFiles(volume.target, { 'database/file': 'written while nothing was mounted' });
      await expectOk(volume.publish(), 'publish');
      expect(theMountAt(volume.target).type).to.equal('overlay');
      const [aside = '', ...more] = readdirSync(join(node.stateDir, 'set-aside'));
      expect(more).to.deep.equal([]);
      expect(aside).to.include(basename(dirname(dirname(dirname(dirname(volume.target))))));
      const file = join(node.stateDir, 'set-aside', aside, 'database/file');
      expect(readFileSync(file, 'utf8')).to.equal('written while nothing was mounted');
      await expectOk(volume.unpublish(), 'unpublish');
      expect(existsSync(volume.target)).to.equal(false);
      rmSync(join(node.stateDir, 'set-aside'), { recursive: true });
      mkdirSync(node.at('data'), { recursive: true });
    });
  });
});

const totalOf = (path: string): number => {
  const { blocks, bsize } = statfsSync(path);
  return blocks * bsize;
};

const isUp = (call: string): boolean => call === 'stage' || call === 'publish';

function isComplete({ makePod, volume }: Living): boolean {
  return makePod === undefined || mountsAt(join(volume.target, 'data')).length === 1;
}
