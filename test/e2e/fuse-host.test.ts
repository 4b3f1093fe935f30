// fuse-host by itself, over its socket: what it starts and how, what it refuses, and what it tells of helpers that end.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { FuseHostError, fuseHostAt } from '../../src/fuse-host/client.ts';
import { MountError } from '../../src/mount/errors.ts';
import { PolicyError } from '../../src/policy/policy.ts';
import { connect } from '../../src/rpc/client.ts';
import { FuseHostService, Helper_State as State } from '../../src/rpc/generated/fusehost.ts';
import { squashfs } from '../kernel/mount/helpers.ts';
import {
  eventually,
  mountCommand,
  mountPlace,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../support/fixtures.ts';
import { descendants, linkOf } from '../support/leaks.ts';
import { needFile, needPermission, needRoot, needTool } from '../support/need.ts';
import { scaled } from '../support/time-scale.ts';
import { run } from './command.ts';
import { startFuseHost, startSpec, type TestFuseHost } from './fuse-host.ts';
import { mountsAt } from './kernel.ts';
import { isAlive } from './serve.ts';

const TIMEOUT_MS = scaled(60_000);

/** One helper of each way to be one, those that Debian does not have as scripts. */
const POLICY = (directory: string) => `
version: 1
rules:
  - class: persistent
    types: [fuse.bindfs, fuse.squashfuse, fuse.daemon, fuse.greedy, fuse.failing, fuse.slow, fuse.sealing, fuse.extending]
    roots: [{ path: ${directory}, access: read-write }]
    helpers:
      bindfs: {}
      squashfuse: { user: '61001:61001' }
      daemon: { program: ${directory}/programs/daemon }
      greedy: { program: ${directory}/programs/greedy }
      failing: { program: ${directory}/programs/failing }
      slow: { program: ${directory}/programs/slow }
      sealing: { program: ${directory}/programs/sealing, user: '61001:61001' }
      extending: { program: ${directory}/programs/extending, user: '61001:61001' }
`;

const perl = (before: string) => `#!/usr/bin/perl\n${before}; exec "squashfuse", "-f", @ARGV;\n`;

const PROGRAMS = {
  // Another program that becomes the helper, and a daemon.
  daemon: '#!/bin/sh\necho mounting >&2\nexec bindfs "$@"\n',
  // Takes all the memory that there is, once its source says so.
  greedy:
    '#!/bin/sh\nbindfs -f "$@" &\nwhile [ "$1" = -o ]; do shift 2; done\nuntil [ -e "$1/greed" ]; do sleep 0.05; done; exec tail /dev/zero\n',
  failing: '#!/bin/sh\necho cannot find the server >&2; exit 3\n',
  // For ever, while a file beside it says so.
  slow: '#!/bin/sh\nif [ -e "$0.waits" ]; then exec sleep 1000; fi; exec bindfs -f "$@"\n',
  // Do what they can to their output: F_ADD_SEALS with F_SEAL_SHRINK, and a size that no number of JavaScript is.
  sealing: perl(
    'fcntl(STDOUT, 1033, 2) or print STDERR "cannot seal\\n"; print STDERR "x" x 100000, "\\nsealed\\n"',
  ),
  extending: perl('truncate(STDOUT, 2**62) or print STDERR "cannot extend\\n"'),
};

async function rejected<E extends Error>(
  promise: Promise<unknown>,
  type: new (...args: never[]) => E,
): Promise<E> {
  const error = await promise.then(
    () => 'success',
    (thrown: unknown) => thrown,
  );
  expect(error).to.be.instanceOf(type);
  return error as E;
}

describe('fuse-host', () => {
  let place: TemporaryDirectory;
  let host: TestFuseHost;

  before(async function () {
    needRoot(this, 'it mounts');
    needFile(this, '/dev/fuse', 'it mounts by it');
    for (const tool of ['bindfs', 'squashfuse', 'mksquashfs'])
      needTool(this, tool, 'it is mounted with here');
    place = mountPlace();
    mkdirSync(place.at('kubelet'));
    writeFiles(place.path, { 'data/file': 'plain', 'policy.yaml': POLICY(place.path) });
    for (const [name, content] of Object.entries(PROGRAMS))
      writeFiles(place.path, { [`programs/${name}`]: { content, mode: 0o755 } });
    host = await startFuseHost(place.path, [...policy(), '--helper-memory', '64Mi']);
  });
  after(async () => {
    await host?.[Symbol.asyncDispose]();
    place?.[Symbol.dispose]();
  });

  const policy = () => ['--policy', place.at('policy.yaml')];
  const spec = (name: string, helper: string, source = place.at('data')) =>
    startSpec({
      target: place.at('kubelet', name),
      volumeContext: { type: `fuse.${helper}`, source },
      volumeId: name,
    });
  const start = (name: string, helper: string, source?: string) =>
    host.client.start(spec(name, helper, source), TIMEOUT_MS);

  async function unmounted(name: string): Promise<void> {
    unmountCommand(place.at('kubelet', name));
    await host.client.stop(place.at('kubelet', name), { timeoutMs: TIMEOUT_MS });
    expect(await host.client.list()).to.deep.equal([]);
  }

  it('mounts a volume, tells of its helper, and ends with the mount', async () => {
    const helper = await start('plain', 'bindfs');
    const target = place.at('kubelet/plain');
    expect(helper).to.include({ target, volumeId: 'plain', name: 'bindfs', state: State.SERVING, uid: 0 });
    expect(helper.pids).to.have.length(1);
    expect(readFileSync(join(target, 'file'), 'utf8')).to.equal('plain');
    expect(await host.client.list()).to.deep.equal([helper]);
    const doctor = run(['doctor', '--fuse-host-socket', host.socket]);
    expect(doctor.stdout).to.match(/^ {2}bindfs serving; volume plain; .*kubelet\/plain; processes \d+$/m);
    await unmounted('plain');
    await eventually('its helper has ended', () => !isAlive(helper.pids[0] ?? 0));
  });

  it('knows a daemon for what it is, and its end', async () => {
    const { pids } = await start('daemon', 'daemon');
    expect(readFileSync(`/proc/${pids[0]}/comm`, 'utf8')).to.equal('bindfs\n');
    const death = host.client.deaths(0n, TIMEOUT_MS, new AbortController().signal);
    process.kill(pids[0] ?? 0, 'SIGKILL');
    const { deaths, next } = await death;
    expect(deaths).to.have.length(1);
    expect(deaths[0]?.output).to.equal('mounting');
    expect(deaths[0]?.helper).to.include({
      volumeId: 'daemon',
      state: State.DEAD,
      end: 'was ended by signal 9',
    });
    const none = await host.client.deaths(next, 1, new AbortController().signal);
    expect(none).to.deep.equal({ deaths: [], next });
    await unmounted('daemon');
  });

  it('a helper of a dead mount can be started anew when that is gone', async () => {
    const { pids } = await start('again', 'bindfs');
    process.kill(pids[0] ?? 0, 'SIGKILL');
    await eventually('it is gone', () => !isAlive(pids[0] ?? 0));
    const error = await rejected(start('again', 'bindfs'), MountError);
    expect(error).to.include({ reason: 'busy', rolledBack: true });
    unmountCommand(place.at('kubelet/again'));
    expect(await start('again', 'bindfs')).to.include({ state: State.SERVING });
    await unmounted('again');
  });

  it('ends nothing where somebody asks for the end of all, or of nothing', async () => {
    const helper = await start('kept', 'bindfs');
    const kubelet = place.at('kubelet');
    for (const target of ['', '/', kubelet, `${kubelet}/`, `${kubelet}/kept/..`, place.path, 'kept', '.']) {
      const stopped = await host.client.stop(target, { timeoutMs: TIMEOUT_MS, unmount: true });
      expect(stopped, target).to.deep.equal([]);
    }
    expect(await host.client.list()).to.deep.equal([helper]);
    expect(readFileSync(join(helper.target, 'file'), 'utf8')).to.equal('plain');
    await unmounted('kept');
  });

  it('has a helper run as the user that the policy says', async () => {
    const { uid, pids } = await start('user', 'squashfuse', squashfs(place));
    expect(uid).to.equal(61001);
    const status = readFileSync(`/proc/${pids[0]}/status`, 'utf8');
    expect(status).to.match(/^Uid:\t61001\t61001\t61001\t61001$/m);
    expect(status).to.match(/^CapPrm:\t0+$/m);
    expect(readFileSync(place.at('kubelet/user/file'), 'utf8')).to.equal('squashed');
    await unmounted('user');
  });

  it('has a helper run in a control group with the memory that it may take', async function () {
    const groups = () => host.controlGroups();
    const mayNot = host.said.find((line) => line.includes('no control group'));
    needPermission(this, mayNot === undefined, `control groups cannot be made here: ${mayNot}`);
    writeFiles(place.path, { 'greedy/file': '' });
    const { pids } = await start('greedy', 'greedy', place.at('greedy'));
    expect(groups()).to.have.length(1);
    writeFiles(place.path, { 'greedy/greed': '' });
    await eventually('it is killed', () => !pids.some(isAlive));
    await eventually('which is told', () =>
      host.said.some((line) => line.includes('more memory than it may have')),
    );
    await unmounted('greedy');
    await eventually('the group is gone', () => groups().length === 0);
  });

  it('fails with the words of the helper, and leaves nothing', async () => {
    const error = await rejected(start('failing', 'failing'), MountError);
    expect(error).to.include({ reason: 'helper-failed', rolledBack: true });
    expect(error.message).to.match(/ended with status 3: cannot find the server$/);
    expect(existsSync(place.at('kubelet/failing'))).to.equal(false);
    expect(await host.client.list()).to.deep.equal([]);
  });

  it('goes on serving where helpers do what they can to their output', async function () {
    needTool(this, 'perl', 'the helpers are written in it');
    const [image, plain] = [squashfs(place), await start('plain', 'bindfs')];
    await start('sealing', 'sealing', image);
    await start('extending', 'extending', image);
    await eventually('both outputs are cut off', () => outputsOf(host.child).every((size) => size === 0n));
    expect(outputsOf(host.child)).to.have.length(3);
    expect(await host.client.output(place.at('kubelet/sealing'))).to.match(/x; sealed$/);
    for (const name of ['sealing', 'extending'])
      expect(readFileSync(place.at('kubelet', name, 'file'), 'utf8')).to.equal('squashed');
    expect(readFileSync(place.at('kubelet/plain/file'), 'utf8')).to.equal('plain');
    expect((await host.client.list())[0]).to.deep.equal(plain);
    for (const name of ['sealing', 'extending']) unmountCommand(place.at('kubelet', name));
    for (const name of ['sealing', 'extending'])
      await host.client.stop(place.at('kubelet', name), { timeoutMs: TIMEOUT_MS });
    await unmounted('plain');
  });

  it('takes away what a helper has mounted, and nothing that the driver has put below it', async function () {
    const mayNot = host.said.find((line) => line.includes('no control group'));
    needPermission(this, mayNot === undefined, `a start that is killed leaves its helper: ${mayNot}`);
    const target = place.at('kubelet/placed');
    const layers = [place.at('empty'), place.at('empty-too')];
    for (const directory of [target, ...layers]) mkdirSync(directory);
    mountCommand('-t', 'overlay', '-o', `lowerdir=${layers.join(':')}`, 'placeholder', target);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => unmountCommand('--recursive', target));
    const types = () => mountsAt(target).map(({ type }) => type);
    const again = () => host.client.start({ ...spec('placed', 'slow'), createTarget: false }, TIMEOUT_MS);
    writeFiles(place.path, { 'programs/slow.waits': '' });
    const lost = rejected(again(), MountError);
    await eventually('its helper is at it', () => processesOf(host.child, 'sleep 1000').length === 1);
    for (const pid of processesOf(host.child, 'start-process')) process.kill(pid, 'SIGKILL');
    expect(await lost).to.include({ reason: 'engine-lost', rolledBack: true });
    expect(types()).to.deep.equal(['overlay']);
    await eventually('its helper has ended', () => processesOf(host.child, 'sleep 1000').length === 0);
    rmSync(place.at('programs/slow.waits'));
    await again();
    expect(types()).to.deep.equal(['overlay', 'fuse']);
    expect(readFileSync(join(target, 'file'), 'utf8')).to.equal('plain');
    await host.client.stop(target, { timeoutMs: TIMEOUT_MS, unmount: true });
    expect(types()).to.deep.equal(['overlay']);
    expect(await host.client.list()).to.deep.equal([]);
  });

  it('mounts nothing that the policy of its own refuses, wherever else', async () => {
    const outside = await rejected(start('refused', 'bindfs', '/etc'), PolicyError);
    expect(outside.message).to.contain('/etc');
    await rejected(start('refused', 'sshfs', 'host:/'), PolicyError);
    const elsewhere = { ...spec('refused', 'bindfs'), target: place.at('elsewhere') };
    expect(await rejected(host.client.start(elsewhere, TIMEOUT_MS), MountError)).to.include({
      reason: 'bad-target',
    });
    const bind = { ...spec('refused', 'bindfs'), volumeContext: { source: place.at('data') } };
    expect(await rejected(host.client.start(bind, TIMEOUT_MS), MountError)).to.include({
      reason: 'invalid-mount',
    });
    expect(await host.client.list()).to.deep.equal([]);
  });

  it('refuses who speaks another protocol, and says which side is to be replaced', async () => {
    using client = connect(FuseHostService, host.socket);
    for (const [oldest, remedy] of [
      [7, 'replace the fuse-host'],
      [0, 'upgrade the driver'],
    ] as const) {
      const asked = client.hello({ version: '9.9', protocols: { oldest, newest: oldest } });
      const error = await rejected(asked, Error);
      expect(error.message).to.contain('the driver (9.9)').and.to.contain(remedy);
    }
    await rejected(client.start({ ...spec('version', 'bindfs'), protocol: 7 }), Error);
    expect(mountsAt(place.at('kubelet/version'))).to.deep.equal([]);
  });

  it('is the only one at its socket, and whoever finds it away is told so', async () => {
    const second = await rejected(startFuseHost(place.path, policy()), Error);
    expect(second.message).to.contain('another process is listening there');
    const silent = await muteServer(place.at('mute.sock'));
    try {
      for (const socket of [place.at('nowhere.sock'), place.at('mute.sock')]) {
        const away = fuseHostAt({ socket, version: 'test' });
        const error = await rejected(away.start(spec('away', 'bindfs'), TIMEOUT_MS), FuseHostError);
        expect(error).to.include({ why: 'away' });
        expect(error.message).to.contain(socket);
      }
    } finally {
      silent[Symbol.dispose]();
    }
  });

  it('told to end while mounts are alive: tells which, starts nothing, and leaves them after its grace', async () => {
    const own = ['--socket', place.at('other.sock'), '--grace', '2', ...policy()];
    await using other = await startFuseHost(place.path, own);
    const target = place.at('kubelet/left');
    const { pids } = await other.client.start(spec('left', 'bindfs'), TIMEOUT_MS);
    const ended = other.stop();
    await eventually('it tells', () =>
      other.said.some((line) => /serve mounts still.*kubelet\/left/.test(line)),
    );
    const refused = await rejected(other.client.start(spec('late', 'bindfs'), TIMEOUT_MS), FuseHostError);
    expect(refused).to.include({ why: 'away' });
    expect(await ended).to.equal(0);
    expect(other.said.some((line) => /a helper is left.*kubelet\/left/.test(line))).to.equal(true);
    expect(readFileSync(join(target, 'file'), 'utf8')).to.equal('plain');
    unmountCommand(target);
    await eventually('the helper ends with it', () => !isAlive(pids[0] ?? 0));
  });

  it('told to end, does so as soon as the last volume is unpublished', async () => {
    const own = ['--socket', place.at('other.sock'), '--grace', '600', ...policy()];
    await using other = await startFuseHost(place.path, own);
    await other.client.start(spec('last', 'bindfs'), TIMEOUT_MS);
    const ended = other.stop();
    await eventually('it tells', () => other.said.some((line) => line.includes('serve mounts still')));
    unmountCommand(place.at('kubelet/last'));
    expect(await ended).to.equal(0);
    expect(other.said.some((line) => line.includes('a helper is left'))).to.equal(false);
  });
});

/** The sizes of the files that the output of helpers goes to. */
function outputsOf({ pid }: ChildProcess): bigint[] {
  const files = readdirSync(`/proc/${pid}/fd`).map((number) => `/proc/${pid}/fd/${number}`);
  const outputs = files.filter((file) => linkOf(file)?.startsWith('/memfd:output'));
  return outputs.map((file) => statSync(file, { bigint: true }).size);
}

const processesOf = ({ pid }: ChildProcess, word: string): number[] =>
  descendants(pid ?? 0).flatMap((one) => (one.command.includes(word) ? [one.pid] : []));

/** Accepts, and says nothing. */
async function muteServer(path: string): Promise<Disposable> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket.on('error', () => undefined))).listen(path);
  await once(server, 'listening');
  return {
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
