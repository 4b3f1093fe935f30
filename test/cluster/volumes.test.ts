// Volumes on a real node, of the driver that the chart has installed: what containers see of them, however they ask.
import { readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { mountCommand, ownerOf, unmountCommand, writeFiles } from '../support/fixtures.ts';
import { sparseFile } from '../support/images.ts';
import { NAMESPACE, needChart, podOfRelease } from './chart.ts';
import { eventsOf, kubectl, podOf, targetOf, until } from './cluster.ts';
import { type At, dataSet, removeDataSets, removeEmpty } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { KINDS } from './kinds.ts';
import { type Attributes, pod, type VolumeMount, volume } from './objects.ts';
import { inPod, outputOf, running, untilRunning } from './pods.ts';

const overlay = (at: At, more: Attributes = {}): Attributes => ({
  type: 'overlay',
  lowerdir: `${at('top')}:${at('base')}`,
  ...more,
});

const SLEEP = 'sleep 600';
const main = (script: string, mounts?: readonly VolumeMount[]) => [
  { name: 'main', script, ...(mounts && { mounts }) },
];

/** How kubelet's questions after the figures of a pod's volume were answered, by the paths that it asked for. */
async function statsCallsFor(podUid: string): Promise<{ path: string; code: string }[]> {
  const { metadata } = await podOfRelease('driver');
  const log = await kubectl('-n', NAMESPACE, 'logs', metadata.name, '-c', 'driver');
  const lines = log
    .split('\n')
    .filter((line) => line.includes('NodeGetVolumeStats') && line.includes(podUid));
  return lines.map((line) => JSON.parse(line)).map(({ volumePath, code }) => ({ path: volumePath, code }));
}

describe('volumes on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this);
  });
  after(async () => {
    await untilNothingIsHeld();
    removeDataSets();
  });

  it('mountPropagation: HostToContainer, of every kind: what is mounted in it on the node later is seen', async () => {
    await using stack = new AsyncDisposableStack();
    const mounts = [{ mountPath: '/v', mountPropagation: 'HostToContainer' }];
    const nameOf = (kind: string) => `later-${kind}`;
    await running(
      stack,
      ...Object.entries(KINDS).flatMap(([kind, attributes]) => [
        ...volume(nameOf(kind), attributes(dataSet(nameOf(kind)))),
        pod({ name: nameOf(kind), containers: main(`mkdir /v/late && ${SLEEP}`, mounts) }),
      ]),
    );
    for (const kind of Object.keys(KINDS)) {
      const name = nameOf(kind);
      const place = join(targetOf(await untilRunning(name), name), 'late');
      await until('there is the directory', async () => (await inPod(name, 'ls', '/v')).includes('late'));
      mountCommand('-t', 'tmpfs', 'late', place);
      try {
        writeFiles(place, { file: 'later' });
        expect(await inPod(name, 'cat', '/v/late/file'), kind).to.equal('later');
      } finally {
        unmountCommand(place);
      }
      expect(await inPod(name, 'ls', '/v/late'), kind).to.equal('');
    }
  });

  it('subPaths that are there and that kubelet makes, init containers, and restarts', async () => {
    await using stack = new AsyncDisposableStack();
    const mounts = [
      { mountPath: '/v' },
      { mountPath: '/old', subPath: 'sub' },
      { mountPath: '/new', subPath: 'fresh/below' },
      { mountPath: '/read', subPath: 'sub', readOnly: true },
    ];
    const nameOf = (kind: string) => `parts-${kind}`;
    const init = 'echo init >>/v/log; [ -e /old/inner ] || echo inner >/old/inner';
    const twice = `echo again >>/v/log; [ $(grep -c again /v/log) = 2 ] || exit 1
      cat /v/log; cat /old/inner | tr -d '\\n'; echo; echo new >/new/file; cat /v/fresh/below/file
      { echo x >/read/x; } 2>&1`;
    await running(
      stack,
      ...Object.entries(KINDS).flatMap(([kind, attributes]) => [
        ...volume(nameOf(kind), attributes(dataSet(nameOf(kind)))),
        pod({
          ...{ name: nameOf(kind), restartPolicy: 'OnFailure' },
          init: [{ name: 'init', script: init, mounts }],
          containers: [{ name: 'main', script: `${twice} || true`, mounts }],
        }),
      ]),
    );
    for (const kind of Object.keys(KINDS)) {
      const [said, refused] = [
        (await outputOf(nameOf(kind))).slice(0, -1),
        (await outputOf(nameOf(kind))).at(-1),
      ];
      expect(said, kind).to.deep.equal(['init', 'again', 'again', 'inner', 'new']);
      expect(refused, kind).to.match(/Read-only file system/);
      const { status } = await podOf(nameOf(kind));
      expect(status.containerStatuses?.[0]?.restartCount, kind).to.equal(1);
    }
  });

  it('several pods on one volume see what the others write; inline ones have each their own', async () => {
    await using stack = new AsyncDisposableStack();
    const shared = ['bind', 'overlay-persistent', 'tmpfs', 'image', 'fuse'];
    const own = ['overlay-ephemeral', 'inline'];
    const [first, second] = ['a', 'b'] as const;
    const nameOf = (kind: string, which: string) => `several-${kind}-${which}`;
    const inline = { type: 'tmpfs', options: 'mode=1777' };
    await running(
      stack,
      ...[...shared, ...own].flatMap((kind) => {
        const claim = `several-${kind}`;
        const attributes = KINDS[kind]?.(dataSet(claim));
        const source = attributes ? { claim } : { inline };
        const pods = [first, second].map((which) =>
          pod({
            name: nameOf(kind, which),
            ...source,
            containers: main(`echo ${which} >/v/${which}; ${SLEEP}`),
          }),
        );
        return [...(attributes ? volume(claim, attributes) : []), ...pods];
      }),
    );
    for (const kind of [...shared, ...own]) {
      for (const which of [first, second]) {
        await untilRunning(nameOf(kind, which));
        await until('it has written', async () =>
          (await inPod(nameOf(kind, which), 'ls', '/v')).includes(which),
        );
      }
      const seen = await inPod(nameOf(kind, second), 'sh', '-c', 'cat /v/a /v/b 2>/dev/null || true');
      expect(seen, kind).to.equal(shared.includes(kind) ? 'a\nb\n' : 'b\n');
    }
  });

  it('ReadWriteOnce: two pods of the node; ReadWriteOncePod: the second waits, and is told why', async () => {
    await using stack = new AsyncDisposableStack();
    const names = { once: 'ReadWriteOnce', alone: 'ReadWriteOncePod' } as const;
    await running(
      stack,
      ...Object.entries(names).flatMap(([name, accessMode]) => [
        ...volume(name, { source: dataSet(name)('base') }, { accessMode }),
        pod({ name: `${name}-a`, claim: name, isScheduled: true, containers: main(SLEEP) }),
      ]),
    );
    for (const name of Object.keys(names)) await untilRunning(`${name}-a`);
    await using others = new AsyncDisposableStack();
    const second = (name: string) =>
      pod({ name: `${name}-b`, claim: name, isScheduled: true, containers: main(SLEEP) });
    await running(others, ...Object.keys(names).map(second));
    await untilRunning('once-b');
    const isTold = (event: string) => /ReadWriteOncePod access mode already in-use/.test(event);
    await until('it is told', async () => (await eventsOf('alone-b')).some(isTold));
    expect((await podOf('alone-b')).status.phase).to.equal('Pending');
  });

  it('ReadOnlyMany and readOnly: nobody writes, and a bind in that mode is refused with what to do', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet('readers');
    const write = main('{ echo x >/v/x && cat /v/x; } 2>&1; cat /v/of-root');
    await running(
      stack,
      ...volume('readers-overlay', overlay(at), { accessMode: 'ReadOnlyMany' }),
      pod({ name: 'readers-overlay', containers: write }),
      ...volume('readers-bind', { source: at('base') }, { accessMode: 'ReadOnlyMany' }),
      pod({ name: 'readers-bind', containers: write }),
      ...volume('readers-claim', { source: at('base') }),
      pod({ name: 'readers-claim', readOnly: true, containers: write }),
      pod({ name: 'readers-writer', claim: 'readers-claim', containers: write }),
    );
    for (const name of ['readers-overlay', 'readers-claim']) {
      const [refused, content] = await outputOf(name);
      expect(refused, name).to.match(/Read-only file system/);
      expect(content, name).to.equal('root');
    }
    expect(await outputOf('readers-writer')).to.deep.equal(['x', 'root']);
    const isTold = (event: string) =>
      /^FailedMount: .*access_mode: of readers only would not hold .*set readOnly: true on the pod's claim/.test(
        event,
      );
    await until('it is told', async () => (await eventsOf('readers-bind')).some(isTold));
  });

  it('volumeMode: Block: two pods have the image as one device', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet('block');
    sparseFile(at('image'), 8 << 20);
    const put = 'printf "of a pod" | dd of=/dev/v bs=1 seek=4096 conv=notrunc 2>/dev/null';
    const read = 'blockdev --getsize64 /dev/v; dd if=/dev/v bs=1 skip=4096 count=8 2>/dev/null; echo';
    await running(
      stack,
      ...volume(
        'block',
        { type: 'image', source: at('image') },
        { block: true, accessMode: 'ReadWriteOnce' },
      ),
      pod({ name: 'block-a', claim: 'block', block: '/dev/v', containers: main(`${put}; sync; ${SLEEP}`) }),
    );
    await untilRunning('block-a');
    await until(
      'it is written',
      () => readFileSync(at('image')).subarray(4096, 4104).toString() === 'of a pod',
    );
    await running(stack, pod({ name: 'block-b', claim: 'block', block: '/dev/v', containers: main(read) }));
    expect(await outputOf('block-b')).to.deep.equal([String(8 << 20), 'of a pod']);
  });

  it('kubelet is told how full a volume is, and how large a block device', async () => {
    await using stack = new AsyncDisposableStack();
    const at = dataSet('figures');
    sparseFile(at('image'), 8 << 20);
    await running(
      stack,
      ...volume(
        'figures-block',
        { type: 'image', source: at('image') },
        { block: true, accessMode: 'ReadWriteOnce' },
      ),
      ...volume('figures', { type: 'image', source: at('made'), mkfs: 'true', size: '16Mi' }),
      pod({
        ...{ name: 'figures-block', claim: 'figures-block', block: '/dev/v', containers: main(SLEEP) },
      }),
      pod({ name: 'figures', containers: main(SLEEP) }),
    );
    // Kubelet asks each minute.
    const ofUids = ['figures', 'figures-block'].map(async (name) => (await podOf(name)).metadata.uid);
    const [uid = '', blockUid = ''] = await Promise.all(ofUids);
    const calls = async () => [await statsCallsFor(uid), await statsCallsFor(blockUid)] as const;
    await until('it does', async () => (await calls()).every((some) => some.length > 0), 150_000);
    const [ofMount, ofBlock] = await calls();
    expect([...new Set(ofMount.map(({ code }) => code))]).to.deep.equal(['OK']);
    // Not at the target, but where it has bound the device of that for itself.
    expect(ofBlock[0]?.path).to.match(/\/volumeDevices\/figures-block\/dev\/[^/]+$/);
    expect([...new Set(ofBlock.map(({ code }) => code))]).to.deep.equal(['OK']);
  });

  it('an inline copy of a data set of the namespace, as large as policy allows', async () => {
    await using stack = new AsyncDisposableStack();
    const root = '/var/lib/csi-driver-idmap/volumes/default/of-tests';
    stack.defer(() => {
      rmSync(root, { recursive: true, force: true });
      removeEmpty(dirname(root));
    });
    writeFiles(root, { 'data/sample': { content: 'of the namespace', uid: 33, gid: 33 } });
    const inline = overlay(() => '', { lowerdir: join(root, 'data'), writable: 'ephemeral' });
    // The policy's own limit: the volume names none.
    const fill = 'dd if=/dev/zero of=/v/full bs=1M count=80 2>&1 | grep -o "No space.*"; cat /v/sample';
    await running(stack, pod({ name: 'inline-copy', inline, containers: main(fill) }));
    expect(await outputOf('inline-copy')).to.deep.equal(['No space left on device', 'of the namespace']);
    expect(ownerOf(join(root, 'data/sample'))).to.equal('33:33');
  });
});
