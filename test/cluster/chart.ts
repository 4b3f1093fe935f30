// The driver as users have it: installed by the chart, as DaemonSets, from the image that `make cluster` has built
// (node/driver). What tests change of it, the next that calls needChart() has as it wants it.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needFile } from '../support/need.ts';
import { kubectl, needCluster, until } from './cluster.ts';
import { CLUSTER_DIR, environment, NODE } from './where.ts';

export const DRIVER_NAME = 'idmap.csi.dev';
/** Of the release, and the release itself. */
export const NAMESPACE = 'csi-driver-idmap';
/** Values of the chart, over those that this node needs. */
export type Values = Readonly<Record<string, unknown>>;
type Component = 'driver' | 'fuse-host';

const CHART = join(import.meta.dirname, '../../charts/csi-driver-idmap');
/** Values, made by node/driver: image, kubelet's directory, the runtime's socket. */
export const VALUES_OF_NODE = join(CLUSTER_DIR, 'run/values.yaml');
const run = promisify(execFile);

export const helm = async (...args: readonly string[]): Promise<string> =>
  (await run('helm', args, { env: environment })).stdout;

/** Skips where there is no cluster; else the driver is there as the chart makes it with these values. */
export async function needChart(context: Mocha.Context, values: Values = {}): Promise<void> {
  await needCluster(context);
  needFile(context, VALUES_OF_NODE, 'the image of the driver has not been built; `make cluster` does');
  await install(values);
}

/** The image that is installed, under another tag. */
export async function anotherTag(): Promise<string> {
  const values = JSON.parse(await helm('get', 'values', NAMESPACE, '-n', NAMESPACE, '-o', 'json'));
  const { repository, tag } = (values as { image: { repository: string; tag: string } }).image;
  const another = `${tag}-again`;
  const socket = join(CLUSTER_DIR, 'run/containerd.sock');
  const args = ['images', 'tag', '--force', `${repository}:${tag}`, `${repository}:${another}`];
  await run('ctr', ['-a', socket, '-n', 'k8s.io', ...args], { env: environment });
  return another;
}

/** `helm upgrade --install`, until the new driver is ready and kubelet lists it. */
export async function install(values: Values = {}): Promise<void> {
  await kubectl('get', 'namespace', NAMESPACE).catch(() => kubectl('create', 'namespace', NAMESPACE));
  const args = ['upgrade', '--install', NAMESPACE, CHART, '-n', NAMESPACE, '-f', VALUES_OF_NODE, '-f', '-'];
  const upgraded = run('helm', args, { env: environment });
  upgraded.child.stdin?.end(JSON.stringify(values));
  await upgraded;
  await untilReady();
}

export async function untilReady(): Promise<void> {
  await kubectl('-n', NAMESPACE, 'rollout', 'status', `daemonset/${NAMESPACE}`, '--timeout=120s');
  await until('the driver is listed', isListed);
  await until('every pod of the release is ready', async () =>
    (await podsOf()).every(({ status }) => status.containerStatuses?.every(({ ready }) => ready) ?? false),
  );
}

/** No driver on the node until the end of the block; fuse-host stays. */
export async function withoutDriver(): Promise<AsyncDisposable> {
  const choose = (value: string | null) =>
    kubectl(
      ...['-n', NAMESPACE, 'patch', 'daemonset', NAMESPACE, '--type=merge', '-p'],
      JSON.stringify({ spec: { template: { spec: { nodeSelector: { 'test/nowhere': value } } } } }),
    );
  await choose('yes');
  await until('the driver is gone', async () => (await podsOf('driver')).length === 0);
  return {
    async [Symbol.asyncDispose]() {
      await choose(null);
      await untilReady();
    },
  };
}

/** Its pod deleted, until the next one is ready. */
export async function restartDriver(): Promise<void> {
  const { metadata } = await podOfRelease('driver');
  await kubectl('-n', NAMESPACE, 'delete', 'pod', metadata.name, '--wait');
  await untilReady();
}

/** `helm uninstall`, until its pods are gone and kubelet has forgotten the driver. */
export async function uninstall(): Promise<void> {
  await helm('uninstall', NAMESPACE, '-n', NAMESPACE, '--ignore-not-found', '--wait');
  await until('the pods of the release are gone', async () => (await podsOf()).length === 0);
  await until('kubelet has forgotten the driver', async () => !(await isListed()));
}

export const isListed = async (): Promise<boolean> =>
  (await kubectl('get', 'csinode', NODE, '-o', 'jsonpath={.spec.drivers[*].name}'))
    .split(' ')
    .includes(DRIVER_NAME);

interface ReleasePod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string };
  readonly status: {
    readonly podIP?: string;
    readonly containerStatuses?: readonly { readonly ready: boolean; readonly restartCount: number }[];
  };
}

/** Of the release, those that are on their way out too. */
export async function podsOf(component?: Component): Promise<readonly ReleasePod[]> {
  const selector = `app.kubernetes.io/instance=${NAMESPACE}${component ? `,app.kubernetes.io/component=${component}` : ''}`;
  const pods = JSON.parse(await kubectl('-n', NAMESPACE, 'get', 'pods', '-l', selector, '-o', 'json'));
  return (pods as { items: ReleasePod[] }).items;
}

/** The one of them that stays. */
export async function podOfRelease(component: Component): Promise<ReleasePod> {
  const pod = (await podsOf(component)).find(({ metadata }) => metadata.deletionTimestamp === undefined);
  if (pod === undefined) throw new Error(`there is no pod of ${component}`);
  return pod;
}

/** What a command in its container prints. */
export async function inRelease(component: Component, ...command: readonly string[]): Promise<string> {
  const { metadata } = await podOfRelease(component);
  return await kubectl('-n', NAMESPACE, 'exec', metadata.name, '--', ...command);
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Those of a metric, as the driver's pod serves them now: `csi_idmap_mounts`, with these labels. */
export async function metric(name: string, labels: Sample['labels'] = {}): Promise<Sample[]> {
  const { status } = await podOfRelease('driver');
  const response = await fetch(`http://${status.podIP}:9810/metrics`);
  return samplesOf(await response.text()).filter(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  );
}

/** `name{key="value",...} 1`, a line each. */
const samplesOf = (text: string): Sample[] =>
  [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name = '', labels = '', value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text])),
    value: Number(value),
  }));
