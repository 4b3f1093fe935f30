// Pods with user namespaces whose runtime has NRI: containerd's own code asks the plugin, and runc runs what comes of it.
// A placeholder until the sandbox is there, then the volume itself at the mountPath, with the ids of the pod.
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { ContainerOutcome, Runtime } from '../support/container.ts';
import { DATA_SET } from '../support/data-set.ts';
import {
  eventually,
  mountCommand,
  ownerOf,
  temporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../support/fixtures.ts';
import { makeImage } from '../support/images.ts';
import { needMappedTmpfs, needTool } from '../support/need.ts';
import { type NriHost, nriHost, startNriHost } from '../support/nri-host.ts';
import { runc } from '../support/runc.ts';
import { type Pod, type PodNode, type PodSpec, startPodNode, type VolumeOfPod } from './containers.ts';
import { mountsAt, theMountAt } from './kernel.ts';
import { POD_MAPPING } from './pod.ts';
import { type Context, capability, volumeOn } from './volume.ts';

type At = (...names: string[]) => string;

const OWN: PodSpec = { hostUsers: false };
const BASE = 131_072;
const OTHER_MAPPING = '0:655360:65536';

describe('a pod with a user namespace, by NRI', () => {
  let node: PodNode;
  let runtime: Runtime;
  let program: string;
  let host: NriHost;
  const place = temporaryDirectory();
  const socket = place.at('nri.sock');

  before(async function () {
    this.timeout('10m'); // The first run of a checkout builds the runtime.
    runtime = await runc(this);
    program = await nriHost(this);
    host = await startNriHost(program, socket);
    node = await startPodNode({ flags: ['--nri-socket', socket], nri: () => host });
    await host.untilPlugins(1);
  });
  after(async () => {
    await node?.[Symbol.asyncDispose]();
    await host?.[Symbol.asyncDispose]();
    runtime?.[Symbol.dispose]();
    place[Symbol.dispose]();
  });

  let count = 0;
  function dataSet(): At {
    const directory = node.node.at(`data-${++count}`);
    writeFiles(directory, DATA_SET);
    return (...names) => join(directory, ...names);
  }

  const overlay = (at: At, more: Context = {}): VolumeOfPod => ({
    context: { type: 'overlay', lowerdir: `${at('top')}:${at('base')}`, ...more },
  });
  const persistent = (at: At, more: Context = {}) =>
    overlay(at, { upperdir: at('upper'), workdir: at('work'), ...more });
  const bind = (at: At, more: Context = {}): VolumeOfPod => ({ context: { source: at('base'), ...more } });

  /** Published, and its sandbox made. */
  async function running(
    stack: AsyncDisposableStack,
    volume: VolumeOfPod,
    spec: PodSpec = OWN,
  ): Promise<Pod> {
    const pod = stack.use(await node.pod(runtime, spec, volume));
    expect(await pod.sandbox()).to.equal(undefined);
    return pod;
  }

  const OWNERS = "cd /v; stat -c '%n %u:%g' * | sort";

  interface Row {
    readonly title: string;
    readonly volume: (at: At, context: Mocha.Context) => VolumeOfPod;
    readonly spec?: Partial<PodSpec>;
    readonly as?: { readonly uid: number; readonly gid?: number };
    readonly sees: readonly string[];
    /** The owner on disk of what is written, and where that is; undefined: it cannot be written. */
    readonly writes?: readonly [owner: string, place: (at: At, pod: Pod) => string];
  }

  const BOTH = ['of-root 0:0', 'of-service 33:33', 'of-user 1000:1001', 'sub 0:0'];
  const atTarget = (_: At, pod: Pod) => pod.target;
  const ROWS: readonly Row[] = [
    {
      title: 'overlay, read-only, idmap: pod',
      volume: (at) => overlay(at, { idmap: 'pod' }),
      sees: BOTH,
    },
    {
      title: 'overlay, ephemeral, idmap: pod',
      volume: (at) => overlay(at, { idmap: 'pod', writable: 'ephemeral', sizeLimit: '16Mi' }),
      sees: BOTH,
      writes: [`${BASE}:${BASE}`, atTarget],
    },
    {
      title: 'overlay, persistent, idmap: pod',
      volume: (at) => persistent(at, { idmap: 'pod' }),
      sees: BOTH,
      writes: ['0:0', (at) => at('upper')],
    },
    { title: 'overlay, read-only, as it is', volume: (at) => overlay(at), sees: BOTH },
    {
      title: 'overlay, ephemeral, with an owner',
      volume: (at) => overlay(at, { writable: 'ephemeral', owner: '1000:1000' }),
      as: { uid: 1000 },
      sees: ['of-root 1000:1000', 'of-service 33:33', 'of-user 0:1001', 'sub 1000:1000'],
      writes: [`${BASE + 1000}:${BASE + 1000}`, atTarget],
    },
    {
      title: 'FUSE, idmap: pod',
      volume: (at, context) => {
        needTool(context, 'bindfs', 'a FUSE filesystem');
        return { context: { type: 'fuse.bindfs', source: at('base'), idmap: 'pod' } };
      },
      sees: ['of-root 0:0', 'of-service 33:33'],
      writes: ['0:0', (at) => at('base')],
    },
    {
      title: 'bind, with an owner',
      volume: (at) => bind(at, { owner: '1000:1000' }),
      as: { uid: 1000 },
      sees: ['of-root 1000:1000', 'of-service 33:33'],
      writes: ['0:0', (at) => at('base')],
    },
    {
      title: 'bind, with a mapping',
      volume: (at) => bind(at, { uidmap: '0:5:1,33:0:1', gidmap: '0:5:1,33:0:1' }),
      sees: ['of-root 5:5', 'of-service 0:0'],
      writes: ['33:33', (at) => at('base')],
    },
    {
      title: 'bind, with fsGroup',
      volume: (at) => bind(at),
      spec: { fsGroup: 2000 },
      as: { uid: 1000 },
      sees: ['of-root 0:2000', 'of-service 33:33'],
      // The group's, by the set-group-id bit that the test's directory gets.
      writes: ['1000:0', (at) => at('base')],
    },
    {
      title: 'image, with an owner',
      volume: (at, context) => ({
        context: {
          type: 'image',
          source: makeImage(context, 'ext4', at('image'), at('base')),
          owner: '1000:1000',
        },
      }),
      as: { uid: 1000 },
      sees: ['lost+found 1000:1000', 'of-root 1000:1000', 'of-service 33:33'],
      writes: [`${BASE + 1000}:${BASE + 1000}`, atTarget],
    },
    {
      title: 'tmpfs, inline, with fsGroup',
      volume: () => ({ context: { type: 'tmpfs' }, inline: true }),
      spec: { fsGroup: 2000 },
      as: { uid: 1000 },
      sees: [],
      writes: [`${BASE + 1000}:${BASE + 2000}`, atTarget],
    },
  ];

  for (const { title, volume, spec, as, sees, writes } of ROWS) {
    it(`${title}: sees the owners, ${writes ? 'and writes' : 'and cannot write'}`, async function () {
      if (title.startsWith('tmpfs')) needMappedTmpfs(this);
      await using stack = new AsyncDisposableStack();
      const at = dataSet();
      // Of a group that may write: the swap shows another, and leaves the mode.
      chmodSync(at('base'), spec?.fsGroup === undefined ? 0o755 : 0o2775);
      const pod = await running(stack, volume(at, this), { ...OWN, ...spec });
      const seen = await pod.run({ script: `${OWNERS} 2>/dev/null` });
      expect(told(seen).split('\n').filter(Boolean)).to.deep.equal(sees);
      const script = 'echo new >/v/new && cat /v/new 2>&1';
      const said = told(await pod.run({ script, ...as }));
      if (writes === undefined)
        expect(said).to.match(/exits with 1: .*(Read-only file system|Permission denied)/);
      else {
        const [owner, directory] = writes;
        expect(said).to.equal('new');
        expect(ownerOf(join(directory(at, pod), 'new'))).to.equal(owner);
      }
    });
  }

  it('has a placeholder until then, on which no container starts', async () => {
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(await node.pod(runtime, OWN, overlay(dataSet(), { idmap: 'pod' })));
    expect(theMountAt(pod.target)).to.include({ type: 'overlay' });
    expect(readdirSync(pod.target)).to.deep.equal([]);
    expect(() => writeFileSync(join(pod.target, 'early'), '')).to.throw(/EROFS/);
    await node.node.kill();
    await host.runPodSandbox({ id: 'x', name: 'x', uid: 'x', namespace: 'default' });
    await host.untilPlugins(0);
    pod.record();
    expect(told(await pod.run({ script: 'ls /v' }))).to.match(/^does not start: .*MOUNT_ATTR_IDMAP/);
    await node.node.start();
    await host.untilPlugins(1);
    await pod.completed();
    expect(told(await pod.run({ script: OWNERS }))).to.equal(BOTH.join('\n'));
  });

  it('has its placeholder put back where it was lost, below the volume', async () => {
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(await node.pod(runtime, OWN, overlay(dataSet(), { idmap: 'pod' })));
    unmountCommand(pod.target);
    expect(mountsAt(pod.target)).to.deep.equal([]);
    expect(await pod.sandbox()).to.equal(undefined);
    expect(mountsAt(pod.target).map(({ type }) => type)).to.deep.equal(['overlay', 'overlay']);
    expect(told(await pod.run({ script: OWNERS }))).to.equal(BOTH.join('\n'));
    unmountCommand(pod.target);
    expect(theMountAt(pod.target)).to.include({ type: 'overlay' });
    expect(readdirSync(pod.target)).to.deep.equal([]);
  });

  it('has it for init, sidecar and ephemeral containers and after restarts, beside other mounts', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet();
    const pod = await running(stack, overlay(at, { idmap: 'pod', writable: 'ephemeral' }));
    const others = [{ source: at('base'), destination: '/other' }];
    for (const name of ['init', 'main', 'again', 'debug']) {
      const script = `echo ${name} >>/v/log; cat /v/log; stat -c '%n %u' /other/of-root`;
      const said = told(await pod.run({ script, more: others }));
      expect(said.split('\n').slice(-2)).to.deep.equal([name, '/other/of-root 0']);
    }
    const said = told(await pod.run({ script: 'cat /v/log' }));
    expect(said.split('\n')).to.deep.equal(['init', 'main', 'again', 'debug']);
  });

  it('mounts it read-only where it says so', async () => {
    await using stack = new AsyncDisposableStack();
    const volume = overlay(dataSet(), { idmap: 'pod', writable: 'ephemeral' });
    const pod = await running(stack, volume);
    const script = 'echo new >/v/new';
    expect(told(await pod.run({ script, mount: { readOnly: true } }))).to.match(/Read-only file system/);
    expect(told(await pod.run({ script }))).to.equal('');
  });

  /** As kubelet does before it has a container made, which is root of the host. */
  function subPathOf(pod: Pod, name: string): { source: string } & AsyncDisposable {
    const inside = join(pod.target, name);
    mkdirSync(inside, { recursive: true, mode: 0o755 });
    const [, , , , volume = ''] = pod.target.split('/pods/')[1]?.split('/') ?? [];
    const source = join(pod.target.split('/volumes/')[0] ?? '', 'volume-subpaths', 'data', 'main', '0');
    expect(volume).to.equal('mount');
    mkdirSync(source, { recursive: true });
    mountCommand('--bind', inside, source);
    return { source, [Symbol.asyncDispose]: async () => unmountCommand(source) };
  }

  const SUB_PATHS: readonly (readonly [string, (at: At) => VolumeOfPod, (at: At) => string])[] = [
    ['overlay, ephemeral', (at) => overlay(at, { idmap: 'pod', writable: 'ephemeral' }), () => ''],
    ['overlay, persistent', (at) => persistent(at, { idmap: 'pod' }), (at) => at('upper')],
    ['bind, with an owner', (at) => ({ context: { source: at('top'), owner: '1:1' } }), (at) => at('top')],
  ];
  for (const [title, volume, disk] of SUB_PATHS) {
    it(`subPath, there already: ${title}`, async () => {
      await using stack = new AsyncDisposableStack();
      const pod = await running(stack, volume(dataSet()));
      await using part = subPathOf(pod, 'sub');
      const script = 'cat /part/inner; ls -A /part; stat -c %u /part';
      const said = told(await pod.run({ script, more: [{ source: part.source, destination: '/part' }] }));
      expect(said).to.equal(`innerinner\n${title.startsWith('bind') ? 1 : 0}`);
    });

    it(`subPath, made by kubelet: ${title}`, async () => {
      await using stack = new AsyncDisposableStack();
      const at = dataSet();
      const pod = await running(stack, volume(at));
      await using part = subPathOf(pod, 'new/below');
      const script = 'echo new >/part/file; stat -c %u:%g /part /part/file /v/new';
      const said = told(await pod.run({ script, more: [{ source: part.source, destination: '/part' }] }));
      expect(said.split('\n')).to.deep.equal(['0:0', '0:0', '0:0']);
      const made = disk(at);
      const owner = title.startsWith('bind') ? '1:1' : '0:0';
      if (made !== '') expect(ownerOf(join(made, 'new/below'))).to.equal(owner);
    });
  }

  // Kubelet's own, of a ConfigMap's or Secret's versions, are called so too.
  for (const name of ['..data', '..2025_01/part']) {
    it(`subPath ${name} is no way out of the volume`, async () => {
      await using stack = new AsyncDisposableStack();
      const pod = await running(stack, overlay(dataSet(), { idmap: 'pod', writable: 'ephemeral' }));
      await using part = subPathOf(pod, name);
      const script = 'echo new >/part/file; stat -c %u:%g /part /part/file';
      const said = told(await pod.run({ script, more: [{ source: part.source, destination: '/part' }] }));
      expect(said).to.equal('0:0\n0:0');
    });
  }

  it('shows one staged volume to pods with different ids, each its own', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet();
    const context = { source: at('base'), owner: '7:7' };
    const volume = stack.use(volumeOn(node.node, { context }));
    const volumeCapability = capability('MULTI_NODE_MULTI_WRITER');
    expect(await volume.stage({ volumeCapability })).to.include({ code: 'OK' });
    const specs = { one: OWN, other: { ...OWN, mapping: OTHER_MAPPING }, host: { hostUsers: true } };
    const pods = new Map<string, Pod>();
    for (const [name, spec] of Object.entries(specs)) {
      pods.set(name, await running(stack, { context, volume }, spec));
    }
    for (const [name, pod] of pods) {
      const script = `echo >/v/${name}; stat -c '%n %u:%g' /v/of-root /v/${name}`;
      expect(told(await pod.run({ script, uid: 7 })), name).to.equal(`/v/of-root 7:7\n/v/${name} 7:7`);
      expect(ownerOf(at('base', name))).to.equal('0:0');
    }
    const owners = [...pods.values()].map(({ target }) => statSync(join(target, 'of-root')).uid);
    expect(owners).to.deep.equal([BASE + 7, 655_360 + 7, 7]);
  });

  it('the next pod of a persistent layer, with other ids, owns what the first has written', async () => {
    const at = dataSet();
    for (const mapping of [POD_MAPPING, OTHER_MAPPING]) {
      await using stack = new AsyncDisposableStack();
      const pod = await running(stack, persistent(at, { idmap: 'pod' }), { ...OWN, mapping });
      const script = 'echo more >>/v/note; chown 9:9 /v/of-service; stat -c %u:%g /v/note /v/of-service';
      expect(told(await pod.run({ script }))).to.equal('0:0\n9:9');
    }
    expect(ownerOf(at('upper/of-service'))).to.equal('9:9');
  });

  it('a pod on the host has its volume at once, and its containers are left as they are', async () => {
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(await node.pod(runtime, { hostUsers: true }, overlay(dataSet(), { idmap: 'pod' })));
    expect(readdirSync(pod.target)).to.have.length(4);
    expect(await pod.sandbox()).to.equal(undefined);
    expect(told(await pod.run({ script: OWNERS }))).to.equal(BOTH.join('\n'));
  });

  it('a pod of which nothing is known has it when the runtime says what it is', async () => {
    for (const hostUsers of [true, false]) {
      await using stack = new AsyncDisposableStack();
      const spec = { hostUsers, known: false };
      const pod = stack.use(await node.pod(runtime, spec, bind(dataSet(), { owner: '5:5' })));
      expect(readdirSync(pod.target)).to.deep.equal([]);
      expect(await pod.sandbox()).to.equal(undefined);
      await pod.completed();
      expect(told(await pod.run({ script: 'stat -c %u /v/of-root' })), `hostUsers: ${hostUsers}`).to.equal(
        '5',
      );
    }
  });

  it('nestedDir is as it is everywhere, and there before the container', async function () {
    needMappedTmpfs(this);
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(
      await node.pod(runtime, OWN, overlay(dataSet(), { idmap: 'pod', nestedDir: 'model' })),
    );
    expect(theMountAt(pod.target)).to.include({ type: 'tmpfs' });
    expect(await pod.sandbox()).to.equal(undefined);
    expect(told(await pod.run({ script: 'cat /v/model/of-user' }))).to.equal('user');
  });

  it('a sandbox with other ids than kubelet has recorded is refused', async () => {
    await using stack = new AsyncDisposableStack();
    const pid = stack.use(processWith(OTHER_MAPPING));
    const pod = stack.use(
      await node.pod(runtime, { ...OWN, pid: pid.pid }, overlay(dataSet(), { idmap: 'pod' })),
    );
    await eventually('its maps are written', () => pid.isMapped());
    expect(await pod.sandbox()).to.match(
      /the sandbox has the mapping uid 0:655360:65536.*the pod should have/,
    );
    const same = stack.use(processWith(POD_MAPPING));
    await eventually('its maps are written', () => same.isMapped());
    await running(stack, overlay(dataSet(), { idmap: 'pod' }), { ...OWN, pid: same.pid });
  });

  it('a volume that cannot be mounted fails the sandbox, with the reason', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet();
    const volume = overlay(at, { idmap: 'pod', lowerdir: at('not-there') });
    const pod = stack.use(await node.pod(runtime, OWN, volume));
    expect(await pod.sandbox()).to.match(/csi-driver-idmap: volume .* is not there: .*not-there/);
    mkdirSync(at('not-there'));
    expect(await pod.sandbox()).to.equal(undefined);
  });

  it('a persistent overlay that is staged with ids of its own is refused, with the remedy', async () => {
    await using stack = new AsyncDisposableStack();
    const refusal = await node
      .pod(runtime, OWN, persistent(dataSet(), { owner: '5:5' }))
      .then((pod) => stack.use(pod))
      .catch(({ message }) => message);
    expect(refusal).to.match(
      /owner: pod default\/.* with upperdir is mounted once for all pods.*use idmap: pod/,
    );
  });

  it('a driver that is killed between publish and sandbox goes on, and one between sandbox and container', async () => {
    await using stack = new AsyncDisposableStack();
    const volume = overlay(dataSet(), { idmap: 'pod', writable: 'ephemeral' });
    const restart = async () => {
      await node.node.kill();
      await node.node.start();
      await host.untilPlugins(1);
    };
    const pod = stack.use(await node.pod(runtime, OWN, volume));
    await restart();
    expect(await pod.sandbox()).to.equal(undefined);
    expect(told(await pod.run({ script: 'echo 1 >/v/log' }))).to.equal('');
    await restart();
    expect(told(await pod.run({ script: 'echo 2 >>/v/log; cat /v/log' }))).to.equal('1\n2');
    const volumeContext = { ...pod.volume.context, ...pod.kubelet.info };
    const again = await pod.volume.publish({ targetPath: pod.target, volumeContext });
    expect(again).to.include({ code: 'OK' });
    expect(told(await pod.run({ script: 'cat /v/log' }))).to.equal('1\n2');
  });

  it('a container that is made while the driver is away does not start, and starts when it is back', async () => {
    await using stack = new AsyncDisposableStack();
    const pod = await running(stack, bind(dataSet(), { owner: '5:5' }));
    await node.node.kill();
    await host.runPodSandbox({ id: 'x', name: 'x', uid: 'x', namespace: 'default' });
    await host.untilPlugins(0);
    expect(told(await pod.run({ script: 'ls /v' }))).to.match(/^does not start: .*MOUNT_ATTR_IDMAP/);
    await node.node.start();
    await host.untilPlugins(1);
    expect(told(await pod.run({ script: 'stat -c %u /v/of-root' }))).to.equal('5');
  });

  it('goes on with a runtime that was restarted', async () => {
    await using stack = new AsyncDisposableStack();
    const pod = await running(stack, overlay(dataSet(), { idmap: 'pod' }));
    await host[Symbol.asyncDispose]();
    const other = stack.use(await node.pod(runtime, OWN, overlay(dataSet(), { idmap: 'pod' })));
    expect(theMountAt(other.target), 'it is on its way back').to.include({ type: 'overlay' });
    host = await startNriHost(program, socket);
    await host.untilPlugins(1);
    expect(await other.sandbox()).to.equal(undefined);
    for (const one of [pod, other]) expect(told(await one.run({ script: OWNERS }))).to.equal(BOTH.join('\n'));
  });

  for (const state of ['waiting', 'completed', 'used'] as const) {
    it(`unpublish leaves nothing: ${state}`, async () => {
      await using stack = new AsyncDisposableStack();
      const volume = overlay(dataSet(), { idmap: 'pod', writable: 'ephemeral' });
      const pod = stack.use(await node.pod(runtime, OWN, volume));
      if (state !== 'waiting') expect(await pod.sandbox()).to.equal(undefined);
      if (state === 'used') expect(told(await pod.run({ script: 'echo >/v/x' }))).to.equal('');
      expect(await pod.volume.unpublish({ targetPath: pod.target })).to.include({ code: 'OK' });
      expect(mountsAt(pod.target)).to.deep.equal([]);
      expect(existsSync(pod.target)).to.equal(false);
      expect(existsSync(dirname(pod.target))).to.equal(true);
    });
  }
});

describe('a node that is to use NRI', () => {
  it('without it refuses what needs it, and takes it again when it is there', async function () {
    this.timeout('10m');
    const program = await nriHost(this);
    const runtime = await runc(this);
    using place = temporaryDirectory();
    const socket = place.at('nri.sock');
    await using stack = new AsyncDisposableStack();
    stack.use(runtime);
    const flags = ['--nri-socket', socket, '--user-namespaces', 'nri'];
    let host: NriHost | undefined;
    const nri = () => {
      if (host === undefined) throw new Error('there is no runtime yet');
      return host;
    };
    const node = stack.use(await startPodNode({ flags, nri }));
    writeFiles(node.node.at('data'), { file: '' });
    const volume = { context: { source: node.node.at('data'), owner: '5:5' } };
    const refusal = await node.pod(runtime, OWN, volume).catch(({ message }) => message);
    expect(refusal).to.match(/has a user namespace of its own.*and NRI is not there: .*ENOENT/);
    host = stack.use(await startNriHost(program, socket));
    await host.untilPlugins(1);
    const pod = stack.use(await node.pod(runtime, OWN, volume));
    expect(await pod.sandbox()).to.equal(undefined);
    expect(told(await pod.run({ script: 'stat -c %u /v/file' }))).to.equal('5');
  });
});

/** A process in a user namespace of this mapping, as a sandbox has one. */
function processWith(mapping: string) {
  const [inside = '0', outside = '0', size = '0'] = mapping.split(':');
  const child = spawn('unshare', ['--user', 'sleep', '60'], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.on('close', resolve));
  let mapped = false;
  const pid = child.pid ?? 0;
  const map = async () => {
    for (let tries = 0; tries < 500 && !mapped; tries++) {
      await delay(10);
      try {
        for (const name of ['uid_map', 'gid_map']) {
          writeFileSync(`/proc/${pid}/${name}`, `${inside} ${outside} ${size}\n`);
        }
        mapped = true;
      } catch {
        // It has not made its namespace yet: the maps are those of the test, and written.
      }
    }
  };
  const written = map();
  return {
    pid,
    isMapped: () => mapped,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await Promise.all([ended, written]);
    },
  };
}

/** In a word or a line what tests expect: the output, and else what went wrong. */
function told(outcome: ContainerOutcome): string {
  if (!outcome.started) return `does not start: ${outcome.problem}`;
  const { status, stdout, stderr } = outcome;
  return status === 0 ? stdout.trim() : `exits with ${status}: ${stderr.trim()}`;
}
