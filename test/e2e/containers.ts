// A node with an API server, on which pods are run as kubelet runs them: their volume is staged and published, the
// record of their user namespace written, and then comes the container.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ContainerOutcome, ContainerSpec, ContainerVolume, Runtime } from '../support/container.ts';
import { eventually } from '../support/fixtures.ts';
import { startApiServer, TOKEN } from '../unit/kubernetes/api-server.ts';
import { type Answer, type NodeRecord, startNode, type TestNode } from './node.ts';
import { type Pod as KubeletPod, POD_MAPPING, podOn } from './pod.ts';
import { startPluginBelow } from './serve.ts';
import { type Context, capability, groupCapability, volumeOn } from './volume.ts';

export interface PodSpec {
  readonly hostUsers: boolean;
  readonly fsGroup?: number;
  /** Kubelet writes its record of the user namespace before the container comes (default), or only with record(). */
  readonly recorded?: boolean;
}

export interface VolumeOfPod {
  readonly context: Context;
  readonly inline?: boolean;
  /** `readOnly` of the pod's volume: of the request, and of the container's mount. */
  readonly readOnly?: boolean;
}

export interface Pod extends AsyncDisposable {
  /** Writes kubelet's record of the user namespace. */
  record(): void;
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

export interface PodNode extends AsyncDisposable {
  readonly node: TestNode;
  /** Reasons of the Events that the driver has sent. */
  readonly events: readonly string[];
  /** A pod whose volume is published, and more when it has been recorded. */
  pod(runtime: Runtime, spec: PodSpec, volume: VolumeOfPod): Promise<Pod>;
}

export async function startPodNode(): Promise<PodNode> {
  await using making = new AsyncDisposableStack();
  const api = making.use(await startApiServer());
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
        return startPluginBelow(['env', `KUBECONFIG=${kubeconfig}`], directory);
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
      pods.set(name, { uid: pod.uid, hostUsers: spec.hostUsers });
      return startPod({ node, runtime, pod }, spec, volume);
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

interface On {
  readonly node: TestNode;
  readonly runtime: Runtime;
  readonly pod: KubeletPod;
}

async function startPod(
  { node, runtime, pod }: On,
  { hostUsers, fsGroup, recorded = true }: PodSpec,
  { context, inline = false, readOnly = false }: VolumeOfPod,
): Promise<Pod> {
  await using making = new AsyncDisposableStack();
  making.use(pod);
  const volume = making.use(volumeOn(node, { context, inline }));
  const volumeCapability = fsGroup === undefined ? capability() : groupCapability(String(fsGroup));
  const targetPath = pod.targetOf('data');
  if (!inline) expectOk(await volume.stage({ volumeCapability }));
  const volumeContext = { ...volume.context, ...pod.info };
  const request = { targetPath, readonly: readOnly, volumeCapability, volumeContext };
  expectOk(await volume.publish(request));
  const isWaiting = ({ text }: NodeRecord) => {
    const { path, state } = JSON.parse(text);
    return path === targetPath && state === 'waiting';
  };
  const completed = () => eventually('the volume is complete', () => !node.records().some(isWaiting));
  if (!hostUsers && recorded) {
    pod.record();
    await completed();
  }
  const made = making.move();
  return {
    record: () => pod.record(),
    completed,
    run: ({ mount = {}, more = [], ...container }) =>
      runtime.run({
        ...container,
        ...(!hostUsers && { mapping: POD_MAPPING }),
        ...(fsGroup !== undefined && { groups: [fsGroup] }),
        volumes: [{ source: targetPath, destination: '/v', readOnly, ...mount }, ...more],
      }),
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
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
