// A node with an API server, on which pods are run as kubelet runs them: their volume is staged and published, the
// record of their user namespace written, and then comes the container.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type {
  ContainerOutcome,
  ContainerSpec,
  ContainerVolume,
  OciConfig,
  Runtime,
} from '../support/container.ts';
import { eventually } from '../support/fixtures.ts';
import type { NriHost, PodOfRuntime, Reply } from '../support/nri-host.ts';
import { scaled } from '../support/time-scale.ts';
import { apiOf, startApiServer, TOKEN } from '../unit/kubernetes/api-server.ts';
import { type Answer, type NodeRecord, startNode, type TestNode } from './node.ts';
import { type Pod as KubeletPod, POD_MAPPING, podOn } from './pod.ts';
import { startPluginBelow } from './serve.ts';
import { type Context, capability, groupCapability, type Volume, volumeOn } from './volume.ts';

export interface PodSpec {
  readonly hostUsers: boolean;
  readonly fsGroup?: number;
  /** Of the pod, with hostUsers: false. */
  readonly mapping?: string;
  /** Of the sandbox, as the runtime tells it. */
  readonly pid?: number;
  /** False: the API server does not answer for it. */
  readonly known?: boolean;
  /** Kubelet writes its record of the user namespace before the container comes (default), or only with record(). */
  readonly recorded?: boolean;
}

export interface VolumeOfPod {
  readonly context: Context;
  readonly inline?: boolean;
  /** `readOnly` of the pod's volume: of the request, and of the container's mount. */
  readonly readOnly?: boolean;
  /** One that is staged already, for several pods. */
  readonly volume?: Volume;
}

export interface Pod extends AsyncDisposable {
  readonly kubelet: KubeletPod;
  readonly volume: Volume;
  /** Of its volume. */
  readonly target: string;
  /** Writes kubelet's record of the user namespace. */
  record(): void;
  /** As the runtime: the record is there, and the network. Without NRI nobody is told. What it fails with. */
  sandbox(): Promise<string | undefined>;
  /** Waits for a nested volume to be there. */
  completed(): Promise<void>;
  /** Runs a container with the volume at /v. */
  run(container: ContainerOfPod): Promise<ContainerOutcome>;
}

export interface ContainerOfPod extends Pick<ContainerSpec, 'script' | 'uid' | 'gid'> {
  /** Of the container's mount: what the pod's volume says, or more. */
  readonly mount?: Pick<ContainerVolume, 'readOnly' | 'mountPropagation'>;
  readonly more?: readonly ContainerVolume[];
}

export interface PodNodeOptions {
  /** Of the plugin. */
  readonly flags?: readonly string[];
  /** The runtime's side of NRI, as it is when a sandbox or container is made. */
  readonly nri?: () => NriHost;
}

export interface PodNode extends AsyncDisposable {
  readonly node: TestNode;
  /** Reasons of the Events that the driver has sent. */
  readonly events: readonly string[];
  /** A pod whose volume is published, and more when it has been recorded. */
  pod(runtime: Runtime, spec: PodSpec, volume: VolumeOfPod): Promise<Pod>;
}

export async function startPodNode({ flags = [], nri }: PodNodeOptions = {}): Promise<PodNode> {
  await using making = new AsyncDisposableStack();
  const api = making.use(await startApiServer());
  // Its first answer takes seconds where tests run by emulation, which no driver would wait for.
  await apiOf(api).ask({ method: 'GET', path: '/version', timeoutMs: scaled(60_000) });
  const pods = new Map<string, { uid: string; hostUsers: boolean }>();
  const events: string[] = [];
  api.behaviour = (call) => {
    if (call.method !== 'GET') {
      events.push(call.body.reason);
      return { status: 201, body: {} };
    }
    const pod = pods.get(call.path.split('/').at(-1) ?? '');
    if (pod === undefined) return { status: 404, body: {} };
    return { status: 200, body: { metadata: { uid: pod.uid }, spec: { hostUsers: pod.hostUsers } } };
  };
  const node = making.use(
    await startNode({
      start: (directory) => {
        const kubeconfig = join(directory, 'kubeconfig');
        writeFileSync(kubeconfig, kubeconfigOf(api.port, api.certificate));
        return startPluginBelow(['env', `KUBECONFIG=${kubeconfig}`], directory, flags);
      },
    }),
  );
  const made = making.move();
  let count = 0;
  return {
    node,
    events,
    async pod(runtime, spec, volume) {
      const name = `pod-${++count}`;
      const pod = podOn(node, name);
      if (spec.known !== false) pods.set(name, { uid: pod.uid, hostUsers: spec.hostUsers });
      return startPod({ node, runtime, pod, nri }, spec, volume);
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

interface On {
  readonly node: TestNode;
  readonly runtime: Runtime;
  readonly pod: KubeletPod;
  readonly nri: PodNodeOptions['nri'];
}

async function startPod(
  { node, runtime, pod, nri }: On,
  { hostUsers, fsGroup, recorded = nri === undefined, mapping = POD_MAPPING, pid }: PodSpec,
  { context, inline = false, readOnly = false, volume: shared }: VolumeOfPod,
): Promise<Pod> {
  await using making = new AsyncDisposableStack();
  making.use(pod);
  const volume = shared ?? making.use(volumeOn(node, { context, inline }));
  const mode = shared === undefined ? 'SINGLE_NODE_WRITER' : 'MULTI_NODE_MULTI_WRITER';
  const volumeCapability = fsGroup === undefined ? capability(mode) : groupCapability(String(fsGroup), mode);
  const targetPath = pod.targetOf('data');
  if (shared !== undefined) making.defer(async () => expectOk(await volume.unpublish({ targetPath })));
  if (!inline && shared === undefined) expectOk(await volume.stage({ volumeCapability }));
  const volumeContext = { ...volume.context, ...pod.info };
  const request = { targetPath, readonly: readOnly, volumeCapability, volumeContext };
  expectOk(await volume.publish(request));
  const isWaiting = ({ text }: NodeRecord) => {
    const { path, state } = JSON.parse(text);
    return path === targetPath && state === 'waiting';
  };
  const completed = () => eventually('the volume is complete', () => !node.records().some(isWaiting));
  if (!hostUsers && recorded) {
    pod.record(mapping);
    await completed();
  }
  const ofRuntime: PodOfRuntime = {
    ...{ id: `sandbox-of-${pod.uid}`, name: pod.name, uid: pod.uid, namespace: 'default' },
    ...(pid !== undefined && { pid }),
    linux: { namespaces: ['network', ...(hostUsers ? [] : ['user'])].map((type) => ({ type })) },
  };
  const made = making.move();
  let containers = 0;
  return {
    ...{ kubelet: pod, volume, target: targetPath },
    record: () => pod.record(mapping),
    async sandbox() {
      if (!hostUsers) pod.record(mapping);
      return nri && (await patiently(() => nri().runPodSandbox(ofRuntime))).error;
    },
    completed,
    run: ({ mount = {}, more = [], ...container }) =>
      runtime.run({
        ...container,
        ...(!hostUsers && { mapping }),
        ...(nri && { adjust: (config) => adjusted(config, nri(), ofRuntime, ++containers) }),
        ...(fsGroup !== undefined && { groups: [fsGroup] }),
        volumes: [{ source: targetPath, destination: '/v', readOnly, ...mount }, ...more],
      }),
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

/** On a busy machine the driver asks to be asked again, as kubelet does in any case. */
async function patiently<R extends Reply>(ask: () => Promise<R>): Promise<R> {
  let reply = await ask();
  while (reply.error?.includes('the next try may find it done')) reply = await ask();
  return reply;
}

/** @throws Error with what the plugins of the runtime fail the container */
async function adjusted(
  config: OciConfig,
  host: NriHost,
  pod: PodOfRuntime,
  number: number,
): Promise<OciConfig> {
  const container = { id: `${pod.id}-${number}`, pod_sandbox_id: pod.id, name: `container-${number}` };
  const { error, spec } = await patiently(() => host.createContainer(pod, container, config));
  if (error !== undefined || spec === undefined) throw new Error(`CreateContainer: ${error}`);
  return spec;
}

function expectOk({ code, message }: Answer): void {
  expect(code, message).to.equal('OK');
}

function kubeconfigOf(port: number, certificate: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'c',
        cluster: {
          server: `https://127.0.0.1:${port}`,
          'certificate-authority-data': Buffer.from(certificate).toString('base64'),
        },
      },
    ],
    users: [{ name: 'u', user: { token: TOKEN } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  });
}
