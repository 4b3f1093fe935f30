// What a volume promises, kept inside of containers: read-only, no setuid programs where that can hold, and never an
// empty directory in the place of a volume that is not there yet.
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { can, LIBRARIES } from '../kernel/runc/containers.ts';
import type { ContainerOutcome, Runtime } from '../support/container.ts';
import { eventually, writeFiles } from '../support/fixtures.ts';
import { makeImage } from '../support/images.ts';
import { needMappedTmpfs, needTool } from '../support/need.ts';
import { runc } from '../support/runc.ts';
import { type PodNode, type PodSpec, startPodNode, type VolumeOfPod } from './containers.ts';

type At = (...names: string[]) => string;

interface Row {
  readonly title: string;
  readonly volume: (at: At, context: Mocha.Context) => VolumeOfPod;
  /** Where what it holds is, below the mountPath. */
  readonly directory?: string;
  /** In a tmpfs that the runtime maps, with hostUsers: false. */
  readonly nested?: true;
  /** Overlays and FUSE without `idmap: pod` do not start with hostUsers: false. */
  readonly forHostOnly?: true;
}

const overlayed = (at: At) => ({ type: 'overlay', lowerdir: at('data') });

/** Each could be written, if the pod's volume did not say readOnly. */
const WRITABLE: readonly Row[] = [
  { title: 'bind', volume: (at) => ({ context: { source: at('data') } }) },
  { title: 'bind of a subtree of mounts', volume: (at) => ({ context: treeOf(at) }), directory: 'below' },
  {
    title: 'image',
    volume: (at, context) => ({
      context: { type: 'image', source: makeImage(context, 'ext4', at('image'), at('data')) },
    }),
  },
  {
    title: 'overlay, ephemeral',
    volume: (at) => ({ context: { ...overlayed(at), writable: 'ephemeral' } }),
    forHostOnly: true,
  },
  {
    title: 'overlay, ephemeral, idmap: pod',
    volume: (at) => ({ context: { ...overlayed(at), writable: 'ephemeral', idmap: 'pod' } }),
    directory: 'data',
    nested: true,
  },
  {
    title: 'overlay, persistent, idmap: pod',
    volume: (at) => ({
      context: { ...overlayed(at), upperdir: at('upper'), workdir: at('work'), idmap: 'pod' },
    }),
    directory: 'data',
    nested: true,
  },
  {
    title: 'FUSE',
    volume: (at, context) => {
      needTool(context, 'bindfs', 'a FUSE filesystem');
      return { context: { type: 'fuse.bindfs', source: at('data') } };
    },
    forHostOnly: true,
  },
  {
    title: 'FUSE, idmap: pod',
    volume: (at, context) => {
      needTool(context, 'bindfs', 'a FUSE filesystem');
      return { context: { type: 'fuse.bindfs', source: at('data'), idmap: 'pod' } };
    },
    directory: 'data',
    nested: true,
  },
];

const treeOf = (at: At) => ({
  mounts: JSON.stringify([{ source: at('data') }, { source: at('upper'), target: 'below' }]),
});

describe('promises of volumes, in containers', () => {
  let node: PodNode;
  let runtime: Runtime;

  before(async function () {
    this.timeout('10m'); // The first run of a checkout builds the runtime.
    runtime = await runc(this);
    node = await startPodNode();
  });
  after(async () => {
    await node?.[Symbol.asyncDispose]();
    runtime?.[Symbol.dispose]();
  });

  function dataSet(): At {
    mkdirSync(node.node.at('data'), { recursive: true });
    const directory = mkdtempSync(node.node.at('data', 'volume-'));
    chmodSync(directory, 0o755);
    writeFiles(directory, {
      'data/file': 'content',
      'data/below/': {},
      'upper/file': 'content',
      'work/': {},
    });
    return (...names) => join(directory, ...names);
  }

  for (const { title, volume, directory = '', nested = false, forHostOnly = false } of WRITABLE) {
    for (const hostUsers of forHostOnly ? [true] : [true, false]) {
      it(`readOnly holds: ${title}; hostUsers: ${hostUsers}`, async function () {
        if (nested && !hostUsers) needMappedTmpfs(this);
        const at = dataSet();
        const spec = { ...volume(at, this), readOnly: true };
        await using pod = await node.pod(runtime, { hostUsers }, spec);
        const write = can('echo new >/v/new');
        const below = `cat /v/${directory}/file; echo; ${can(`echo new >/v/${directory}/new`)}`;
        expect(told(await pod.run({ script: `${write}\n${below}` }))).to.match(
          /^.*Read-only file system\nimpossible\ncontent\n.*Read-only file system\nimpossible$/,
        );
      });
    }
  }

  for (const hostUsers of [true, false]) {
    it(`setuid programs: hostUsers: ${hostUsers}`, async () => {
      const at = dataSet();
      writeFiles(at('data'), { secret: { content: 'secret', mode: 0o600 } });
      copyFileSync('/bin/cat', at('data', 'cat'));
      chmodSync(at('data', 'cat'), 0o4755);
      await using pod = await node.pod(runtime, { hostUsers }, { context: { source: at('data') } });
      const script = can('/v/cat /v/secret >/dev/null');
      const said = told(await pod.run({ uid: 1000, script, more: LIBRARIES }));
      // The driver's nosuid is locked by a user namespace, and gone without.
      expect(said.split('\n').at(-1)).to.equal(hostUsers ? 'possible' : 'impossible');
    });
  }

  const nested = (at: At): VolumeOfPod => ({
    context: { ...overlayed(at), writable: 'ephemeral', idmap: 'pod' },
  });
  const early: PodSpec = { hostUsers: false, recorded: false };

  it('a container that comes before its nested volume cannot write in its place', async function () {
    needMappedTmpfs(this);
    await using pod = await node.pod(runtime, early, nested(dataSet()));
    const script = `ls -A /v /v/data; ${can('echo new >/v/new')}; ${can('echo new >/v/data/new')}`;
    expect(told(await pod.run({ script }))).to.match(
      /^\/v:\ndata\n\n\/v\/data:\n(.*Read-only file system\nimpossible\n?){2}$/,
    );
    pod.record();
    await pod.completed();
    expect(told(await pod.run({ script: 'echo new >/v/data/new; ls /v/data' }))).to.equal('below\nfile\nnew');
  });

  it('a running container sees its nested volume come, with mountPropagation: HostToContainer', async function () {
    needMappedTmpfs(this);
    const at = dataSet();
    await using pod = await node.pod(runtime, early, nested(at));
    writeFiles(at('signals'), { 'x/': {} });
    const running = pod.run({
      script: `touch /signals/up; until [ -e /signals/mounted ]; do sleep 0.02; done; ${can('[ -e /v/data/file ]')}`,
      mount: { mountPropagation: 'HostToContainer' },
      more: [{ source: at('signals'), destination: '/signals' }],
    });
    await eventually('the container is up', () => existsSync(at('signals', 'up')));
    pod.record();
    await pod.completed();
    writeFiles(at('signals'), { mounted: '' });
    expect(told(await running)).to.equal('possible');
  });

  it('a pod whose nested volume is unpublished before it comes is told of no failure', async () => {
    const at = dataSet();
    {
      await using pod = await node.pod(runtime, early, nested(at));
      rmSync(at('data'), { recursive: true });
      pod.record();
      const isTried = () => node.node.plugin.log.some(({ text }) => text.includes('it is tried again'));
      await eventually('a try has failed', isTried);
    }
    // One that comes after whatever was to be told.
    const group: PodSpec = { hostUsers: false, fsGroup: 3000 };
    await using _pod = await node.pod(runtime, group, { context: { source: at('upper') } });
    await eventually('the Event of another pod', () => node.events.includes('FsGroupCannotWrite'));
    expect(node.events).to.not.include('NestedVolumeFailed');
  });
});

function told(outcome: ContainerOutcome): string {
  return outcome.started ? outcome.stdout.trim() : `does not start: ${outcome.problem}`;
}
