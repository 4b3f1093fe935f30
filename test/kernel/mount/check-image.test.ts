// Images that are checked before they are mounted for writing.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { type Engine, localEngine } from '../../../src/mount/engine.ts';
import { attachLoop, detachLoop } from '../../../src/mount/loop.ts';
import {
  eventually,
  type TemporaryDirectory,
  temporaryDirectory,
  writeFiles,
} from '../../support/fixtures.ts';
import { copyImage, garbageFile, type ImageType, makeImage } from '../../support/images.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { injecting } from '../../support/strace.ts';
import { failureOf } from './engines.ts';
import { allGone, processesWith, scripts } from './helpers.ts';

const ENGINES: Readonly<Record<string, () => Engine>> = {
  localEngine: () => localEngine(),
  processEngine: () => processEngine({ processes: 2 }),
};

for (const [name, make] of Object.entries(ENGINES)) {
  describe(`checking an image, by ${name}`, () => {
    let images: TemporaryDirectory;
    let engine: Engine;
    before(function () {
      needRoot(this, 'loop devices take CAP_SYS_ADMIN');
      needTool(this, 'e2fsck', 'images are checked with it');
      images = temporaryDirectory();
      writeFiles(images.at('content'), { file: 'of the image', 'directory/': '' });
      makeImage(this, 'ext4', images.at('ext4'), images.at('content'));
      engine = make();
    });
    after(async () => {
      await engine?.[Symbol.asyncDispose]();
      images?.[Symbol.dispose]();
    });

    const fresh = (place: TemporaryDirectory) => copyImage(images.at('ext4'), place.at('image'));

    it('finds a good one clean', async () => {
      using place = temporaryDirectory();
      const path = fresh(place);
      expect(await engine.checkImage({ path })).to.deep.equal({ is: 'clean' });
      expect(await engine.checkImage({ path, filesystem: 'auto' })).to.deep.equal({ is: 'clean' });
      expect(await engine.checkImage({ path, filesystem: 'ext4' })).to.deep.equal({ is: 'clean' });
    });

    it('mends what needs no person, and says what', async () => {
      using place = temporaryDirectory();
      const path = fresh(place);
      debugfs(path, 'set_super_value state 0', 'set_super_value free_blocks_count 1');
      const result = await engine.checkImage({ path });
      expect(result).to.include({ is: 'repaired' });
      expect(JSON.stringify(result)).to.match(/free blocks count|was not cleanly unmounted/i);
      expect(await engine.checkImage({ path })).to.deep.equal({ is: 'clean' });
    });

    it('leaves what needs one, with the words of the checker', async () => {
      using place = temporaryDirectory();
      const path = fresh(place);
      // Two files on the same blocks: which one has the right to them?
      debugfs(path, 'set_super_value state 2', 'set_inode_field file block[0] 1', 'clri directory');
      const { message } = await failureOf(engine.checkImage({ path }), {
        reason: 'image-damaged',
        rolledBack: true,
      });
      expect(message).to.match(/UNEXPECTED INCONSISTENCY|RUN fsck MANUALLY/i);
    });

    it('leaves one whose superblock is gone', async () => {
      using place = temporaryDirectory();
      const path = fresh(place);
      overwrite(path, 1024, Buffer.alloc(1024));
      await failureOf(engine.checkImage({ path }), { reason: 'bad-image' });
      await failureOf(engine.checkImage({ path, filesystem: 'ext4' }), { reason: 'image-damaged' });
    });

    it('does not look at one that is mounted or attached, by whatever name', async () => {
      using place = temporaryDirectory();
      const path = fresh(place);
      execFileSync('ln', [path, place.at('link')]);
      const target = { path: place.at('target') };
      await engine.mountAll({
        mounts: [{ type: 'ext4', source: path, options: ['loop'] }],
        target,
        create: 'directory',
      });
      const before = await engine.checkImage({ path: place.at('link') });
      expect(before).to.include({ is: 'skipped' });
      expect(JSON.stringify(before)).to.match(/attached to \/dev\/loop\d+ already/);
      await engine.unmount({ target, image: path });
      expect(await engine.checkImage({ path: place.at('link') })).to.deep.equal({ is: 'clean' });
    });

    it('looks at a block device, unless it is mounted', async () => {
      using place = temporaryDirectory();
      using attached = new DisposableStack();
      const device = attachLoop(fresh(place), { autoclear: false });
      attached.defer(() => detachLoop(device.number, device.image));
      device[Symbol.dispose]();
      const request = { path: device.path, filesystem: 'ext4' };
      expect(await engine.checkImage(request)).to.deep.equal({ is: 'clean' });
      const target = { path: place.at('target') };
      await engine.mountAll({
        mounts: [{ type: 'ext4', source: device.path, options: [] }],
        target,
        create: 'directory',
      });
      expect(await engine.checkImage(request)).to.include({ is: 'skipped' });
      await engine.unmount({ target });
    });

    for (const type of ['xfs', 'btrfs', 'squashfs'] satisfies ImageType[]) {
      it(`has nothing to do for ${type}`, async function () {
        using place = temporaryDirectory();
        const path = makeImage(this, type, place.at('image'), images.at('content'));
        const result = await engine.checkImage({ path });
        expect(result).to.deep.equal({
          is: 'skipped',
          because: `${type} is not checked before it is mounted`,
        });
      });
    }

    it('keeps others from the image meanwhile, and ends a checker that takes too long', async () => {
      using place = temporaryDirectory();
      const path = fresh(place);
      const seconds = 4712;
      // By a process, long enough to find it at that.
      const timeoutMs = name === 'processEngine' ? 6_000 : 1_000;
      const programs = { ...scripts(place, { e2fsck: `exec sleep ${seconds}` }), timeoutMs };
      const checked = failureOf(engine.checkImage({ path, programs }), {
        reason: 'timeout',
        rolledBack: true,
      });
      if (name === 'processEngine') {
        await eventually('it is checked', () => processesWith(`sleep ${seconds}`).length > 0);
        expect(() => attachLoop(path, { patienceMs: 0 })).to.throw(/holds a lock/);
      }
      await checked;
      await allGone(`sleep ${seconds}`);
      using _device = attachLoop(path);
    });

    it('tells a checker that fails from an image that is damaged', async () => {
      using place = temporaryDirectory();
      const path = fresh(place);
      for (const [status, reason] of [
        [4, 'image-damaged'],
        [8, 'image-damaged'],
        [12, 'image-damaged'],
        [16, 'program-failed'],
        [32, 'program-failed'],
        [128, 'program-failed'],
      ] as const) {
        const programs = scripts(place, { e2fsck: `echo status ${status} it is; exit ${status}` });
        const { message } = await failureOf(engine.checkImage({ path, programs }), { reason });
        expect(message).to.include(`e2fsck ended with status ${status}: status ${status} it is`);
      }
      for (const status of [1, 2, 3]) {
        const programs = scripts(place, { e2fsck: `echo mended; exit ${status}` });
        expect(await engine.checkImage({ path, programs })).to.deep.equal({ is: 'repaired', said: 'mended' });
      }
    });

    it('is refused for what is no image, or not there', async () => {
      using place = temporaryDirectory();
      await failureOf(engine.checkImage({ path: place.at('none') }), { reason: 'source-not-found' });
      await failureOf(engine.checkImage({ path: place.path }), { reason: 'invalid-mount' });
      const before = readFileSync(garbageFile(place.at('garbage')));
      await failureOf(engine.checkImage({ path: place.at('garbage') }), { reason: 'bad-image' });
      expect(readFileSync(place.at('garbage')).equals(before)).to.equal(true);
      await failureOf(engine.checkImage({ path: fresh(place), programs: { directories: ['/proc'] } }), {
        reason: 'program-missing',
      });
    });
  });
}

describe('checking an image on a filesystem without locks', () => {
  before(function () {
    needRoot(this, 'the node of the loop driver is locked in its place');
    needTool(this, 'strace', 'it makes system calls fail');
  });

  /** @param directories of the checker */
  function check(path: string, ...directories: readonly string[]): unknown {
    const fixture = fileURLToPath(new URL('./check-image.fixture.ts', import.meta.url));
    // As NFS does, of a file that is open for reading.
    const inject = injecting('flock', 'error=EBADF:when=1');
    const args = [...inject, process.execPath, fixture, path, ...directories];
    const { stdout, stderr } = spawnSync('strace', args, { encoding: 'utf8' });
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout);
  }

  it('finds a good one clean', function () {
    using place = temporaryDirectory();
    writeFiles(place.path, { 'content/file': 'of the image' });
    const path = makeImage(this, 'ext4', place.at('image'), place.at('content'));
    expect(check(path)).to.deep.equal({ is: 'clean' });
  });

  it('leaves the checker both the image and what is locked in its place', () => {
    using place = temporaryDirectory();
    const path = garbageFile(place.at('image'));
    const { directories = [] } = scripts(place, {
      e2fsck: 'readlink /proc/self/fd/200 /proc/self/fd/201; exit 1',
    });
    const said = `${path}; /dev/loop-control`;
    expect(check(path, ...directories)).to.deep.equal({ is: 'repaired', said });
  });
});

function debugfs(path: string, ...commands: string[]): void {
  for (const command of commands) {
    execFileSync('debugfs', ['-w', '-R', command, path], { stdio: 'ignore' });
  }
}

function overwrite(path: string, at: number, bytes: Buffer): void {
  const file = openSync(path, 'r+');
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}
