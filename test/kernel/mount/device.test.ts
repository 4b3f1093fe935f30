// Images as block devices at a target file.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { localEngine } from '../../../src/mount/engine.ts';
import { openImage } from '../../../src/mount/loop/image.ts';
import { lockImage } from '../../../src/mount/loop/lock.ts';
import { attachLoop, detachLoop, loopDevicesOf } from '../../../src/mount/loop.ts';
import {
  eventually,
  mountCommand,
  mountPlace,
  type TemporaryDirectory,
  temporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { expectNoLoops, makeTinyImage, sparseFile } from '../../support/images.ts';
import { descendants, openDescriptors } from '../../support/leaks.ts';
import { needEveryCall, needRoot, needTool } from '../../support/need.ts';
import { injecting } from '../../support/strace.ts';
import { codeOf, describeWithoutLayers, failureOf, mountAt, mountsIn } from './engines.ts';

const MIB = 2 ** 20;
const attachFixture = fileURLToPath(new URL('./attach-device.fixture.ts', import.meta.url));

/** What the kernel calls the file of a device; empty for one that has none. */
function backingFileOf(device: string): string {
  try {
    return readFileSync(`/sys/block${device.replace('/dev', '')}/loop/backing_file`, 'utf8');
  } catch {
    return '';
  }
}

describeWithoutLayers('an image as a device', (bench) => {
  const attach = (image: string, target: string, options: { readOnly?: boolean; create?: boolean } = {}) =>
    bench.engine.attachDevice({ image, target: { path: target }, readOnly: false, create: true, ...options });
  const unmount = (image: string, target: string) =>
    bench.engine.unmount({ target: { path: target }, image, remove: 'file' });

  function imageIn(place: TemporaryDirectory): string {
    sparseFile(place.at('image'), MIB);
    return place.at('image');
  }

  it('is read and written at the target, and let go with it', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const { device } = await attach(image, target);
    expect(loopDevicesOf(image)).to.deep.equal([device]);
    expect(statSync(target).rdev).to.equal(statSync(device).rdev);
    write(target, 4096, 'written to the device');
    expect(readFileSync(image).toString('latin1', 4096, 4117)).to.equal('written to the device');
    expect(await unmount(image, target)).to.equal(1);
    expectNoLoops(image);
    expect(codeOf(() => statSync(target))).to.equal('ENOENT');
  });

  it('that is empty is refused, and leaves no target', async () => {
    using place = temporaryDirectory();
    const [image, target] = [place.at('image'), place.at('target')];
    sparseFile(image, 0);
    await failureOf(attach(image, target), { reason: 'bad-image', rolledBack: true });
    expect(codeOf(() => statSync(target))).to.equal('ENOENT');
  });

  it('is found there, and its node can be opened: no nodev', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const { device } = await attach(image, target);
    const found = await bench.engine.lookup({ target: { path: target } });
    expect(found.is === 'mount-point' && found.mount.root).to.equal(device.replace('/dev', ''));
    expect(mountAt(target).options).to.include.members(['nosuid', 'noexec']).and.not.include('nodev');
    await unmount(image, target);
  });

  it('is read-only as a device', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    await attach(image, target, { readOnly: true });
    expect(codeOf(() => write(target, 0, 'x'))).to.be.oneOf(['EACCES', 'EPERM', 'EROFS']);
    closeSync(openSync(target, 'r'));
    await unmount(image, target);
    expectNoLoops(image);
  });

  it('is one device for all targets of the file, whatever its name, until the last one goes', async () => {
    using place = temporaryDirectory();
    const [image, first, second] = [imageIn(place), place.at('first'), place.at('second')];
    linkSync(image, place.at('link'));
    const { device } = await attach(image, first);
    expect(await attach(place.at('link'), second)).to.deep.equal({ device });
    await unmount(image, first);
    expect(loopDevicesOf(image)).to.deep.equal([device]);
    write(second, 0, 'still there');
    await unmount(place.at('link'), second);
    expectNoLoops(image);
  });

  it('is refused otherwise than it is used already', async function () {
    using place = temporaryDirectory();
    const image = makeTinyImage(this, place.at('image'));
    const target = place.at('target');
    await bench.mount({ type: 'ext4', source: image, options: ['loop'] }, place.at('mounted'));
    const refused = { reason: 'image-in-use', rolledBack: true } as const;
    await failureOf(attach(image, target), refused);
    await bench.unmount(place.at('mounted'));
    await attach(image, target);
    await failureOf(attach(image, place.at('other'), { readOnly: true }), refused);
    const mount = bench.mount({ type: 'ext4', source: image, options: ['loop'] }, place.at('mounted'));
    await failureOf(mount, { reason: 'image-in-use' });
    expect(codeOf(() => statSync(place.at('other')))).to.equal('ENOENT');
    await unmount(image, target);
  });

  it('stays attached when the unmount does not name it, and is let go by one that does', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const { device } = await attach(image, target);
    expect(await bench.unmount(target)).to.equal(1);
    expect(loopDevicesOf(image)).to.deep.equal([device]);
    expect(await unmount(image, target)).to.equal(0);
    expectNoLoops(image);
  });

  it('is let go by who knows the target alone, unless it is of somebody else', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const request = { target: { path: target }, all: true, imageShown: true };
    await attach(image, target);
    await attach(image, place.at('other'));
    expect(await bench.engine.unmount(request)).to.equal(1);
    expect(loopDevicesOf(image)).to.have.length(1);
    expect(await bench.engine.unmount({ ...request, target: { path: place.at('other') } })).to.equal(1);
    expectNoLoops(image);
    using left = loopOf(image);
    await attach(image, target);
    expect(await bench.engine.unmount(request)).to.equal(1);
    expect(loopDevicesOf(image)).to.deep.equal([left.path]);
    await attach(left.path, target);
    expect(await bench.engine.unmount(request)).to.equal(1);
    expect(await bench.engine.unmount({ ...request, target: { path: place.at('no/target') } })).to.equal(0);
    expect(loopDevicesOf(image)).to.deep.equal([left.path]);
  });

  it('is let go also by who attached it in a mount namespace that is gone', async () => {
    using place = mountPlace();
    mountCommand('--make-shared', place.path);
    for (const remaining of [{ imageShown: true }, { image: place.at('image') }]) {
      const target = place.at('target');
      imageIn(place);
      const there = ['--mount', '--propagation', 'unchanged', process.execPath, attachFixture, 'modern'];
      expect(spawnSync('unshare', [...there, place.at('image'), target]).status).to.equal(0);
      expect(loopDevicesOf(place.at('image'))).to.have.length(1);
      const request = { target: { path: target }, all: true, ...remaining };
      expect(await bench.engine.unmount(request)).to.equal(1);
      expectNoLoops(place.at('image'));
    }
  });

  it('is let go also where a tmpfs has directories and nodes that are called like its own', async () => {
    using place = mountPlace();
    const [image, target, memory] = [imageIn(place), place.at('target'), place.at('memory')];
    writeFiles(place.path, { 'memory/': '', 'directory/': '', node: '' });
    mountCommand('-t', 'tmpfs', 'memory', memory);
    for (const remaining of [{ imageShown: true }, { image }]) {
      const { device } = await attach(image, target);
      const name = basename(device);
      writeFiles(memory, { [`${name}/`]: '', 'nodes/': '' });
      execFileSync('cp', ['-a', device, place.at('memory/nodes')]);
      mountCommand('--bind', place.at('memory', name), place.at('directory'));
      mountCommand('--bind', place.at('memory/nodes', name), place.at('node'));
      expect(await bench.engine.unmount({ target: { path: target }, all: true, ...remaining })).to.equal(1);
      expectNoLoops(image);
      unmountCommand(place.at('directory'), place.at('node'));
    }
    unmountCommand(memory);
  });

  it('has the device that an attach left when it was killed', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const left = attachLoop(image, { autoclear: false });
    left[Symbol.dispose]();
    expect(await attach(image, target)).to.deep.equal({ device: left.path });
    await unmount(image, target);
    expectNoLoops(image);
  });

  it('leaves nothing when it cannot be shown', async () => {
    using place = temporaryDirectory();
    const image = imageIn(place);
    writeFiles(place.path, { 'directory/': '' });
    for (const [name, create] of [
      ['directory', true],
      ['directory', false],
      ['missing', false],
      ['no/where', true],
    ] as const) {
      await failureOf(attach(image, place.at(name), { create }), { reason: 'bad-target', rolledBack: true });
      expectNoLoops(image);
    }
    await failureOf(attach(place.at('none'), place.at('target')), { reason: 'source-not-found' });
    expect(codeOf(() => statSync(place.at('target')))).to.equal('ENOENT');
  });

  it('is in use while somebody has it open by another name, and free when he closes it', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const { device } = await attach(image, target);
    const user = openSync(device, 'r');
    try {
      const { message } = await failureOf(unmount(image, target), { reason: 'busy', rolledBack: false });
      expect(message).to.include(device).and.to.include('has the device open');
      await failureOf(unmount(image, target), { reason: 'busy' });
      readSync(user, Buffer.alloc(512), 0, 512, 0);
    } finally {
      closeSync(user);
    }
    expect(await unmount(image, target)).to.equal(0);
    expectNoLoops(image);
  });

  it('stays at a target that somebody has open', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const { device } = await attach(image, target);
    const user = openSync(target, 'r');
    try {
      const request = { target: { path: target }, image };
      await failureOf(bench.engine.unmount(request, { timeoutMs: 700 }), {
        reason: 'busy',
        rolledBack: true,
      });
      expect(loopDevicesOf(image)).to.deep.equal([device]);
    } finally {
      closeSync(user);
    }
    expect(await unmount(image, target)).to.equal(1);
    expectNoLoops(image);
  });

  it('is let go also when the file is deleted', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    const { device } = await attach(image, target);
    unlinkSync(image);
    await unmount(image, target);
    // Or has another file by now, of somebody else on this machine.
    expect(backingFileOf(device)).not.to.include(image);
  });

  it('may be a block device, which is shown as it is and never let go', async () => {
    using place = temporaryDirectory();
    const [image, target] = [imageIn(place), place.at('target')];
    using attached = loopOf(image);
    expect(await attach(attached.path, target)).to.deep.equal({ device: attached.path });
    write(target, 0, 'written');
    await failureOf(attach(attached.path, place.at('other'), { readOnly: true }), {
      reason: 'invalid-mount',
    });
    expect(codeOf(() => statSync(place.at('other')))).to.equal('ENOENT');
    await unmount(attached.path, target);
    expect(loopDevicesOf(image)).to.deep.equal([attached.path]);
  });

  it('is attached and let go by many at the same time', async () => {
    using place = temporaryDirectory();
    const image = imageIn(place);
    const rounds = Array.from({ length: 6 }, (_, i) => place.at(`target-${i}`)).map(async (target) => {
      for (let i = 0; i < 3; i++) {
        await attach(image, target);
        write(target, 0, 'there');
        await unmount(image, target);
      }
    });
    await Promise.all(rounds);
    expectNoLoops(image);
  });
});

describe('the device of an image', () => {
  before(function () {
    needRoot(this, 'loop devices take CAP_SYS_ADMIN');
  });

  it('stays when it is shown at another target while the unmount of its last one waits', async () => {
    using place = mountPlace();
    await using engine = processEngine({ processes: 1 });
    const [image, first, second] = [place.at('image'), place.at('first'), place.at('second')];
    sparseFile(image, MIB);
    writeFiles(place.path, { second: '' });
    const { device } = await engine.attachDevice({
      image,
      target: { path: first },
      readOnly: false,
      create: true,
    });
    using opened = openImage(image);
    const lock = lockImage(opened, image);
    const unmounted = engine.unmount({ target: { path: first }, imageShown: true });
    try {
      // It has seen no other target by then.
      await eventually('it opens the image to lock it', () =>
        descendants(process.pid).some(({ pid }) =>
          openDescriptors(pid).some((line) => line.endsWith(` ${image}`)),
        ),
      );
      mountCommand('--bind', device, second);
    } finally {
      lock[Symbol.dispose]();
    }
    expect(await unmounted).to.equal(1);
    expect(loopDevicesOf(image)).to.deep.equal([device]);
    write(second, 0, 'still there');
    expect(readFileSync(image).toString('latin1', 0, 11)).to.equal('still there');
    await engine.unmount({ target: { path: second }, image });
    expectNoLoops(image);
  });

  it('is known where /dev is a tmpfs, by those who have it and by others', async function () {
    needTool(this, 'unshare', 'a mount namespace with a /dev of its own');
    await using engine = localEngine();
    using place = mountPlace();
    mountCommand('--make-shared', place.path);
    const [image, own, other, third] = [
      place.at('image'),
      place.at('own'),
      place.at('other'),
      place.at('third'),
    ];
    sparseFile(image, MIB);
    const node = [process.execPath, attachFixture, 'modern', image].join(' ');
    const inOwnDev = (...commands: string[]) => {
      const dev = [
        'mount --make-rprivate /dev',
        'mount -t tmpfs dev /dev',
        'mknod /dev/null c 1 3',
        'mknod /dev/loop-control c 10 237',
      ];
      const script = [...dev, ...commands].join(' && ');
      execFileSync('unshare', ['--mount', '--propagation', 'unchanged', 'sh', '-c', script]);
    };
    inOwnDev(`${node} ${own}`, `${node} ${other}`, `${node} ${own} unmount`);
    expect(loopDevicesOf(image), 'it was shown by the same /dev').to.have.length(1);
    inOwnDev(`${node} ${third}`);
    expect(await engine.unmount({ target: { path: other }, image })).to.equal(1);
    expect(loopDevicesOf(image), 'it is shown by a /dev that is gone').to.have.length(1);
    expect(await engine.unmount({ target: { path: third }, image })).to.equal(1);
    expectNoLoops(image);
  });
});

describe('a process that shows an image as a device and is killed', () => {
  before(function () {
    needRoot(this, 'loop devices take CAP_SYS_ADMIN');
    needTool(this, 'strace', 'it kills the process at a system call');
    needEveryCall(this, 'not every call to kill it at');
  });

  const calls: readonly (readonly [api: 'modern' | 'classic', call: string])[] = [
    ...['flock', 'open_tree', 'mount_setattr', 'move_mount'].map((call) => ['modern', call] as const),
    ...['flock', 'mount'].map((call) => ['classic', call] as const),
  ];
  for (const [api, call] of calls) {
    it(`at ${call}, ${api}, leaves one device at most, for the next attach and its unmount`, async () => {
      await using engine = localEngine();
      let kills = 0;
      for (let nth = 1; ; nth++) {
        using place = temporaryDirectory();
        const [image, target] = [place.at('image'), place.at('target')];
        sparseFile(image, MIB);
        const strace = injecting(call, `signal=SIGKILL:when=${nth}`);
        const { status } = spawnSync('strace', [
          ...strace,
          process.execPath,
          attachFixture,
          api,
          image,
          target,
        ]);
        const left = loopDevicesOf(image);
        expect(left).to.have.length.lessThan(2);
        if (mountsIn(target) === 0) expect(left, 'a device that nothing shows').to.deep.equal([]);
        const request = { image, target: { path: target } };
        const { device } = await engine.attachDevice({ ...request, readOnly: false, create: true });
        if (left.length > 0) expect(left).to.deep.equal([device]);
        await engine.unmount({ ...request, all: true });
        expectNoLoops(image);
        if (status === 0) break;
        kills++;
      }
      expect(kills).to.be.greaterThan(0);
    });
  }

  for (const call of ['ioctl', 'umount2', 'unlinkat']) {
    it(`taking it away, at ${call}, leaves none that nothing shows, though nobody knows of what image`, async () => {
      await using engine = localEngine();
      let kills = 0;
      for (let nth = 1; ; nth++) {
        using place = temporaryDirectory();
        const [image, target] = [place.at('image'), place.at('target')];
        sparseFile(image, MIB);
        await engine.attachDevice({ image, target: { path: target }, readOnly: false, create: true });
        const strace = injecting(call, `signal=SIGKILL:when=${nth}`);
        const args = [...strace, process.execPath, attachFixture, 'modern', image, target, 'unmount'];
        const { status } = spawnSync('strace', args);
        if (mountsIn(target) === 0) expectNoLoops(image);
        await engine.unmount({ target: { path: target }, all: true, imageShown: true, remove: 'file' });
        expectNoLoops(image);
        if (status === 0) break;
        kills++;
      }
      expect(kills).to.be.greaterThan(0);
    });
  }
});

/** A device that stays, as an administrator would attach it. */
function loopOf(image: string): Disposable & { readonly path: string } {
  const device = attachLoop(image, { autoclear: false });
  device[Symbol.dispose]();
  return { path: device.path, [Symbol.dispose]: () => detachLoop(device.number, device.image) };
}

function write(path: string, at: number, text: string): void {
  const file = openSync(path, 'r+');
  try {
    const block = Buffer.alloc(512);
    block.write(text);
    writeSync(file, block, 0, block.length, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
