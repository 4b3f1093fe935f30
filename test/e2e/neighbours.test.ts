// Others on the node take what the plugin needs: the disk of its state, processes, devices, user namespaces, the clock. Each
// call says what there is too little of and what to do, leaves nothing, and is served when the neighbour has stopped.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { expect } from 'chai';
import { openLoop, openLoopControl } from '../../src/mount/loop/nodes.ts';
import { hasErrno } from '../../src/sys/errors.ts';
import { Fd } from '../../src/sys/fd.ts';
import { loopClear, loopGetFree, loopSetFd } from '../../src/sys/loop.ts';
import {
  eventually,
  fuseMount,
  mountCommand,
  type TemporaryDirectory,
  temporaryDirectory,
  unmountCommand,
} from '../support/fixtures.ts';
import { makeImage } from '../support/images.ts';
import { needFile, needMappedTmpfs, needPermission, needRoot, needTool } from '../support/need.ts';
import { scaled } from '../support/time-scale.ts';
import { type CommandResult, expectFailure, expectSuccess, run as runCommand } from './command.ts';
import { hungFilesystem } from './hung-filesystem.ts';
import { theMountAt } from './kernel.ts';
import { kindNamed, type VolumeOfKind, volumeOfKind } from './kinds.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { difference, stateOf } from './node-state.ts';
import { engineProcesses, flagsOf, pluginProcesses, serve, startPluginBelow } from './serve.ts';
import { devicesOf, expectNothingLeft } from './specimens.ts';
import { blockCapability, volumeOn } from './volume.ts';

const OK = { code: 'OK' };
const LIMITED = kindNamed('overlay, ephemeral, of limited size, idmapped');
const MADE = kindNamed('image that is made');
const TMPFS = kindNamed('tmpfs');
const FUSE = kindNamed('FUSE');
const MAPPED = kindNamed('overlay with upperdir, idmapped');

/** That the engine keeps no user namespace of. */
const NEW_MAPPING = { uidmap: '0:100000:65536,80000:300000:1', gidmap: '0:100000:65536,80000:300000:1' };

/** Refused like this, and the node is as it was before. */
async function expectNothingDone(
  node: TestNode,
  call: () => Promise<Answer>,
  code: Answer['code'],
  message: RegExp,
): Promise<void> {
  const before = stateOf(node);
  const answer = await call();
  expect(answer.code, answer.message).to.equal(code);
  expect(answer.message).to.match(message);
  const more = () => difference(before, stateOf(node)).filter((line) => !OF_KUBELET.test(line));
  await eventually(`as before: ${more().join('\n')}`, () => more().length === 0);
}
/** The image of `mkfs` is made, and there for the next call. */
const OF_KUBELET = /^. name .*\/(kubelet\/(pods|plugins\/kubernetes\.io)(\/|$)|data\/[^/]*\/image$|layers$)/;

describe('a state directory on a disk', () => {
  let node: TestNode;
  const MIB = 2 ** 20;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode({
      start: async (directory) => {
        const state = join(directory, 'kubelet/plugins/idmap.csi.dev');
        mkdirSync(state, { recursive: true });
        if (!readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${state} `)) {
          mountCommand('-t', 'tmpfs', '-o', 'size=4m,mode=700', 'disk', state);
        }
        return startPluginBelow([], directory);
      },
    });
  });
  after(async () => {
    await node?.plugin[Symbol.asyncDispose]();
    if (node) unmountCommand('--lazy', node.stateDir);
    await node?.[Symbol.asyncDispose]();
  });

  /** Until the end of the block there is this much room. */
  function filled(left: number): Disposable {
    const file = join(node.stateDir, 'of-a-neighbour');
    let size = 4 * MIB;
    for (let step = size; step >= 4096; step /= 2) {
      try {
        writeFileSync(file, Buffer.alloc(size));
        size += step / 2;
      } catch {
        size -= step / 2;
      }
    }
    if (left > 0) writeFileSync(file, Buffer.alloc(Math.max(0, size - left - 8192)));
    return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
  }

  /** The disk itself is no volume's. */
  const expectEmpty = async (volume: VolumeOfKind) => {
    await volume[Symbol.asyncDispose]();
    expect(node.mounts().filter(({ target }) => target !== node.stateDir)).to.deep.equal([]);
    expect(node.records()).to.deep.equal([]);
  };

  it('that is full: nothing is begun, and it says to make room', async () => {
    const volume = volumeOfKind(node, TMPFS);
    {
      using _full = filled(0);
      await expectNothingDone(node, () => volume.stage(), 'UNAVAILABLE', /the disk is full: make room/);
    }
    expect(await volume.stage()).to.include(OK);
    expect(await volume.publish()).to.include(OK);
    {
      using _full = filled(0);
      expect(await volume.unpublish(), 'what frees is done on a full disk too').to.include(OK);
      expect(await volume.unstage()).to.include(OK);
    }
    await expectEmpty(volume);
  });

  it('without room for a writable layer: the publish says so and leaves no layer', async function () {
    needTool(this, 'mkfs.ext4', 'layers of limited size');
    const volume = volumeOfKind(node, LIMITED);
    expect(await volume.stage()).to.include(OK);
    {
      using _almost = filled(64 * 1024);
      const publish = () => volume.publish();
      await expectNothingDone(node, publish, 'FAILED_PRECONDITION', /No space left on device/);
    }
    expect((await volume.publish()).message).to.equal('');
    expect(await volume.unpublish()).to.include(OK);
    await expectEmpty(volume);
  });

  it('that is read-only: nothing is begun; what is there is served when it can be written again', async () => {
    const volume = volumeOfKind(node, TMPFS);
    const other = volumeOfKind(node, TMPFS);
    expect(await volume.stage()).to.include(OK);
    expect(await volume.publish()).to.include(OK);
    mountCommand('-o', 'remount,ro', node.stateDir);
    try {
      await expectNothingDone(
        node,
        () => other.stage(),
        'UNAVAILABLE',
        /read-only filesystem: look for disk errors/,
      );
      expect(await volume.publish(), 'a repeated call').to.include(OK);
      const { code, message } = await volume.unpublish();
      expect(code, message).to.equal('UNAVAILABLE');
      await node.kill();
      await node.start();
    } finally {
      mountCommand('-o', 'remount,rw', node.stateDir);
    }
    expect(await volume.unpublish()).to.include(OK);
    expect(await other.stage()).to.include(OK);
    await other[Symbol.asyncDispose]();
    await expectEmpty(volume);
  });
});

describe('a node that is short of', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode({ start: (directory) => startPluginBelow([], directory) });
  });
  after(() => node?.[Symbol.asyncDispose]());

  /** A control group with the plugin and its engine, until the end of the block. */
  function grouped(
    test: Mocha.Context,
    controller: 'pids' | 'devices',
  ): { set(file: string, value: string): void } & Disposable {
    const own = ownGroup(test, controller);
    let group: string;
    try {
      if (existsSync(join(own, 'cgroup.subtree_control')))
        writeFileSync(join(own, 'cgroup.subtree_control'), `+${controller}`);
      group = mkdtempSync(join(own, 'neighbours-'));
    } catch (error) {
      return needPermission(test, false, `no control group can be made: ${error}`) as never;
    }
    const procs = join(group, 'cgroup.procs');
    for (const pid of [...pluginProcesses(node.directory), ...engineProcesses(node.directory)])
      writeFileSync(procs, String(pid));
    return {
      set: (file, value) => writeFileSync(join(group, file), value),
      [Symbol.dispose]() {
        for (const pid of readFileSync(procs, 'utf8').split('\n').filter(Boolean)) {
          writeFileSync(join(own, 'cgroup.procs'), pid);
        }
        rmdirSync(group);
      },
    };
  }

  /** Another engine process is begun with the first call that finds none idle: not in the middle of a test. */
  async function warmUp(): Promise<void> {
    await using volume = volumeOfKind(node, TMPFS);
    expect(await volume.stage()).to.include(OK);
  }

  it('processes: no helper, no mkfs; what needs none is served', async function () {
    for (const tool of ['bindfs', 'mkfs.ext4']) needTool(this, tool, 'a program that is started');
    await warmUp();
    await using fuse = volumeOfKind(node, FUSE);
    await using made = volumeOfKind(node, MADE);
    await using mapped = volumeOfKind(node, {
      ...MAPPED,
      context: (at) => ({ ...MAPPED.context(at), ...NEW_MAPPING }),
    });
    await using tmpfs = volumeOfKind(node, TMPFS);
    {
      using group = grouped(this, 'pids');
      group.set('pids.max', '1');
      for (const volume of [fuse, made, mapped]) {
        await expectNothingDone(
          node,
          () => volume.stage(),
          'RESOURCE_EXHAUSTED',
          /pids cgroup, or RLIMIT_NPROC/,
        );
      }
      expect(await tmpfs.stage(), 'no process is needed').to.include(OK);
      group.set('pids.max', 'max');
      for (const volume of [fuse, made, mapped]) expect(await volume.stage()).to.include(OK);
    }
  });

  it('processes, with no engine left: the call says so, and the next one has one', async function () {
    await warmUp();
    await using volume = volumeOfKind(node, TMPFS);
    using group = grouped(this, 'pids');
    group.set('pids.max', '1');
    for (const pid of engineProcesses(node.directory)) process.kill(pid, 'SIGKILL');
    await eventually('they are gone', () => engineProcesses(node.directory).length === 0);
    let { code, message } = await volume.stage();
    // The plugin hears of their end a little later.
    for (let tries = 0; tries < 10 && code === 'UNAVAILABLE'; tries++)
      ({ code, message } = await volume.stage());
    expect(code, message).to.equal('RESOURCE_EXHAUSTED');
    expect(message).to.match(/pids cgroup, or RLIMIT_NPROC/);
    group.set('pids.max', 'max');
    expect(await volume.stage()).to.include(OK);
  });

  it('loop devices: they may not be opened', async function () {
    needTool(this, 'mkfs.ext4', 'an image');
    await warmUp();
    await using volume = volumeOfKind(node, MADE);
    using group = grouped(this, 'devices');
    group.set('devices.deny', 'b 7:* rwm');
    await expectNothingDone(node, () => volume.stage(), 'FAILED_PRECONDITION', /\/dev\/loop\d+.*EPERM/);
    group.set('devices.allow', 'b 7:* rwm');
    expect(await volume.stage()).to.include(OK);
  });

  it('loop devices: all that there are are taken, and the kernel makes one more', async function () {
    needTool(this, 'mkfs.ext4', 'an image');
    await warmUp();
    await using volume = volumeOfKind(node, MADE);
    using place = temporaryDirectory();
    using taken = allLoopDevices(place.at('file'));
    expect(await volume.stage()).to.include(OK);
    expect(await volume.publish()).to.include(OK);
    const { device } = theMountAt(volume.target);
    expect(device).to.match(/^7:\d+$/);
    expect(taken.numbers.map((number) => `7:${number}`)).to.not.include(device);
  });

  /** With this file on each that was free. */
  function allLoopDevices(path: string): { readonly numbers: readonly number[] } & Disposable {
    using stack = new DisposableStack();
    writeFileSync(path, Buffer.alloc(4096));
    using file = new Fd(openSync(path, 'r'));
    using control = openLoopControl();
    const isFree = (name: string) => !existsSync(backingFile(name));
    const free = readdirSync('/sys/block').filter((name) => name.startsWith('loop') && isFree(name));
    const numbers = free.flatMap(() => {
      const number = loopGetFree(control);
      const device = stack.use(openLoop(number, 0));
      try {
        loopSetFd(device, file);
      } catch (error) {
        // Others take some, too.
        if (!hasErrno(error, 'EBUSY')) throw error;
        return [];
      }
      stack.defer(() => loopClear(device));
      return [number];
    });
    const owned = stack.move();
    return { numbers, [Symbol.dispose]: () => owned.dispose() };
  }

  it('open files: nothing is left, and it is served when there are more', async function () {
    needTool(this, 'prlimit', 'a limit of a running process');
    await warmUp();
    await using volume = volumeOfKind(node, MAPPED);
    const engines = engineProcesses(node.directory);
    const limit = (value: string) => {
      for (const pid of engines) execFileSync('prlimit', ['--pid', String(pid), `--nofile=${value}:`]);
    };
    limit('24');
    const before = stateOf(node);
    const { code, message } = await volume.stage();
    if (code !== 'OK') {
      expect(code, message).to.equal('RESOURCE_EXHAUSTED');
      expect(message).to.match(/too many open files; raise the limit/);
      await eventually('as before', () =>
        difference(before, stateOf(node)).every((line) => OF_KUBELET.test(line)),
      );
    }
    limit('1024');
    expect(await volume.stage()).to.include(OK);
    expect(code, 'the limit was felt').to.not.equal('OK');
  });
});

/** The control group of the tests: of version 1 where there is that controller, else of version 2. */
function ownGroup(test: Mocha.Context, controller: 'pids' | 'devices'): string {
  const root = `/sys/fs/cgroup/${controller}`;
  const isVersion1 = existsSync(join(root, 'cgroup.procs'));
  if (!isVersion1) {
    needPermission(test, controller === 'pids', 'version 2 of control groups denies devices by BPF alone');
    needFile(test, '/sys/fs/cgroup/cgroup.controllers', 'control groups');
  }
  const line = isVersion1 ? `\\d+:${controller}` : '0:';
  const [, own = '/'] =
    new RegExp(`^${line}:(.*)$`, 'm').exec(readFileSync('/proc/self/cgroup', 'utf8')) ?? [];
  return join(isVersion1 ? root : '/sys/fs/cgroup', own);
}

describe('a machine without another user namespace', () => {
  /** In one of its own, whose limit is nobody else's. */
  function mountMapped(place: TemporaryDirectory, limit: number): CommandResult {
    const script = `echo ${limit} >/proc/sys/user/max_user_namespaces; mount -t tmpfs test ${place.path}; mkdir ${place.at('target')}; exec "$@"`;
    const wrapper = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh'];
    const options = 'uidmap=5:0:1,gidmap=5:0:1';
    return runCommand(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', place.at('target')], { wrapper });
  }

  it('says where the limit is, and mounts when it is higher', function () {
    needRoot(this, 'the program mounts');
    needTool(this, 'unshare', 'a user namespace with a limit of its own');
    needMappedTmpfs(this);
    using place = temporaryDirectory();
    expectFailure(
      mountMapped(place, 0),
      /ENOSPC: too many user namespaces; raise \/proc\/sys\/user\/max_user_namespaces$/m,
    );
    expectSuccess(mountMapped(place, 100));
  });
});

describe('an image whose filesystem hangs', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'bindfs', 'a filesystem that hangs');
    needTool(this, 'mkfs.ext4', 'an image');
    needFile(this, '/dev/fuse', 'a filesystem that hangs');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  const timeoutMs = 2_000;

  it('before it is attached: given up at the deadline, with no device', async () => {
    using hung = hungFilesystem(node.at('hung'));
    const volume = volumeOn(node, { context: { type: 'image', source: join(hung.path, 'image') } });
    expect(await volume.stage({}, { timeoutMs })).to.include({ code: 'DEADLINE_EXCEEDED' });
    await eventually('the call ends', () => node.callsOf(volume.id).length === 1);
    await using other = volumeOfKind(node, TMPFS);
    expect(await other.stage(), 'others are served').to.include(OK);
    expect(await other.unstage()).to.include(OK);
    hung[Symbol.dispose]();
    expect(await volume.unstage()).to.include(OK);
    expect(devicesOf(node)).to.deep.equal([]);
    expect(node.records()).to.deep.equal([]);
  });

  it('while it is mounted: others are served, and it goes when its server is gone', async function () {
    for (const name of ['disk', 'shown']) mkdirSync(node.at(name), { recursive: true });
    makeImage(this, 'ext4', node.at('disk/image'), node.at('shown'));
    makeImage(this, 'ext4', node.at('image'), node.at('shown'));
    await using another = volumeOn(node, { context: { type: 'image', source: node.at('image') } });
    await using shown = await fuseMount(node.at('disk'), node.at('shown'));
    const volume = volumeOn(node, { context: { type: 'image', source: join(shown.path, 'image') } });
    expect(await volume.stage()).to.include(OK);
    expect(await volume.publish()).to.include(OK);
    writeFileSync(join(volume.target, 'file'), 'unwritten');
    await shown.hang();
    await using other = volumeOfKind(node, TMPFS);
    const waiting = [volume.unpublish(), volume.unstage()];
    expect(await other.stage(), 'others are served').to.include(OK);
    await shown.die();
    // Nor can the kernel tell any more of whose file the device is.
    expect((await another.stage()).message, 'other images are served').to.equal('');
    expect((await another.unstage()).message).to.equal('');
    await Promise.all(waiting);
    const deadline = performance.now() + scaled(30_000);
    const takenAway = async () => [await volume.unpublish(), await volume.unstage()];
    let answers = await takenAway();
    while (answers.some(({ code }) => code !== 'OK') && performance.now() < deadline)
      answers = await takenAway();
    expect(answers.map(({ message }) => message)).to.deep.equal(['', '']);
    expect(await other.unstage()).to.include(OK);
    await eventually('no device', () => devicesOf(node).length === 0);
    expect(node.records()).to.deep.equal([]);
  });

  for (const mode of ['filesystem', 'block'] as const)
    it(`of a ${mode} volume, and is dead: the volume is taken away, its device too`, async function () {
      const places = ['dead', `shown-${mode}`].map((name) => node.at(name));
      const [disk = '', at = ''] = places;
      for (const place of places) mkdirSync(place, { recursive: true });
      const image = `${mode}-${basename(node.directory)}`;
      makeImage(this, 'ext4', join(disk, image), at);
      await using shown = await fuseMount(disk, at);
      await using volume = volumeOn(node, { context: { type: 'image', source: join(at, image) } });
      const as = mode === 'block' ? { volumeCapability: blockCapability() } : {};
      expect(await volume.stage(as)).to.include(OK);
      expect(await volume.publish(as)).to.include(OK);
      const devices = () => loopsOf(join(at, image));
      const [device = ''] = devices();
      expect(isTold(device)).to.equal(true);
      await shown.die();
      // For a second it says what it knew of the file.
      await eventually('the kernel cannot tell any more whose file the device is', () => !isTold(device));
      expect((await volume.unpublish()).message).to.equal('');
      expect((await volume.unstage()).message).to.equal('');
      await eventually('no device', () => devices().length === 0);
      expect(node.records()).to.deep.equal([]);
    });
});

/** By sysfs, which asks no server. */
function loopsOf(image: string): string[] {
  const isOf = (name: string) => image.endsWith(readFileSync(backingFile(name), 'utf8').trim());
  return readdirSync('/sys/block')
    .filter((name) => existsSync(backingFile(name)) && isOf(name))
    .map((name) => `/dev/${name}`);
}

/** Not there for a device without a file. */
const backingFile = (name: string): string => `/sys/block/${name}/loop/backing_file`;

/** By LOOP_GET_STATUS64. */
function isTold(device: string): boolean {
  const { stdout } = spawnSync('losetup', ['--list', '--noheadings', '--output', 'BACK-INO', device]);
  return Number(stdout.toString().trim()) > 0;
}

describe('a clock that is set', () => {
  const DAY_MS = 86_400_000;
  let node: TestNode;
  let file = '';
  const set = (ms: number) => writeFileSync(file, String(ms));

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needFile(this, '/dev/fuse', 'a filesystem that hangs');
    node = await startNode({
      start(directory) {
        file = join(directory, 'clock');
        set(0);
        const fixture = join(import.meta.dirname, '../support/clock.fixture.ts');
        const env = ['env', `CLOCK_FILE=${file}`, `NODE_OPTIONS=--import=${fixture}`];
        return startPluginBelow(env, directory);
      },
    });
  });
  after(() => node?.[Symbol.asyncDispose]());

  for (const [title, jump] of [
    ['forward by a day', DAY_MS],
    ['back by a day', -DAY_MS],
  ] as const) {
    it(`${title}, between calls: all are served`, async () => {
      set(0);
      const volume = volumeOfKind(node, LIMITED);
      expect(await volume.stage()).to.include(OK);
      set(jump);
      expect(await volume.publish()).to.include(OK);
      await node.kill();
      await node.start();
      set(-jump);
      expect(await volume.publish()).to.include(OK);
      expect(await volume.unpublish()).to.include(OK);
      expect(await volume.unstage()).to.include(OK);
      await volume[Symbol.asyncDispose]();
      await expectNothingLeft(node);
    });

    it(`${title}, in the middle of a call that waits: it has the time that its caller gave it`, async () => {
      set(0);
      using hung = hungFilesystem(node.at('hung'));
      await using volume = volumeOn(node, {
        context: { type: 'overlay', lowerdir: join(hung.path, 'directory') },
      });
      const begun = performance.now();
      const timeoutMs = 3_000;
      const staged = volume.stage({}, { timeoutMs });
      await eventually('the call is at work', () => node.records().length === 1);
      set(jump);
      expect(await staged).to.include({ code: 'DEADLINE_EXCEEDED' });
      expect(performance.now() - begun, 'its caller is told').to.be.greaterThan(timeoutMs - 500);
      // The plugin has given it up as well, and what it began is not in the way any more.
      let answer = await volume.unstage();
      for (let tries = 0; tries < 200 && answer.code === 'ABORTED'; tries++) answer = await volume.unstage();
      expect(answer).to.include(OK);
      set(0);
    });
  }
});

describe('a second driver on the same state directory', () => {
  it('waits for one that is being killed, and has its volumes', async function () {
    needRoot(this, 'the plugin mounts');
    await using node = await startNode();
    await using volume = volumeOfKind(node, MAPPED);
    expect(await volume.stage()).to.include(OK);
    expect(await volume.publish()).to.include(OK);
    const before = node.mounts();
    const { child, said, ended } = serve(flagsOf(node.directory));
    try {
      await node.kill();
      await eventually('it serves', () => said.some((line) => line.includes('"ready"')));
      expect(await volume.publish()).to.include(OK);
      expect(node.mounts()).to.deep.equal(before);
      expect(await volume.unpublish()).to.include(OK);
      expect(await volume.unstage()).to.include(OK);
    } finally {
      child.kill('SIGTERM');
      await ended;
      await node.start();
    }
  });
});
