// FUSE volumes whose helpers run below fuse-host: they outlive the driver, and a helper that dies or hangs troubles its
// own volume alone.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, mountCommand, ownerOf, writeFiles } from '../support/fixtures.ts';
import { needFile, needRoot, needTool } from '../support/need.ts';
import { startFuseHost, type TestFuseHost } from './fuse-host.ts';
import { mountsAt, mountsBelow, theMountAt } from './kernel.ts';
import { retried, startNode, type TestNode } from './node.ts';
import { podOn } from './pod.ts';
import { isAlive, startPluginBelow } from './serve.ts';
import { capability, type Volume, volumeOn } from './volume.ts';

/** What fuse-host and the driver are both given. */
const POLICY = (directory: string) => `
version: 1
rules:
  - class: persistent
    types: [bind, tmpfs, fuse.bindfs, fuse.mute, fuse.failing]
    roots: [{ path: ${directory}, access: read-write }]
    idmap: { kinds: [pod] }
    helpers:
      bindfs: {}
      mute: { program: ${directory}/programs/mute }
      failing: { program: ${directory}/programs/failing }
  - class: inline
    types: [fuse.bindfs]
    roots: [{ path: ${directory}, access: read-write }]
    readOnlyViewsOnly: false
    helpers: { bindfs: {} }
`;

/** Mounts, and becomes the server. */
const MUTE = `#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
exec 9<>/dev/fuse
mount -i -t fuse.mute -o fd=9,rootmode=40000,user_id=0,group_id=0,allow_other mute "$2" || exit
exec ${process.execPath} ${join(import.meta.dirname, 'mute-server.fixture.ts')} "$1"
`;

/** A pod more may have it at any time. */
const MANY = { volumeCapability: capability('MULTI_NODE_MULTI_WRITER') };

describe('FUSE volumes with fuse-host', () => {
  let node: TestNode;
  let host: TestFuseHost;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needFile(this, '/dev/fuse', 'it mounts by it');
    needTool(this, 'bindfs', 'it is mounted with here');
    node = await startNode({
      async start(directory) {
        writeFiles(directory, {
          'data/file': 'plain',
          'policy.yaml': POLICY(directory),
          'programs/mute': { content: MUTE, mode: 0o755 },
          'programs/failing': {
            content: '#!/bin/sh\necho cannot find the server >&2; exit 3\n',
            mode: 0o755,
          },
        });
        const settings = ['CSI_IDMAP_FUSE_MODE=host', `CSI_IDMAP_POLICY=${directory}/policy.yaml`];
        const ownNamespace = ['unshare', '--mount', '--propagation', 'unchanged'];
        return startPluginBelow([...ownNamespace, 'env', ...settings], directory);
      },
    });
    host = await startHost();
  });
  after(async () => {
    await host?.[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
  });

  const startHost = () => startFuseHost(node.directory, ['--policy', node.at('policy.yaml')]);
  const bindfs = (more: Record<string, string> = {}) =>
    volumeOn(node, { context: { type: 'fuse.bindfs', source: node.at('data'), ...more } });

  async function published(volume: Volume): Promise<Volume> {
    expect(await volume.stage(MANY)).to.include({ code: 'OK' });
    expect(await volume.publish(MANY)).to.include({ code: 'OK' });
    return volume;
  }

  async function helperOf(volume: Volume): Promise<number> {
    const helpers = await host.client.list();
    const pids = helpers.filter(({ volumeId }) => volumeId === volume.id).flatMap(({ pids }) => pids);
    expect(pids).to.have.length(1);
    return pids[0] ?? 0;
  }

  const expectEnded = (pid: number) => eventually('its helper has ended', () => !isAlive(pid));

  it('are read without a failure while the driver is killed and comes back in another mount namespace', async () => {
    await using volume = await published(bindfs());
    const pid = await helperOf(volume);
    const reader = readOnAndOn(join(volume.target, 'file'));
    await reader.goesOn();
    await node.kill();
    await reader.goesOn();
    await node.start();
    await reader.goesOn();
    expect(await volume.stage(MANY)).to.include({ code: 'OK' });
    expect(await volume.publish(MANY), 'again').to.include({ code: 'OK' });
    expect(await volume.stats(volume.target)).to.include({ code: 'OK' });
    await reader.goesOn();
    await reader.end();
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(await volume.unstage()).to.include({ code: 'OK' });
    await expectEnded(pid);
    expect(await host.client.list()).to.deep.equal([]);
  });

  it('inline, and as a part of several mounts', async () => {
    const context = { type: 'fuse.bindfs', source: node.at('data') };
    await using inline = volumeOn(node, { context, inline: true });
    expect(await inline.publish()).to.include({ code: 'OK' });
    expect(readFileSync(join(inline.target, 'file'), 'utf8')).to.equal('plain');
    const mounts = [{ type: 'tmpfs' }, { ...context, target: 'below' }];
    await using several = await published(volumeOn(node, { context: { mounts: JSON.stringify(mounts) } }));
    expect(readFileSync(join(several.target, 'below/file'), 'utf8')).to.equal('plain');
    expect(await host.client.list()).to.have.length(2);
  });

  it('for a pod with a user namespace: below its cover, with the ids of the pod', async () => {
    using pod = podOn(node);
    await using volume = bindfs({ idmap: 'pod', ...pod.info });
    const target = pod.targetOf('data');
    expect(await volume.stage()).to.include({ code: 'OK' });
    expect(await volume.publish({ targetPath: target })).to.include({ code: 'OK' });
    pod.record();
    const file = join(target, 'data/file');
    await eventually('it is completed', () => existsSync(file));
    expect(readFileSync(file, 'utf8')).to.equal('plain');
    expect(ownerOf(file)).to.equal('131072:131072');
    const pid =
      (await host.client.list()).find(({ target: at }) => at === join(target, 'data'))?.pids[0] ?? 0;
    expect(await retried(() => volume.unpublish({ targetPath: target }))).to.include({ code: 'OK' });
    await expectEnded(pid);
  });

  it('of several such pods each have a helper, and the end of one is told once, whoever asks about them', async () => {
    await using stack = new AsyncDisposableStack();
    const pods = ['first', 'second'].map((name) => stack.use(podOn(node, name)));
    const volume = stack.use(bindfs({ idmap: 'pod' }));
    expect(await volume.stage(MANY)).to.include({ code: 'OK' });
    const targets: string[] = [];
    for (const pod of pods) {
      const target = pod.targetOf('data');
      const request = { ...MANY, targetPath: target, volumeContext: { ...volume.context, ...pod.info } };
      expect(await volume.publish(request)).to.include({ code: 'OK' });
      pod.record();
      await eventually('it is completed', () => existsSync(join(target, 'data/file')));
      targets.push(target);
    }
    const [dead = '', well = ''] = targets;
    const helpers = (await host.client.list()).filter(({ volumeId }) => volumeId === volume.id);
    expect(helpers.map(({ target }) => target)).to.have.members(
      targets.map((target) => join(target, 'data')),
    );
    process.kill(helpers.find(({ target }) => target === join(dead, 'data'))?.pids[0] ?? 0, 'SIGKILL');
    const lines = () =>
      node.plugin.log
        .map(({ text }) => text)
        .filter((text) => text.includes(`"${volume.id}"`) && /a FUSE volume (does not|answers)/.test(text));
    await eventually('it is told', () => lines().length > 0);
    for (let minute = 0; minute < 3; minute++) {
      expect(await volume.stats(well)).to.include({ code: 'OK' });
      expect(await volume.stats(dead)).to.include({ code: 'FAILED_PRECONDITION' });
    }
    expect(lines()).to.have.length(1);
    expect(lines()[0]).to.include(`"path":"${dead}"`);
    for (const targetPath of targets)
      expect(await retried(() => volume.unpublish({ targetPath }))).to.include({ code: 'OK' });
  });

  it('whose helper fails leave nothing, and the call has its words', async () => {
    await using volume = volumeOn(node, { context: { type: 'fuse.failing', source: node.at('data') } });
    const answer = await volume.stage();
    expect(answer).to.include({ code: 'FAILED_PRECONDITION' });
    expect(answer.message).to.contain('ended with status 3: cannot find the server');
    expect(node.records()).to.deep.equal([]);
    expect(await host.client.list()).to.deep.equal([]);
  });

  it('are refused as unavailable while fuse-host is away, and others are served', async () => {
    await using before = await published(bindfs());
    const pid = await helperOf(before);
    await host.kill();
    try {
      await using volume = bindfs();
      const answer = await volume.stage();
      expect(answer).to.include({ code: 'UNAVAILABLE' });
      expect(answer.message).to.contain(host.socket).and.to.contain('others are served');
      await using other = await published(volumeOn(node, { context: { type: 'tmpfs' } }));
      expect(mountsAt(other.target)).to.have.length(1);
      expect(readFileSync(join(before.target, 'file'), 'utf8'), 'its mounts live on here').to.equal('plain');
      expect(await before.publish({ ...MANY, targetPath: before.targetOf('second') })).to.include({
        code: 'OK',
      });
      expect(await before.unpublish()).to.include({ code: 'OK' });
      expect(await before.unpublish({ targetPath: before.targetOf('second') })).to.include({ code: 'OK' });
      expect(await before.unstage()).to.include({ code: 'OK' });
      await expectEnded(pid);
      expect(node.records().some(({ text }) => text.includes(before.id))).to.equal(false);
    } finally {
      host = await startHost();
    }
    await using after = await published(bindfs());
    expect(theMountAt(after.target).type).to.equal('fuse');
  });

  it('that the policy of fuse-host refuses are refused, whatever the driver has let through', async () => {
    await host.kill();
    writeFiles(node.directory, { 'strict.yaml': POLICY(node.directory).replace(/fuse\.bindfs, /g, '') });
    host = await startFuseHost(node.directory, ['--policy', node.at('strict.yaml')]);
    try {
      await using volume = bindfs();
      const answer = await volume.stage();
      expect(answer).to.include({ code: 'PERMISSION_DENIED' });
      expect(answer.message).to.match(/^fuse-host: type fuse\.bindfs/);
      expect(node.records()).to.deep.equal([]);
    } finally {
      await host.kill();
      host = await startHost();
    }
  });

  it('whose helper has died are told of, and made anew with the next publish', async () => {
    await using volume = await published(bindfs());
    process.kill(await helperOf(volume), 'SIGKILL');
    const told = () => node.plugin.log.filter(({ text }) => text.includes('a FUSE volume does not answer'));
    await eventually('it is told', () => told().some(({ text }) => text.includes(`"${volume.id}"`)));
    const stats = await volume.stats(volume.target);
    expect(stats).to.include({ code: 'FAILED_PRECONDITION' });
    expect(stats.message).to.contain('its server has ended');
    const second = volume.targetOf('second');
    expect(await volume.publish({ targetPath: second, ...MANY })).to.include({ code: 'OK' });
    expect(readFileSync(join(second, 'file'), 'utf8')).to.equal('plain');
    expect(() => readdirSync(volume.target), 'where nobody has asked').to.throw('ENOTCONN');
    expect(await volume.publish(MANY), 'of the pod that has it').to.include({ code: 'OK' });
    expect(readFileSync(join(volume.target, 'file'), 'utf8')).to.equal('plain');
    expect(await volume.stats(volume.target)).to.include({ code: 'OK' });
  });

  it('whose helper has died while fuse-host is away wait for it, and are made anew with the next publish', async () => {
    await using volume = await published(bindfs());
    const pid = await helperOf(volume);
    const second = { ...MANY, targetPath: volume.targetOf('second') };
    await host.kill();
    try {
      process.kill(pid, 'SIGKILL');
      await expectEnded(pid);
      for (const time of ['once', 'again']) {
        expect(await volume.publish(second), time).to.include({ code: 'UNAVAILABLE' });
      }
      // What kubelet holds for staged is that for the next driver, too.
      await node.kill();
      await node.start();
      expect(await volume.publish(second), 'of another driver').to.include({ code: 'UNAVAILABLE' });
    } finally {
      host = await startHost();
    }
    expect(await volume.publish(second)).to.include({ code: 'OK' });
    expect(readFileSync(join(second.targetPath, 'file'), 'utf8')).to.equal('plain');
    expect(await volume.stage(MANY), 'as after a restart of kubelet').to.include({ code: 'OK' });
  });

  it('whose helper has died and whose records are lost are made anew with the next publish', async () => {
    await using volume = await published(bindfs());
    const pid = await helperOf(volume);
    await node.kill();
    process.kill(pid, 'SIGKILL');
    await expectEnded(pid);
    rmSync(join(node.stateDir, 'records'), { recursive: true });
    await node.start();
    const second = { ...MANY, targetPath: volume.targetOf('second') };
    expect(await volume.publish(second)).to.include({ code: 'OK' });
    expect(readFileSync(join(second.targetPath, 'file'), 'utf8')).to.equal('plain');
    expect(await volume.stage(MANY), 'as after a restart of kubelet').to.include({ code: 'OK' });
  });

  it('of several mounts of which the root alone is there are not taken for staged', async () => {
    const mounts = [{ type: 'tmpfs' }, { type: 'fuse.bindfs', source: node.at('data'), target: 'below' }];
    await using volume = volumeOn(node, { context: { mounts: JSON.stringify(mounts) } });
    mkdirSync(volume.stagingPath, { recursive: true });
    mountCommand('-t', 'tmpfs', 'tmpfs', volume.stagingPath);
    await published(volume);
    expect(mountsBelow(volume.stagingPath)).to.have.length(1);
    expect(readFileSync(join(volume.target, 'below/file'), 'utf8')).to.equal('plain');
  });

  describe('that hang', () => {
    const other = () => volumeOn(node, { context: { type: 'tmpfs' } });

    /**
     * Whoever asks the filesystem is told in the end, though others ask too and none of them has a deadline of his own;
     * others are served, and it can be given up.
     */
    async function expectContained(volume: Volume): Promise<void> {
      const stats = volume.stats(volume.target);
      await using unhindered = await published(other());
      expect(mountsAt(unhindered.target)).to.have.length(1);
      expect(await stats).to.include({ code: 'DEADLINE_EXCEEDED' });
      expect(await volume.stats(volume.target), 'again').to.include({ code: 'DEADLINE_EXCEEDED' });
      const second = { ...MANY, targetPath: volume.targetOf('second') };
      expect(await volume.publish(second), 'a pod is not to begin on it').to.include({
        code: 'DEADLINE_EXCEEDED',
      });
      expect(await volume.unpublish({ targetPath: second.targetPath })).to.include({ code: 'OK' });
    }

    it('stopped: stats and publish have an end, and unpublish and unstage cut them off', async () => {
      await using volume = await published(bindfs());
      const pid = await helperOf(volume);
      process.kill(pid, 'SIGSTOP');
      await expectContained(volume);
      const reader = spawn('cat', [join(volume.target, 'file')], { stdio: 'ignore' });
      const readerEnded = once(reader, 'exit');
      expect(await volume.unpublish()).to.include({ code: 'OK' });
      expect(await volume.unstage()).to.include({ code: 'OK' });
      expect(await readerEnded, 'is freed').to.deep.equal([1, null]);
      await expectEnded(pid);
    });

    it('that take requests and answer none: the same, also for the successor of a driver killed meanwhile', async () => {
      mkdirSync(node.at('silent'));
      const context = { type: 'fuse.mute', source: node.at('silent') };
      await using volume = await published(volumeOn(node, { context }));
      const pid = await helperOf(volume);
      writeFiles(node.directory, { 'silent/mute': '' });
      await expectContained(volume);
      const stats = volume.stats(volume.target);
      await node.kill();
      expect(await stats).to.include({ code: 'UNAVAILABLE' });
      await node.start();
      await using unhindered = await published(other());
      expect(mountsAt(unhindered.target)).to.have.length(1);
      expect(await volume.unpublish()).to.include({ code: 'OK' });
      expect(await volume.unstage()).to.include({ code: 'OK' });
      await expectEnded(pid);
    });
  });
});

interface Reader {
  /** Returns when it has read some more; throws when it has failed. */
  goesOn(): Promise<void>;
  end(): Promise<void>;
}

/** Opens and reads a file again and again, until that fails. */
function readOnAndOn(file: string): Reader {
  const script = 'while cat "$1" >/dev/null; do echo; sleep 0.005; done';
  const child: ChildProcess = spawn('sh', ['-c', script, 'sh', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  let count = 0;
  child.stdout?.on('data', (chunk: Buffer) => {
    count += chunk.length;
  });
  return {
    async goesOn() {
      const before = count;
      await eventually('it reads on', () => count >= before + 20 || child.exitCode !== null);
      expect(child.exitCode, 'a read has failed').to.equal(null);
    },
    async end() {
      child.kill();
      await ended;
    },
  };
}
