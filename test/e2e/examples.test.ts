// Each manifest of examples/, published over gRPC as kubelet would for its pod, on the data that it names: but for the
// beginning of its paths, which are those of the node, all is as it is written there. test/cluster/ applies them to a
// real node.
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { runInPod } from '../../src/cli/demo/pod.ts';
import { DEFAULT_POLICY_TEXT } from '../../src/policy/default.ts';
import { startPlugin } from '../sanity/plugin.ts';
import {
  expectFound,
  FOUND,
  type Found,
  lookScript,
  needExample,
  type PreparedNode,
  prepareNode,
  RAW_BYTES,
  readLook,
} from '../support/example-data.ts';
import { EXAMPLE_FILES, type Example, exampleOf } from '../support/examples.ts';
import { eventually, ownerOf } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { mountsAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { POD_MAPPING, type Pod, podOn } from './pod.ts';
import { blockCapability, type Context, groupCapability, volumeOn } from './volume.ts';

describe('published over gRPC, the example', () => {
  let node: TestNode;
  let prepared: PreparedNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    for (const file of EXAMPLE_FILES) needExample(this, file);
    needTool(this, 'setpriv', 'a pod has a user');
    node = await startNode({
      start(directory) {
        const policy = join(directory, 'policy.yaml');
        writeFileSync(policy, onNode(DEFAULT_POLICY_TEXT, join(directory, 'root')));
        return startPlugin(directory, ['--policy', policy]);
      },
    });
    prepared = prepareNode(node.at('root'));
  });
  after(async () => {
    await node?.[Symbol.asyncDispose]();
    prepared?.[Symbol.dispose]();
  });

  function contextOf({ attributes }: Example): Context {
    const moved = Object.entries(attributes).map(([key, value]) => [key, onNode(value, node.at('root'))]);
    const context: Context = Object.fromEntries(moved);
    return context.source?.startsWith('/dev/') ? { ...context, source: prepared.disk } : context;
  }

  for (const file of EXAMPLE_FILES) {
    it(`${file}: its pod has what it should, and leaves nothing`, async () => {
      const example = exampleOf(file);
      await using stack = new AsyncDisposableStack();
      const pod = stack.use(podOn(node, example.name));
      if (example.pod.hostUsers === false) pod.record();
      const { inline, readonly } = example;
      const context = contextOf(example);
      const volume = stack.use(volumeOn(node, { context, inline }));
      const target = pod.targetOf(example.volume);
      const volumeCapability = capabilityOf(example);
      if (!inline) expect(await volume.stage({ volumeCapability })).to.include({ message: '' });
      const volumeContext = { ...context, ...infoOf(example, pod) };
      const request = { volumeCapability, volumeContext, readonly, targetPath: target };
      expect(await volume.publish(request)).to.include({ message: '' });
      if (example.block) expectDisk(target);
      else {
        const found = FOUND[file];
        if (found === undefined) throw new Error('test/support/example-data.ts does not say what it finds');
        const directory = join(target, (found.at ?? MOUNT_PATH).replace(MOUNT_PATH, ''));
        await eventually('the volume is there', () => mountsAt(directory).length > 0);
        expectFound(found, readLook(inPod(example, lookScript(directory, example.name))));
        expectOnDisk(found, example.name);
      }
      await stack.disposeAsync();
      expect(existsSync(target), 'the target').to.equal(false);
      expect(node.mounts(), 'mounts').to.deep.equal([]);
    });
  }

  function expectOnDisk({ writes }: Found, name: string): void {
    if (typeof writes === 'object')
      expect(ownerOf(node.at('root', writes.in, name)), 'on disk').to.equal(writes.owner);
  }
});

const MOUNT_PATH = '/data';

/** The paths of the examples, on a node whose root is this directory. */
const onNode = (text: string, root: string): string =>
  text.replace(/(?<![\w./])\/(srv|var\/lib\/csi-driver-idmap)\//g, `${root}/$1/`);

const MODES = {
  ReadWriteOnce: 'SINGLE_NODE_MULTI_WRITER',
  ReadOnlyMany: 'MULTI_NODE_READER_ONLY',
  ReadWriteMany: 'MULTI_NODE_MULTI_WRITER',
  ReadWriteOncePod: 'SINGLE_NODE_SINGLE_WRITER',
} as const;

function capabilityOf({ accessMode, block, pod }: Example) {
  const mode = MODES[accessMode];
  return block ? blockCapability(mode) : groupCapability(String(pod.securityContext?.fsGroup ?? ''), mode);
}

/** Of other pods it would be asked whether they have a user namespace, and there is no API server to tell. */
function infoOf({ inline, pod }: Example, { info }: Pod): Context {
  if (inline) return { ...info, 'csi.storage.k8s.io/ephemeral': 'true' };
  return pod.hostUsers === false ? info : {};
}

/** As the pod's own user and groups, in its user namespace. */
function inPod({ pod }: Example, script: string): string {
  if (pod.hostUsers === false) return runInPod(POD_MAPPING, script);
  const { runAsUser = 0, runAsGroup = 0, fsGroup } = pod.securityContext ?? {};
  const groups = fsGroup === undefined ? '--clear-groups' : `--groups=${fsGroup}`;
  const { stdout } = spawnSync(
    'setpriv',
    [`--reuid=${runAsUser}`, `--regid=${runAsGroup}`, groups, 'sh', '-c', script],
    { encoding: 'utf8' },
  );
  return stdout;
}

function expectDisk(device: string): void {
  const disk = openSync(device, 'r+');
  try {
    const last = Buffer.from('the last');
    expect(writeSync(disk, last, 0, last.length, RAW_BYTES - last.length)).to.equal(last.length);
    expect(readSync(disk, Buffer.alloc(1), 0, 1, RAW_BYTES), 'beyond its end').to.equal(0);
  } finally {
    closeSync(disk);
  }
}
