// `demo`: the main job on real input, narrated. Starts the real plugin, does what kubelet does over gRPC, and
// looks at one data set from the disk and from two pods with different user namespaces.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localEngine } from '../mount/engine.ts';
import { kernelHere } from '../mount/kernel.ts';
import { readMountinfo } from '../mount/mountinfo.ts';
import { describeStep, plan } from '../mount/plan.ts';
import { authorize } from '../policy/authorize.ts';
import { DEFAULT_POLICY } from '../policy/default.ts';
import { type Client, connect } from '../rpc/client.ts';
import {
  IdentityService,
  VolumeCapability_AccessMode_Mode as Mode,
  NodeService,
  VolumeCapability,
} from '../rpc/generated/csi.ts';
import { readVolumeContext, type VolumeContext } from '../volume/context.ts';
import { planStage } from '../volume/stage.ts';
import { type Layer, makeLayers } from './demo/data.ts';
import { leftOver } from './demo/leftovers.ts';
import { runInPod } from './demo/pod.ts';
import { table } from './table.ts';

interface Pod {
  readonly name: string;
  /** The pod's user namespace, and so the mapping of its volume. */
  readonly mapping: string;
  readonly volumeId: string;
  readonly stagingPath: string;
  readonly targetPath: string;
  readonly context: VolumeContext;
}

const MAPPINGS = { A: '0:100000:65536', B: '0:200000:65536' };
const START_MS = 60_000;

export async function demoCommand(): Promise<void> {
  if (process.getuid?.() !== 0) {
    say(
      'The demo mounts filesystems, which needs root (sudo make demo); this is the plan of its first volume:',
    );
    const context = contextOf(['/layers/site', '/layers/model', '/layers/base'], '/pod-a', MAPPINGS.A);
    const kernel = kernelHere({ untried: 'available' });
    const volume = readVolumeContext(context);
    const terms = authorize(DEFAULT_POLICY, volume, { volumesOfNamespace: 0, forbidden: [] });
    const { mounts } = planStage(volume, { terms, group: undefined, readOnly: false });
    for (const step of mounts.flatMap((mount) => plan(mount, kernel))) say(`  ${describeStep(step)}`);
    return;
  }
  const root = mkdtempSync(path.join(tmpdir(), 'csi-driver-idmap-demo-'));
  await runDemo(root);
  const left = leftOver(root);
  say('\nLeft behind:', [...left].map(([kind, items]) => `${kind} ${items.length}`).join(', '));
  const more = [...left.values()].flat();
  if (more.length > 0) throw new Error(`the demo left something behind: ${more.join(', ')}`);
}

async function runDemo(root: string): Promise<void> {
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => removeTree(root));
  // The pods' root is an ordinary user of the node, and has to get through to its volume.
  chmodSync(root, 0o711);
  const kubeletDir = path.join(root, 'kubelet');
  mkdirSync(kubeletDir);
  // Kubelet makes its directory a shared mount.
  const engine = cleanUp.use(localEngine());
  const target = { path: kubeletDir };
  await engine.mountAll({
    mounts: [{ type: 'bind', source: kubeletDir, options: ['bind', 'shared'] }],
    target,
  });
  cleanUp.defer(async () => {
    await engine.unmount({ target });
  });

  const layers = makeLayers(root);
  const count = layers.reduce((sum, { files }) => sum + files.length, 0);
  say(
    `A data set of ${count} files in ${layers.length} layers: ${layers.map(({ name, owner }) => `${name} (uid ${owner})`).join(', ')}`,
  );

  const socket = path.join(root, 'csi.sock');
  cleanUp.use(await startPlugin(socket, root, kubeletDir));
  const identity = cleanUp.use(connect(IdentityService, socket));
  const node = cleanUp.use(connect(NodeService, socket));
  const info = await identity.getPluginInfo({});
  const { nodeId } = await node.nodeGetInfo({});
  say(`The plugin ${info.name} ${info.vendorVersion} serves node ${nodeId} on ${path.basename(socket)}`);

  const pods = Object.entries(MAPPINGS).map(([name, mapping]) =>
    makePod(name, mapping, layers, root, kubeletDir),
  );
  for (const pod of pods) {
    await publish(node, pod);
    cleanUp.defer(() => remove(node, pod));
  }
  say('\nThe same files, by owner:\n');
  say(ownersTable(layers, pods));
  say('\nA process in each pod, root there, reads and writes:\n');
  for (const pod of pods) say(`  pod ${pod.name} (${pod.mapping}): ${readAndWrite(pod, layers)}`);
  say(`\nOn disk all of it is as it was: ${describeOwners(layers)}`);
}

/** Never through a mount that is still there: what it shows is not ours to delete. */
function removeTree(root: string): void {
  const mounted = readMountinfo().find(({ target }) => target.startsWith(`${root}/`));
  if (mounted) throw new Error(`${mounted.target} is still mounted; ${root} is left as it is`);
  rmSync(root, { recursive: true });
}

async function startPlugin(socket: string, root: string, kubeletDir: string): Promise<AsyncDisposable> {
  const flags = [
    '--endpoint',
    `unix://${socket}`,
    '--state-dir',
    path.join(root, 'state'),
    '--kubelet-dir',
    kubeletDir,
    '--registration',
    'off',
  ];
  const main = process.argv[1] ?? '';
  const plugin = spawn(process.execPath, [main, 'serve', '--log-level', 'warn', ...flags], {
    stdio: 'inherit',
  });
  using identity = connect(IdentityService, socket);
  const deadline = Date.now() + START_MS;
  for (;;) {
    if (plugin.exitCode !== null) throw new Error(`the plugin ended with status ${plugin.exitCode}`);
    if (existsSync(socket) && (await identity.probe({})).ready)
      return { [Symbol.asyncDispose]: () => stop(plugin) };
    if (Date.now() > deadline) throw new Error(`the plugin was not ready within ${START_MS} ms`);
    await sleep(20);
  }
}

async function stop(plugin: ChildProcess): Promise<void> {
  const ended = once(plugin, 'exit');
  plugin.kill('SIGTERM');
  await ended;
}

function makePod(
  name: string,
  mapping: string,
  layers: readonly Layer[],
  root: string,
  kubeletDir: string,
): Pod {
  const scratch = path.join(root, `pod-${name}`);
  const outside = Number(mapping.split(':')[1]);
  // The writable layer belongs to the pod's root, whoever that is on the node.
  for (const part of ['upper', 'work']) mkdirSync(path.join(scratch, part), { recursive: true });
  chownSync(path.join(scratch, 'upper'), outside, outside);
  const stagingPath = path.join(kubeletDir, 'plugins', `volume-${name}`, 'globalmount');
  const targetPath = path.join(kubeletDir, 'pods', name, 'volumes', 'data', 'mount');
  // Kubelet makes the staging path and the parent of the target path.
  mkdirSync(stagingPath, { recursive: true });
  mkdirSync(path.dirname(targetPath), { recursive: true });
  const context = contextOf(
    layers.map(({ directory }) => directory),
    scratch,
    mapping,
  );
  return { name, mapping, volumeId: `demo-${name}`, stagingPath, targetPath, context };
}

function contextOf(layers: readonly string[], scratch: string, mapping: string): VolumeContext {
  return {
    type: 'overlay',
    lowerdir: layers.join(':'),
    upperdir: `${scratch}/upper`,
    workdir: `${scratch}/work`,
    uidmap: mapping,
    gidmap: mapping,
  };
}

type Node = Client<typeof NodeService>;

async function publish(node: Node, { volumeId, stagingPath, targetPath, context }: Pod): Promise<void> {
  const started = performance.now();
  const request = {
    volumeId,
    stagingTargetPath: stagingPath,
    volumeContext: context,
    publishContext: {},
    secrets: {},
    volumeCapability: VolumeCapability.create({
      accessType: { $case: 'mount', value: { mountFlags: [] } },
      accessMode: { mode: Mode.SINGLE_NODE_WRITER },
    }),
  };
  await node.nodeStageVolume(request);
  await node.nodePublishVolume({ ...request, targetPath, readonly: false });
  say(
    `  NodeStageVolume and NodePublishVolume of ${volumeId}: ${(performance.now() - started).toFixed(1)} ms`,
  );
}

async function remove(node: Node, { volumeId, stagingPath, targetPath }: Pod): Promise<void> {
  await node.nodeUnpublishVolume({ volumeId, targetPath });
  await node.nodeUnstageVolume({ volumeId, stagingTargetPath: stagingPath });
  say(`  NodeUnpublishVolume and NodeUnstageVolume of ${volumeId}`);
}

function ownersTable(layers: readonly Layer[], pods: readonly Pod[]): string {
  const owner = (file: string) => {
    const { uid, gid } = statSync(file);
    return `${uid}:${gid}`;
  };
  const rows = layers.map(({ directory, files: [file = ''] }) => [
    file,
    owner(path.join(directory, file)),
    ...pods.map(({ targetPath }) => owner(path.join(targetPath, file))),
    ...pods.map(({ mapping, targetPath }) =>
      runInPod(mapping, `stat -c %u:%g '${path.join(targetPath, file)}'`),
    ),
  ]);
  return table(
    [
      'file',
      'on disk',
      ...pods.map(({ name }) => `in pod ${name}, from the node`),
      ...pods.map(({ name }) => `from inside pod ${name}`),
    ],
    rows,
  );
}

function readAndWrite({ mapping, targetPath, name }: Pod, layers: readonly Layer[]): string {
  const base = layers.at(-1);
  return runInPod(
    mapping,
    `cd '${targetPath}'
     bytes=$(cat '${base?.files[0]}' | wc -c)
     echo 'from pod ${name}' > note
     chown 1000:1000 note
     echo "uid $(id -u) read $bytes bytes, wrote note and gave it to $(stat -c %u note), sees $(find . -type f | wc -l) files"`,
  );
}

function describeOwners(layers: readonly Layer[]): string {
  return layers
    .map(({ name, directory, owner, files }) => {
      const kept = files.every((file) => statSync(path.join(directory, file)).uid === owner);
      if (!kept) throw new Error(`a file of layer ${name} has changed its owner on disk`);
      return `${files.length} files of uid ${owner}`;
    })
    .join(', ');
}

function say(...words: string[]): void {
  console.log(...words);
}
