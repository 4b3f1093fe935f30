// Pods with hostUsers: false on a real node: kubelet, containerd and runc decide what they get. By NRI: at the mountPath
// itself, for every kind of volume; without, what docs/user-namespaces.md says.
import { chmodSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { ownerOf, writeFiles } from '../support/fixtures.ts';
import { makeImage } from '../support/images.ts';
import { needTool } from '../support/need.ts';
import {
  applied,
  eventsOf,
  kubectl,
  needCluster,
  type PodStatus,
  podOf,
  script,
  targetOf,
  until,
  untilPod,
} from './cluster.ts';
import { type At, dataOf, dataSet, removeDataSets } from './data.ts';
import { type Driver, startDriver } from './driver.ts';
import { type Attributes, type PodObject, pod as podObject, volume } from './objects.ts';
import { isRunning, outputOf, running } from './pods.ts';
import { CLUSTER_DIR } from './where.ts';

const pod = (spec: PodObject) => podObject({ hostUsers: false, ...spec });

interface Row {
  readonly name: string;
  readonly attributes: (at: At, context: Mocha.Context) => Attributes;
  readonly pod?: Partial<PodObject>;
  readonly sees: readonly string[];
  /** The owner on disk of what it writes, and where that is. */
  readonly writes?: readonly [owner: string, place: (at: At) => string];
}

const BOTH = ['of-root 0:0', 'of-service 33:33', 'of-user 1000:1001', 'sub 0:0'];
const overlay = (at: At, more: Attributes = {}): Attributes => ({
  type: 'overlay',
  lowerdir: `${at('top')}:${at('base')}`,
  ...more,
});
const persistent = (at: At, more: Attributes = {}): Attributes =>
  overlay(at, { upperdir: at('upper'), workdir: at('work'), ...more });

const ROWS: readonly Row[] = [
  {
    name: 'bind',
    attributes: (at) => ({ source: at('base') }),
    sees: BOTH.slice(0, 2),
    writes: ['0:0', (at) => at('base')],
  },
  { name: 'overlay-read-only', attributes: (at) => overlay(at, { idmap: 'pod' }), sees: BOTH },
  { name: 'overlay-without-idmap', attributes: (at) => overlay(at), sees: BOTH },
  {
    name: 'overlay-ephemeral',
    attributes: (at) => overlay(at, { idmap: 'pod', writable: 'ephemeral' }),
    sees: BOTH,
    writes: ['', () => ''],
  },
  {
    name: 'overlay-persistent',
    attributes: (at) => persistent(at, { idmap: 'pod' }),
    sees: BOTH,
    writes: ['0:0', (at) => at('upper')],
  },
  {
    name: 'fuse',
    attributes: (at, context) => {
      needTool(context, 'bindfs', 'a FUSE filesystem');
      return { type: 'fuse.bindfs', source: at('base'), idmap: 'pod' };
    },
    sees: BOTH.slice(0, 2),
    writes: ['0:0', (at) => at('base')],
  },
  {
    name: 'image',
    attributes: (at) => ({ type: 'image', source: at('image'), fsType: 'ext4', mkfs: 'true', size: '16Mi' }),
    sees: ['lost+found 0:0'],
    writes: ['', () => ''],
  },
  {
    name: 'image-squashfs',
    attributes: (at, context) => ({
      type: 'image',
      source: makeImage(context, 'squashfs', at('image'), at('base')),
    }),
    sees: BOTH.slice(0, 2),
  },
  {
    name: 'tmpfs',
    attributes: () => ({}),
    pod: { inline: { type: 'tmpfs', sizeLimit: '1Mi' } },
    sees: [],
    writes: ['', () => ''],
  },
  {
    name: 'bind-owner',
    attributes: (at) => ({ source: at('base'), owner: '1000:1000' }),
    pod: { runAsUser: 1000 },
    sees: ['of-root 1000:1000', 'of-service 33:33'],
    // Its group is 0, which has changed places with 1000.
    writes: ['0:1000', (at) => at('base')],
  },
  {
    name: 'bind-mapping',
    attributes: (at) => ({ source: at('base'), uidmap: '0:5:1,33:0:1', gidmap: '0:5:1,33:0:1' }),
    sees: ['of-root 5:5', 'of-service 0:0'],
    writes: ['33:33', (at) => at('base')],
  },
  {
    name: 'bind-fsgroup',
    attributes: (at) => {
      chmodSync(at('base'), 0o2775);
      return { source: at('base') };
    },
    pod: { fsGroup: 2000, runAsUser: 1000 },
    sees: ['of-root 0:2000', 'of-service 33:33'],
    writes: ['1000:0', (at) => at('base')],
  },
  {
    name: 'overlay-fsgroup',
    attributes: (at) => overlay(at, { writable: 'ephemeral' }),
    pod: { fsGroup: 2000, runAsUser: 1000 },
    sees: BOTH,
    writes: ['', () => ''],
  },
  {
    name: 'image-owner',
    attributes: (at, context) => ({
      type: 'image',
      source: makeImage(context, 'ext4', at('image'), at('base')),
      owner: '1000:1000',
    }),
    pod: { runAsUser: 1000 },
    sees: ['lost+found 1000:1000', 'of-root 1000:1000', 'of-service 33:33'],
    writes: ['', () => ''],
  },
  {
    name: 'tmpfs-fsgroup',
    attributes: () => ({}),
    pod: { inline: { type: 'tmpfs' }, fsGroup: 2000, runAsUser: 1000 },
    sees: [],
    writes: ['', () => ''],
  },
];

const LOOK = "cd /v; stat -c '%n %u:%g' * 2>/dev/null | sort; echo ---; { echo new >new && cat new; } 2>&1";

describe('pods with user namespaces on a real node, by NRI', function () {
  this.timeout('5m');
  let driver: Driver;

  before(async function () {
    await needCluster(this);
    driver = await startDriver('--user-namespaces', 'nri');
  });
  after(async () => {
    await driver?.[Symbol.asyncDispose]();
    removeDataSets();
  });

  // Whatever a test has killed, before its objects are deleted and for those that follow.
  afterEach(() => driver?.start());

  it('every kind of volume: owners, what can be written, and what is on disk', async function () {
    await using stack = new AsyncDisposableStack();
    const made = ROWS.map((row) => ({ ...row, at: dataSet(row.name) }));
    const objects = made.flatMap(({ name, at, attributes, pod: spec }) => {
      const given = attributes(at, this);
      const containers = [{ name: 'main', script: LOOK }];
      return [...(spec?.inline ? [] : volume(name, given)), pod({ name, containers, ...spec })];
    });
    // All at once: volumes of one pod do not wait for those of another.
    await running(stack, ...objects);
    for (const { name, sees, writes, at } of made) {
      const said = await outputOf(name);
      const cut = said.indexOf('---');
      expect(said.slice(0, cut), name).to.deep.equal(sees);
      const written = said.slice(cut + 1).join('\n');
      if (writes === undefined) expect(written, name).to.match(/Read-only file system/);
      else expect(written, name).to.equal('new');
      const [owner = '', place = () => ''] = writes ?? [];
      if (owner !== '') expect(ownerOf(join(place(at), 'new')), name).to.equal(owner);
    }
  });

  it('subPaths that are there and that kubelet makes, init containers, and restarts', async () => {
    await using stack = new AsyncDisposableStack();
    const kinds: Readonly<Record<string, (at: At) => Attributes>> = {
      'parts-ephemeral': (at) => overlay(at, { idmap: 'pod', writable: 'ephemeral' }),
      'parts-persistent': (at) => persistent(at, { idmap: 'pod' }),
      'parts-bind': (at) => ({ source: at('top'), owner: '0:0' }),
    };
    const mounts = [
      { mountPath: '/v' },
      { mountPath: '/old', subPath: 'sub' },
      { mountPath: '/new', subPath: 'fresh/below' },
      { mountPath: '/read', subPath: 'sub', readOnly: true },
    ];
    const main = `echo again >>/v/log; [ $(grep -c again /v/log) = 2 ] || exit 1
      cat /v/log /old/inner; echo; echo new >/new/file; stat -c '%n %u:%g' /new /new/file /v/fresh; touch /read/x`;
    const objects = Object.entries(kinds).flatMap(([name, attributes]) => [
      ...volume(name, attributes(dataSet(name))),
      pod({
        ...{ name, restartPolicy: 'OnFailure' },
        init: [{ name: 'init', script: 'echo init >/v/log; cat /old/inner', mounts }],
        containers: [{ name: 'main', script: `${main} 2>/dev/null || true`, mounts }],
      }),
    ]);
    await running(stack, ...objects);
    for (const name of Object.keys(kinds)) {
      expect(await outputOf(name), name).to.deep.equal([
        ...['init', 'again', 'again', 'inner'],
        ...['/new 0:0', '/new/file 0:0', '/v/fresh 0:0'],
      ]);
      const { status } = await podOf(name);
      expect(status.containerStatuses?.[0]?.restartCount, name).to.equal(1);
    }
    expect(ownerOf(dataOf('parts-persistent', 'upper/fresh/below/file'))).to.equal('0:0');
    expect(ownerOf(dataOf('parts-bind', 'top/fresh/below'))).to.equal('0:0');
  });

  it('two pods with different ids on one source: each sees its own owners, and the disk keeps its own', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet('shared');
    const hold = (name: string) => ({
      name: 'main',
      script: `echo ${name} >/v/${name}; stat -c '%n %u:%g' /v/of-root /v/${name}; cut -c11-22 /proc/self/uid_map; sleep 600`,
    });
    const names = ['shared-a', 'shared-b', 'shared-host'];
    await running(
      stack,
      ...volume('shared', { source: at('base'), owner: '7:7' }),
      ...names.map((name) =>
        pod({
          name,
          claim: 'shared',
          hostUsers: name === 'shared-host',
          runAsUser: 7,
          containers: [hold(name)],
        }),
      ),
    );
    const bases = new Set<string>();
    for (const name of names) {
      await untilPod(name, 'it runs', isRunning);
      await until('it has written', () => existsSync(at('base', name)));
      const [root, own, base = ''] = (await kubectl('logs', name)).trim().split('\n');
      expect([root, own], name).to.deep.equal(['/v/of-root 7:7', `/v/${name} 7:0`]);
      // Its group is 0, which has changed places with 7.
      expect(ownerOf(at('base', name))).to.equal('0:7');
      bases.add(base.trim());
    }
    expect(bases.size, 'they have ids of their own').to.equal(3);
  });

  it('two pods with different ids on one data set at once: an overlay for each, one FUSE filesystem for each', async function () {
    needTool(this, 'bindfs', 'a FUSE filesystem');
    await using stack = new AsyncDisposableStack();
    const kinds: Readonly<Record<string, (at: At) => Attributes>> = {
      'both-overlay': (at) => overlay(at, { idmap: 'pod' }),
      'both-ephemeral': (at) => overlay(at, { idmap: 'pod', writable: 'ephemeral' }),
      'both-fuse': (at) => ({ type: 'fuse.bindfs', source: at('base'), idmap: 'pod' }),
    };
    const script = (name: string) =>
      `cd /v; echo own 2>/dev/null >${name}; stat -c '%n %u:%g' * | sort; cut -c11-22 /proc/self/uid_map; sleep 600`;
    const podsOf = (kind: string) => ['a', 'b'].map((which) => `${kind}-${which}`);
    await running(
      stack,
      ...Object.entries(kinds).flatMap(([kind, attributes]) => [
        ...volume(kind, attributes(dataSet(kind))),
        ...podsOf(kind).map((name) =>
          pod({ name, claim: kind, containers: [{ name: 'main', script: script(name) }] }),
        ),
      ]),
    );
    for (const kind of Object.keys(kinds)) {
      const bases = new Set<string>();
      for (const name of podsOf(kind)) {
        await untilPod(name, 'it runs', isRunning);
        const said = async () => (await kubectl('logs', name)).trim().split('\n');
        await until('it has looked', async () => /^\s*\d+$/.test((await said()).at(-1) ?? ''));
        const lines = await said();
        bases.add(lines.at(-1)?.trim() ?? '');
        const own = kind === 'both-overlay' ? [] : [`${name} 0:0`];
        const others = podsOf(kind).map((one) => `${one} 0:0`);
        const files = kind === 'both-fuse' ? BOTH.slice(0, 2) : BOTH;
        const seen = lines.slice(0, -1);
        expect(seen, name).to.include.members([...own, ...files]);
        // Only what is on disk is seen by both.
        const foreign = seen.filter((line) => others.includes(line) && !own.includes(line));
        if (kind !== 'both-fuse') expect(foreign, name).to.deep.equal([]);
      }
      expect(bases.size, `${kind}: they have ids of their own`).to.equal(2);
    }
    for (const name of podsOf('both-fuse'))
      expect(ownerOf(dataOf('both-fuse', 'base', name))).to.equal('0:0');
  });

  it('the next pod of a persistent layer, with other ids, sees what the first has written as its own', async () => {
    const at = dataSet('lasting');
    const script =
      "echo more >>/v/note; chown 9:9 /v/of-service; stat -c '%u:%g' /v/note /v/of-service; cat /v/note";
    for (const lines of [1, 2]) {
      await using stack = new AsyncDisposableStack();
      const objects = volume('lasting', persistent(at, { idmap: 'pod' }));
      await running(stack, ...objects, pod({ name: 'lasting', containers: [{ name: 'main', script }] }));
      expect(await outputOf('lasting')).to.deep.equal(['0:0', '9:9', ...Array(lines).fill('more')]);
    }
    expect([ownerOf(at('upper/note')), ownerOf(at('upper/of-service'))]).to.deep.equal(['0:0', '9:9']);
  });

  it('a volume that cannot be mounted is said in the Events of the pod, and comes when it can', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet('missing');
    const attributes = overlay(at, { idmap: 'pod', lowerdir: at('not-there') });
    const containers = [{ name: 'main', script: 'cat /v/late' }];
    await running(stack, ...volume('missing', attributes), pod({ name: 'missing', containers }));
    const isTold = (event: string) => /^FailedCreatePodSandBox: .*csi-driver-idmap: .*not-there/.test(event);
    await until('the pod is told', async () => (await eventsOf('missing')).some(isTold));
    writeFiles(at('not-there'), { late: 'late' });
    expect(await outputOf('missing')).to.deep.equal(['late']);
  });

  /** Until it is told to stop, for a container of the same pod to go on. */
  const COUNTING =
    'i=$(cat /v/count || echo 0); while ! rm /v/stop; do i=$((i+1)); echo $i >/v/.count; mv /v/.count /v/count; sleep 0.2; done 2>/dev/null';
  const held = (name: string, script = COUNTING): PodObject => ({
    ...{ name, restartPolicy: 'Always' },
    containers: [{ name: 'main', script }],
  });
  const countOf = (one: PodStatus, name: string) =>
    Number(readFileSync(join(targetOf(one, name), 'count'), 'utf8'));

  it('killed between publish and sandbox: no container starts on the placeholder, and all do when it is back', async () => {
    await using stack = new AsyncDisposableStack();
    const name = 'killed-early';
    const at = dataSet(name);
    await running(stack, ...volume(name, overlay(at, { idmap: 'pod', writable: 'ephemeral' })));
    // Kubelet tries again only when it hears from the runtime, which is about to say nothing.
    await kubectl('wait', '--for=jsonpath={.status.phase}=Bound', '--timeout=60s', `pvc/${name}`);
    // So that the sandbox waits.
    const runtime = Number(readFileSync(join(CLUSTER_DIR, 'run/containerd.pid'), 'utf8'));
    process.kill(runtime, 'SIGSTOP');
    try {
      await running(stack, pod(held(name)));
      const target = targetOf(await podOf(name), name);
      const isPublished = (line: string) => line.includes('NodePublishVolume') && line.includes(target);
      await until('it is published', () =>
        driver.said.some((line) => isPublished(line) && line.includes('"OK"')),
      );
      await driver.kill();
    } finally {
      process.kill(runtime, 'SIGCONT');
    }
    const isRefused = (event: string) => /MOUNT_ATTR_IDMAP.*invalid argument/.test(event);
    await until('its container does not start', async () => (await eventsOf(name)).some(isRefused));
    await driver.start();
    const started = await untilPod(name, 'it runs', isRunning);
    await until('it counts', () => countOf(started, name) > 2);
  });

  it('killed between sandbox and container: the next try of kubelet finds it back', async () => {
    await using stack = new AsyncDisposableStack();
    const name = 'killed-between';
    const at = dataSet(name);
    const init = [{ name: 'init', script: 'until [ -e /v/go ]; do sleep 0.1; done' }];
    await running(stack, ...volume(name, { source: at('base'), owner: '5:5' }), pod({ ...held(name), init }));
    await untilPod(
      name,
      'init runs',
      ({ status }) => status.initContainerStatuses?.[0]?.state.running !== undefined,
    );
    await driver.kill();
    writeFiles(at('base'), { go: '' });
    const isRefused = (event: string) => /MOUNT_ATTR_IDMAP/.test(event);
    await until('its container does not start', async () => (await eventsOf(name)).some(isRefused));
    await driver.start();
    await untilPod(name, 'it runs', isRunning);
  });

  it('killed while pods run: they go on, and so does what comes after', async () => {
    await using stack = new AsyncDisposableStack();
    const name = 'killed-late';
    const at = dataSet(name);
    await running(stack, ...volume(name, persistent(at, { idmap: 'pod' })), pod(held(name)));
    const one = await untilPod(name, 'it runs', isRunning);
    await driver.kill();
    const before = countOf(one, name);
    await until('it goes on', () => countOf(one, name) > before + 2);
    await driver.start();
    // Its container ends, and is made anew.
    writeFiles(targetOf(one, name), { stop: '' });
    const isAnew = (status: PodStatus) => status.status.containerStatuses?.[0]?.restartCount === 1;
    const again = await untilPod(name, 'it runs again', (status) => isAnew(status) && isRunning(status));
    const after = countOf(again, name);
    await until('it goes on still', () => countOf(again, name) > after);
  });

  it('containerd restarted: pods go on, and new ones are served', async () => {
    await using stack = new AsyncDisposableStack();
    const name = 'restarted';
    const at = dataSet(name);
    const objects = volume(name, overlay(at, { idmap: 'pod', writable: 'ephemeral' }));
    await running(stack, ...objects, pod(held(name)));
    const one = await untilPod(name, 'it runs', isRunning);
    await script('restart', 'containerd');
    const before = countOf(one, name);
    await until('it goes on', () => countOf(one, name) > before + 2);
    await running(stack, pod({ ...held('restarted-new'), claim: name }));
    await untilPod('restarted-new', 'it runs', isRunning);
  });
});

describe('pods with user namespaces on a real node, nested', function () {
  this.timeout('5m');
  let driver: Driver;

  before(async function () {
    await needCluster(this);
    driver = await startDriver('--user-namespaces', 'nested');
  });
  after(async () => {
    await driver?.[Symbol.asyncDispose]();
    removeDataSets();
  });

  it('an overlay is in a directory below the mountPath', async () => {
    const at = dataSet('nested');
    const script = "cd /v/data; stat -c '%n %u:%g' * | sort; echo new >new && cat new; echo x >/v/x";
    const mounts = [{ mountPath: '/v', mountPropagation: 'HostToContainer' }];
    await using _objects = await applied(
      ...volume('nested', persistent(at, { idmap: 'pod' })),
      pod({ name: 'nested', containers: [{ name: 'main', script: `${script} 2>&1`, mounts }] }),
    );
    const said = await outputOf('nested');
    expect(said.slice(0, 5)).to.deep.equal([...BOTH, 'new']);
    expect(said[5]).to.match(/Read-only file system/);
    expect(ownerOf(at('upper/new'))).to.equal('0:0');
  });
});
