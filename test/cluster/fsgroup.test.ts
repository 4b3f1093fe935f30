// fsGroup on a tree of 100,000 files: shown by the driver, in one mount; and, beside it, changed by kubelet, file by file,
// as it does for volumes of others (here a `local` one of the same tree). What each took is noted, from kubelet's own metrics.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';
import { ownerOf } from '../support/fixtures.ts';
import { needChart } from './chart.ts';
import { type KubernetesObject, kubectl } from './cluster.ts';
import { dataOf, dataSet, removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { pod, volume } from './objects.ts';
import { outputOf, running } from './pods.ts';
import { note } from './summary.ts';
import { NODE } from './where.ts';

const FILES = 100_000;
const GROUP = 2000;
const NAME = 'fsgroup-tree';

describe('fsGroup on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this);
    makeTree(dataSet(NAME)('base'));
  });
  after(async () => {
    await untilNothingIsHeld();
    removeDataSets();
  });

  it(`${FILES} files: the driver changes none of them, kubelet each`, async () => {
    const tree = dataOf(NAME, 'base');
    const file = join(tree, '7/7');
    const script = "cd /v; stat -c '%g' . 7 7/7; echo new >7/new && stat -c '%u:%g' 7/new";
    const asked = (name: string) =>
      pod({ name, fsGroup: GROUP, runAsUser: 1000, containers: [{ name: 'main', script }] });
    const seen = async (name: string, objects: KubernetesObject[]) => {
      await using stack = new AsyncDisposableStack();
      await running(stack, ...objects, asked(name));
      return await outputOf(name);
    };
    const expected = [`${GROUP}`, `${GROUP}`, `${GROUP}`, `1000:${GROUP}`];

    const before = await kubeletSeconds();
    expect(await seen('fsgroup-idmap', volume('fsgroup-idmap', { source: tree }))).to.deep.equal(expected);
    expect([ownerOf(file), ownerOf(join(tree, '7/new'))], 'on disk').to.deep.equal(['0:33', '1000:33']);
    const byDriver = await kubeletSeconds();
    expect(await seen('fsgroup-chown', local('fsgroup-chown', tree))).to.deep.equal(expected);
    expect(ownerOf(file), 'on disk').to.equal(`0:${GROUP}`);
    const byKubelet = await kubeletSeconds();

    const mount = byDriver.driver - before.driver;
    const chown = byKubelet.local - byDriver.local;
    note(
      `fsGroup on ${FILES} files: mounted in ${mount.toFixed(3)} s by the driver, in ${chown.toFixed(3)} s with ` +
        `kubelet's own change of every file (${Math.round(chown / mount)} times as long)`,
    );
  });
});

/** A tree of a hundred directories; all of it the group's to read and write. */
function makeTree(directory: string): void {
  const script = `umask 002; for d in $(seq 100); do mkdir $d; (cd $d; seq ${FILES / 100} | xargs touch); done
    chown -R 0:33 .; find . -type d -exec chmod 2775 {} +`;
  execFileSync('sh', ['-ec', script], { cwd: directory });
}

/** What kubelet has spent on mounting volumes, by the plugin that it did so with; permissions included. */
async function kubeletSeconds(): Promise<{ readonly driver: number; readonly local: number }> {
  const text = await kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy/metrics`);
  const sum = (plugin: string) => {
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith('storage_operation_duration_seconds_sum{'));
    const own = lines.filter(
      (line) => line.includes('operation_name="volume_mount"') && line.includes(`volume_plugin="${plugin}`),
    );
    return own.reduce((seconds, line) => seconds + Number(line.split(' ').at(-1)), 0);
  };
  return { driver: sum('kubernetes.io/csi:idmap.csi.dev'), local: sum('kubernetes.io/local-volume') };
}

/** Of kubelet's own plugin, for the same directory. */
function local(name: string, path: string): KubernetesObject[] {
  return volume(name, {}).map((object) => {
    if (object.kind !== 'PersistentVolume') return object;
    const { csi: _, ...spec } = object.spec as Record<string, unknown>;
    const term = { key: 'kubernetes.io/hostname', operator: 'In', values: [NODE] };
    const nodeAffinity = { required: { nodeSelectorTerms: [{ matchExpressions: [term] }] } };
    return { ...object, spec: { ...spec, local: { path }, nodeAffinity } };
  });
}
