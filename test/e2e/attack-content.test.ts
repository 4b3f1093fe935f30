// Attacks by what authors put into their directories and images: device nodes, programs with the rights of their owner,
// attributes that overlayfs reads; and by having one thing twice.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import koffi from 'koffi';
import { writeFiles } from '../support/fixtures.ts';
import { makeImage } from '../support/images.ts';
import { needFile, needRoot, needTool } from '../support/need.ts';
import { type AttackedNode, attackedNode, expectHeld, FINAL } from './attack.ts';
import { theMountAt } from './kernel.ts';
import { expectRefused } from './refusal.ts';
import type { Context } from './volume.ts';

/** setxattr(2). */
function setAttribute(path: string, name: string, value: string): void {
  const set = koffi.load(null).func('int setxattr(str path, str name, str value, size_t size, int flags)');
  if (set(path, name, value, Buffer.byteLength(value), 0) !== 0) throw new Error(`setxattr ${path} ${name}`);
}

describe('an attack by content', () => {
  let node: AttackedNode;
  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await attackedNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  const NODES = { 'block-device': ['b', '7', '0'], 'memory-device': ['c', '1', '1'], fifo: ['p'] } as const;

  /** Device nodes and a program that is root's whoever runs it. */
  function makeTraps(directory: string): void {
    mkdirSync(directory, { recursive: true });
    for (const [name, args] of Object.entries(NODES)) execFileSync('mknod', [join(directory, name), ...args]);
    copyFileSync('/usr/bin/id', join(directory, 'id'));
    chmodSync(join(directory, 'id'), 0o4755);
  }

  /** What uid 1000 is when it runs the program. */
  function ranAs(program: string): string {
    const { stdout, stderr } = spawnSync('setpriv', ['--reuid=1000', '--clear-groups', program, '-u'], {
      encoding: 'utf8',
    });
    return stdout.trim() || stderr;
  }

  const TRAPS: Readonly<
    Record<string, { readonly flags?: boolean; readonly context: (test: Mocha.Context) => Context }>
  > = {
    'a directory': { context: () => ({ source: node.of('team-a', 'traps') }) },
    'a layer': { context: () => ({ type: 'overlay', lowerdir: node.of('team-a', 'traps') }) },
    'a layer below an ephemeral one': {
      context: () => ({ type: 'overlay', lowerdir: node.of('team-a', 'traps'), writable: 'ephemeral' }),
    },
    'an image': {
      context: (test) => ({
        ...{ type: 'image', fsType: 'ext4' },
        source: makeImage(test, 'ext4', node.of('team-a', 'traps.ext4'), node.of('team-a', 'traps')),
      }),
    },
    'an image that is read-only': {
      // Flags of what is read-only by itself keep a container with a user namespace from starting (WITHOUT_FLAGS). The
      // kubelet's directory is root's alone.
      flags: false,
      context: (test) => ({
        ...{ type: 'image', fsType: 'squashfs' },
        source: makeImage(test, 'squashfs', node.of('team-a', 'traps.squashfs'), node.of('team-a', 'traps')),
      }),
    },
    'a FUSE filesystem': { context: () => ({ type: 'fuse.bindfs', source: node.of('team-a', 'traps') }) },
  };

  for (const [what, { context, flags = true }] of Object.entries(TRAPS)) {
    it(`of ${what}: no device is opened through it, and no program gets rights by it`, async function () {
      needTool(this, 'setpriv', 'a program is run as somebody else');
      needTool(this, 'bindfs', 'FUSE filesystems are made with it');
      if (!existsSync(node.of('team-a', 'traps'))) makeTraps(node.of('team-a', 'traps'));
      await using volume = node.volume(context(this));
      expect(await volume.publish()).to.include({ code: 'OK' });
      if (!flags) return;
      const { options } = theMountAt(volume.target);
      expect(options).to.include.members(['nosuid', 'nodev']);
      for (const name of ['block-device', 'memory-device']) {
        expect(() => openSync(join(volume.target, name), 'r'), name).to.throw(/EACCES/);
      }
      expect(ranAs(join(volume.target, 'id')), 'through the volume').to.equal('1000');
    });
  }

  it('of a directory: a device node in it is no disk, by any way to name one', async function () {
    needFile(this, '/dev/loop0', 'a device node of the same number is made');
    execFileSync('mknod', [node.of('team-a', 'disk'), 'b', '7', '0']);
    const { rdev } = statSync('/dev/loop0');
    expect(statSync(node.of('team-a', 'disk')).rdev).to.equal(rdev);
    const source = node.of('team-a', 'disk');
    for (const context of [
      ...[
        { type: 'image', source },
        { type: 'image', source, fsType: 'ext4' },
        { type: 'ext4', source },
      ],
      ...[{ type: 'xfs', source, options: 'ro' }, { source }, { type: 'overlay', lowerdir: source }],
      ...[{ type: 'image', source, mkfs: 'true', size: '4Mi' }],
      { mounts: JSON.stringify([{ type: 'ext4', source }]) },
    ]) {
      await expectHeld(node, context);
    }
  });

  it('of a directory: a pipe in it holds up nobody', async () => {
    execFileSync('mkfifo', [node.of('team-a', 'pipe')]);
    const source = node.of('team-a', 'pipe');
    for (const type of ['image', 'ext4', 'erofs', 'squashfs']) await expectHeld(node, { type, source });
  });

  it('of an image: one that is none, or damaged, is refused', async function () {
    const good = makeImage(this, 'ext4', node.of('team-a', 'good'), node.of('team-a', 'dir'));
    const bytes = readFileSync(good);
    const files: Readonly<Record<string, Buffer>> = {
      ...{ empty: Buffer.alloc(0), zeroes: Buffer.alloc(2 ** 20), short: bytes.subarray(0, 8192) },
      'broken superblock': Buffer.concat([
        bytes.subarray(0, 1024),
        Buffer.alloc(64, 0xff),
        bytes.subarray(1088),
      ]),
      'broken tables': Buffer.concat([
        bytes.subarray(0, 4096),
        Buffer.alloc(2 ** 20, 0xa5),
        bytes.subarray(4096 + 2 ** 20),
      ]),
    };
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(node.of('team-a', name), content);
      for (const more of [
        {},
        { fsType: 'ext4' },
        { fsType: 'ext4', options: 'ro' },
        { fsType: 'squashfs' },
      ]) {
        await expectHeld(node, { type: 'image', source: node.of('team-a', name), ...more }).catch((error) => {
          throw new Error(`${name}: ${JSON.stringify(more)}`, { cause: error });
        });
      }
    }
  });

  it('of an image: one that says that errors stop the node is mounted so that they do not', async function () {
    needTool(this, 'tune2fs', 'it is said in the superblock');
    const source = makeImage(this, 'ext4', node.of('team-a', 'panic'), node.of('team-a', 'dir'));
    execFileSync('tune2fs', ['-e', 'panic', source], { stdio: 'ignore' });
    await using volume = node.volume({ type: 'image', source, fsType: 'ext4' });
    expect(await volume.publish()).to.include({ code: 'OK' });
    expect(theMountAt(volume.target).superblock).to.include('errors=remount-ro');
  });

  describe('that overlayfs reads', () => {
    /** `top/shown` says that it is `bottom/private`, and `top/key` that its content is that of `bottom/private/key`. */
    function makeLayers(directory: string, namespace: 'trusted' | 'user'): void {
      writeFiles(directory, {
        ...{ 'top/shown/': {}, 'top/key': { content: '', mode: 0o644 } },
        'bottom/private/key': { content: 'secret', mode: 0o600 },
      });
      setAttribute(join(directory, 'top/shown'), `${namespace}.overlay.redirect`, '/private');
      setAttribute(join(directory, 'top/key'), `${namespace}.overlay.redirect`, '/private/key');
      setAttribute(join(directory, 'top/key'), `${namespace}.overlay.metacopy`, '');
    }

    function orNothing(read: () => string): string {
      try {
        return read();
      } catch {
        return '';
      }
    }

    for (const namespace of ['trusted', 'user'] as const) {
      for (const writable of ['no', 'ephemeral']) {
        it(`${namespace}.overlay.*, with writable: ${writable}, leads nowhere`, async () => {
          const at = node.of('team-a', `${namespace}-${writable}`);
          makeLayers(at, namespace);
          await using volume = node.volume({ type: 'overlay', lowerdir: `${at}/top:${at}/bottom`, writable });
          expect(await volume.publish()).to.include({ code: 'OK' });
          // Empty, or refused by overlayfs itself.
          expect(orNothing(() => readdirSync(join(volume.target, 'shown')).join())).to.equal('');
          expect(orNothing(() => readFileSync(join(volume.target, 'key'), 'utf8'))).to.equal('');
        });
      }
    }

    it('of data-only layers, or on request, is refused', async () => {
      const at = node.of('team-a', 'asked');
      makeLayers(at, 'user');
      const type = 'overlay';
      await expectHeld(node, { type, lowerdir: `${at}/top::${at}/bottom` });
      await expectHeld(node, { mounts: JSON.stringify([{ type, lowerdir: `${at}/top::${at}/bottom` }]) });
      for (const options of ['userxattr', 'metacopy=on', 'redirect_dir=on', 'redirect_dir=follow']) {
        await expectHeld(node, { type, lowerdir: `${at}/top:${at}/bottom`, options });
      }
    });
  });
});

describe('an attack by having one thing twice', () => {
  let node: AttackedNode;
  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await attackedNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  it('an upper layer: the second pod is refused, by whatever name, until the first is gone', async () => {
    const layers = (upper: string, work: string): Context => ({
      ...{ type: 'overlay', lowerdir: node.of('team-a', 'dir') },
      ...{ upperdir: node.of('team-a', upper), workdir: node.of('team-a', work) },
    });
    mkdirSync(node.of('team-a', 'work2'));
    execFileSync('ln', ['-s', 'upper', node.of('team-a', 'alias')]);
    await using first = node.volume(layers('upper', 'work'));
    expect(await first.publish()).to.include({ code: 'OK' });
    for (const [upper, work] of [
      ['upper', 'work'],
      ['upper', 'work2'],
      ['alias', 'work2'],
      ['upper/.', 'work2/'],
    ]) {
      await expectHeld(node, layers(upper ?? '', work ?? ''));
    }
    await using second = node.volume(layers('upper', 'work2'));
    const call = () => second.publish();
    await expectRefused(node, call, { code: FINAL, message: /upper/, target: second.target });
    writeFileSync(join(first.target, 'written'), 'by the first');
    expect(await first.unpublish()).to.include({ code: 'OK' });
    expect(await second.publish()).to.include({ code: 'OK' });
    expect(readFileSync(join(second.target, 'written'), 'utf8')).to.equal('by the first');
  });

  it('an image: two pods have one filesystem, or the second is refused', async function () {
    const source = makeImage(this, 'ext4', node.of('team-a', 'image'), node.of('team-a', 'dir'));
    execFileSync('ln', [source, node.of('team-a', 'same-image')]);
    const context = { type: 'image', source, fsType: 'ext4' };
    await using first = node.volume(context);
    expect(await first.publish()).to.include({ code: 'OK' });
    const { device } = theMountAt(first.target);
    for (const name of ['image', 'same-image']) {
      await using second = node.volume({ ...context, source: node.of('team-a', name) });
      const answer = await second.publish();
      if (answer.code === 'OK') expect(theMountAt(second.target).device, name).to.equal(device);
      else expect(answer.code, answer.message).to.be.oneOf(FINAL);
    }
    await expectHeld(node, { ...context, options: 'ro' });
    writeFileSync(join(first.target, 'written'), 'once');
    expect(readFileSync(join(first.target, 'written'), 'utf8')).to.equal('once');
  });

  it('a target: the second volume is refused', async () => {
    await using first = node.volume({ type: 'tmpfs' });
    expect(await first.publish()).to.include({ code: 'OK' });
    await using second = node.volume({ source: node.of('team-a', 'dir') }, 'team-a');
    const targetPath = first.target;
    await expectRefused(node, () => second.publish({ targetPath }), { code: FINAL, message: /./ });
    expect(theMountAt(first.target).type).to.equal('tmpfs');
    expect(existsSync(dirname(second.target))).to.equal(true);
  });
});
