// The chart, rendered with many values: what Kubernetes would take, and what each value is for.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import { OPTIONS, readConfig } from '../../src/config.ts';
import { FUSE_HOST_OPTIONS, readFuseHostConfig } from '../../src/fuse-host-config.ts';
import { METRICS } from '../../src/observe/metrics.ts';
import { DEFAULT_POLICY_TEXT } from '../../src/policy/default.ts';
import { readPolicy } from '../../src/policy/read.ts';
import { apiServer, type Question, type Said } from './api-server.ts';
import { CHART, type Helm, helm, type KubernetesObject, type Values } from './helm.ts';
import { isOfKubernetes, problemOf } from './kinds.ts';
import { MATRIX, REFUSED } from './matrix.ts';

const only = (objects: readonly KubernetesObject[], kind: string): KubernetesObject => {
  const [found, ...more] = objects.filter((one) => one.kind === kind);
  if (found === undefined || more.length > 0) throw new Error(`${kind}: ${found ? 'several' : 'none'}`);
  return found;
};

interface Mount {
  readonly name: string;
  readonly mountPath: string;
  readonly mountPropagation?: string;
}

interface Container {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts: readonly Mount[];
}

const daemonSets = (objects: readonly KubernetesObject[], component: string) =>
  objects.filter(
    ({ kind, metadata }) =>
      kind === 'DaemonSet' && metadata.labels?.['app.kubernetes.io/component'] === component,
  );
const daemonSetOf = (objects: readonly KubernetesObject[]) =>
  only(daemonSets(objects, 'driver'), 'DaemonSet');
const podOf = (objects: readonly KubernetesObject[]) => daemonSetOf(objects).spec.template.spec;
const driverOf = (objects: readonly KubernetesObject[]): Container => podOf(objects).containers[0];
interface Registrar {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

/** Of the sidecars that register: what each is given, and the paths of the node that it sees. */
function registrarsOf(objects: readonly KubernetesObject[]): unknown[] {
  const { containers, volumes } = podOf(objects);
  const pathOf = (volume: string) =>
    volumes.find(({ name }: { name: string }) => name === volume)?.hostPath?.path;
  return containers
    .filter(({ name }: Registrar) => name === 'node-driver-registrar')
    .map(({ image, args, volumeMounts }: Registrar) => ({
      ...{ image, args },
      paths: Object.fromEntries(volumeMounts.map(({ mountPath, name }) => [mountPath, pathOf(name)])),
    }));
}
const fuseHostOf = (objects: readonly KubernetesObject[]): Container | undefined =>
  daemonSets(objects, 'fuse-host')[0]?.spec.template.spec.containers[0];

/** As the driver's command line reads them, with what kubelet puts in place of variables. */
function flagsOf(
  { args }: Container,
  known: Readonly<Record<string, { readonly flag: string }>>,
): Record<string, string> {
  const names = new Set(Object.values(known).map(({ flag }) => flag));
  const pairs = args.slice(1).map((text) => {
    const [, flag = text, value = ''] = /^--([a-z-]+)=(.*)$/s.exec(text) ?? [];
    expect(names.has(flag), flag).to.equal(true);
    return [flag, value.replace('$(NODE_NAME)', 'node').replace('$(HOST_IP)', 'fd00::1')] as const;
  });
  return Object.fromEntries(pairs);
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
}

/** Whether an expression is about how calls end, and a series of these labels is among those that it selects. */
function counts(expr: string, labels: Readonly<Record<string, string>>): boolean {
  const [, selector] = /csi_idmap_operations_seconds_count\{(.*?)\}/.exec(expr) ?? [];
  if (selector === undefined) return false;
  return [...selector.matchAll(/(\w+)([=!]~)"(.*?)"/g)].every(([, name = '', operator, pattern]) => {
    const value = labels[name];
    return value === undefined || new RegExp(`^(?:${pattern})$`).test(value) === (operator === '=~');
  });
}

describe('the chart', () => {
  let chart: Helm;
  let ask: (question: Question) => Promise<Said>;

  before(async function () {
    chart = await helm(this);
    ask = await apiServer(this);
  });

  it('passes lint --strict', async () => {
    await chart.lint();
    await chart.lint(MATRIX.at(-1)?.values);
  });

  it('is of the version that package.json has', () => {
    const { version, appVersion } = parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8'));
    const text = readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8');
    expect([version, appVersion]).to.deep.equal([JSON.parse(text).version, JSON.parse(text).version]);
  });

  describe('makes objects that Kubernetes has', () => {
    const rendered: KubernetesObject[] = [];

    for (const { title, values, options } of MATRIX) {
      it(`with ${title}`, async () => {
        const objects = await chart.render(values, options);
        rendered.push(...objects);
        const problems = await Promise.all(objects.map(problemOf));
        expect(problems.filter((problem) => problem !== undefined)).to.deep.equal([]);
        const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
        expect(new Set(names).size, 'objects of different names').to.equal(names.length);
        for (const { metadata } of objects) {
          const namesOfLabels = [metadata.name, ...Object.values(metadata.labels ?? {})];
          expect(namesOfLabels.filter((name) => name.length > 63)).to.deep.equal([]);
        }
      });

      it(`with ${title}, for programs that start`, async () => {
        const objects = await chart.render(values, options);
        readConfig(flagsOf(driverOf(objects), OPTIONS), {});
        const fuseHost = fuseHostOf(objects);
        if (fuseHost !== undefined) readFuseHostConfig(flagsOf(fuseHost, FUSE_HOST_OPTIONS), {});
        const maps = objects.filter(({ data }) => data?.['policy.yaml'] !== undefined);
        for (const { data } of maps) readPolicy(data['policy.yaml']);
      });
    }

    it('and no fields that it has not', async () => {
      const { unknown } = await ask({ objects: rendered.filter(isOfKubernetes) });
      expect(unknown).to.deep.equal([]);
    });

    it('as the check of fields would tell', async () => {
      const wrong = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x', lables: {} } };
      const { unknown } = await ask({ objects: [wrong] });
      expect(unknown.join()).to.include('lables');
      const object = { ...wrong, kind: 'Pod', spec: { containers: [{}] } } as unknown as KubernetesObject;
      expect(await problemOf(object)).to.include('name');
    });
  });

  describe('refuses', () => {
    for (const { title, values, options, message } of REFUSED) {
      it(title, async () => {
        const error = await chart.render(values, options).then(
          () => new Error('rendered'),
          (reason: Error) => reason,
        );
        expect(error.message).to.match(message);
      });
    }
  });

  describe('by default', () => {
    let objects: readonly KubernetesObject[];
    before(async () => {
      objects = await chart.render();
    });

    it("has the driver's own policy", () => {
      expect(parse(only(objects, 'ConfigMap').data['policy.yaml'])).to.deep.equal(parse(DEFAULT_POLICY_TEXT));
    });

    it('has the rights to look at pods and to send Events, and no others', () => {
      expect(only(objects, 'ClusterRole').rules).to.deep.equal([
        { apiGroups: [''], resources: ['pods'], verbs: ['get'] },
        { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
      ]);
    });

    it('propagates mounts to the node from one place alone', () => {
      const mounts = driverOf(objects).volumeMounts;
      const both = mounts.filter(({ mountPropagation }) => mountPropagation === 'Bidirectional');
      expect(both.map(({ mountPath }) => mountPath)).to.deep.equal(['/var/lib/kubelet']);
    });

    it("has the driver ask for what fuse-host offers, at one place of kubelet's directory", () => {
      expect(driverOf(objects).args).to.include('--fuse-mode=host');
      const socketOf = (args: readonly string[]) =>
        args.find((flag) => flag.startsWith('--fuse-host-socket=') || flag.startsWith('--socket='));
      expect([socketOf(driverOf(objects).args), socketOf(fuseHostOf(objects)?.args ?? [])]).to.deep.equal([
        undefined,
        undefined,
      ]);
      const own = ({ args, env }: Container) => [
        ...args.filter((flag) => flag.startsWith('--policy=')),
        ...env.filter(({ name }) => /^CSI_IDMAP_(KUBELET_DIR|DRIVER_NAME)$/.test(name)),
      ];
      expect(own(driverOf(objects))).to.have.length(3);
      expect(own(driverOf(objects))).to.deep.equal(own(fuseHostOf(objects) as Container));
      const seen = ({ volumeMounts }: Container) =>
        volumeMounts.filter(({ name }) => /^(kubelet|root-)/.test(name));
      expect(seen(driverOf(objects))).to.deep.equal(seen(fuseHostOf(objects) as Container));
    });

    it('restarts fuse-host only by hand, and gives it no limit', () => {
      const [set] = daemonSets(objects, 'fuse-host');
      expect(set?.spec.updateStrategy).to.deep.equal({ type: 'OnDelete' });
      expect(fuseHostOf(objects)).to.not.have.property('resources');
    });

    it('needs no namespace of the node', () => {
      expect(podOf(objects)).to.not.have.any.keys('hostNetwork', 'hostPID', 'hostIPC');
    });

    it('has no hook but its test', () => {
      const hooks = objects.flatMap(({ metadata }) => metadata.annotations?.['helm.sh/hook'] ?? []);
      expect(hooks).to.deep.equal(['test']);
    });

    it('shows every directory that the examples take volumes from', () => {
      const shown = driverOf(objects).volumeMounts.map(({ mountPath }) => mountPath);
      expect(shown).to.include.members(['/srv', '/var/lib/csi-driver-idmap/volumes', '/dev']);
    });
  });

  it('gives fuse-host a number of bytes as one', async () => {
    const [set] = daemonSets(
      await chart.render({ fuse: { host: { helperMemory: 536870912 } } }),
      'fuse-host',
    );
    expect(set?.spec.template.spec.containers[0].args).to.include('--helper-memory=536870912');
  });

  it('finds kubelet wherever it is', async () => {
    const text = JSON.stringify(
      await chart.render({ kubeletDir: '/data/kubelet', registration: { mode: 'sidecar' } }),
    );
    expect(text).to.not.include('/var/lib/kubelet');
    expect(text).to.include('/data/kubelet/plugins/idmap.csi.dev/csi.sock');
  });

  const follows: readonly [string, Values, (objects: readonly KubernetesObject[]) => unknown, unknown][] = [
    ['fsGroupPolicy', { fsgroup: 'idmap' }, (o) => only(o, 'CSIDriver').spec.fsGroupPolicy, 'None'],
    ['fsGroupPolicy', { fsgroup: 'kubelet' }, (o) => only(o, 'CSIDriver').spec.fsGroupPolicy, 'File'],
    [
      'the lifecycle modes',
      { csiDriver: { inline: false } },
      (o) => only(o, 'CSIDriver').spec.volumeLifecycleModes,
      ['Persistent'],
    ],
    [
      'the rights',
      { startupTaint: { enabled: true } },
      (o) => only(o, 'ClusterRole').rules.map(({ resources }: { resources: string[] }) => resources[0]),
      ['pods', 'events', 'csinodes', 'nodes'],
    ],
    [
      'the taint',
      { startupTaint: { enabled: true }, driverName: 'x.example' },
      (o) => driverOf(o).args.filter((flag) => flag.includes('taint')),
      ['--startup-taint=x.example/agent-not-ready'],
    ],
    [
      'the address of metrics',
      { hostNetwork: true, metrics: { port: 1234 } },
      (o) => driverOf(o).args.filter((flag) => flag.includes('metrics')),
      ['--metrics-address=$(HOST_IP):1234'],
    ],
    [
      'who registers',
      { registration: { mode: 'self' } },
      (o) => [driverOf(o).args.includes('--registration=on'), registrarsOf(o)],
      [true, []],
    ],
    [
      'who registers',
      { registration: { mode: 'sidecar', sidecar: { image: 'example.com/registrar:v1' } } },
      (o) => [driverOf(o).args.includes('--registration=off'), registrarsOf(o)],
      [
        true,
        [
          {
            image: 'example.com/registrar:v1',
            args: [
              '--csi-address=/csi/csi.sock',
              '--kubelet-registration-path=/var/lib/kubelet/plugins/idmap.csi.dev/csi.sock',
            ],
            paths: {
              '/csi': '/var/lib/kubelet/plugins/idmap.csi.dev',
              '/registration': '/var/lib/kubelet/plugins_registry',
            },
          },
        ],
      ],
    ],
    [
      'the socket of NRI',
      { userNamespaces: 'nested' },
      (o) => driverOf(o).volumeMounts.filter(({ name }) => name === 'nri'),
      [],
    ],
  ];
  for (const [what, values, read, expected] of follows) {
    it(`${what} follows ${JSON.stringify(values)}`, async () => {
      expect(read(await chart.render(values))).to.deep.equal(expected);
    });
  }

  it('rolls out when the policy changes, and only then', async () => {
    const sum = async (values: Values) =>
      daemonSetOf(await chart.render(values)).spec.template.metadata.annotations['checksum/policy'];
    const before = await sum({});
    expect(await sum({ startupTaint: { enabled: true } })).to.equal(before);
    expect(await sum({ policy: { rules: [] } })).to.not.equal(before);
  });

  it('tells what to do next, and what an upgrade cuts', async () => {
    const notes = await chart.notes();
    expect(notes).to.include('helm -n storage test idmap').and.to.include('sizeLimit: 64Mi');
    expect(notes).to.include('Volumes that are mounted stay mounted').and.to.include('So do FUSE volumes');
    const inline = await chart.notes({ fuse: { mode: 'inline' } });
    expect(inline).to.include('But not FUSE volumes');
    const pod = notes
      .slice(notes.indexOf('  apiVersion: v1'), notes.indexOf('  YAML\n'))
      .replace(/^ {2}/gm, '');
    expect(await problemOf(parse(pod))).to.equal(undefined);
  });

  it('has an alert on a volume that cannot be taken away, and none on what a user got wrong', async () => {
    const objects = await chart.render({ metrics: { prometheusRule: { enabled: true } } });
    const { rules } = only(objects, 'PrometheusRule').spec.groups[0];
    const alertsOn = (method: string, code: string): string[] =>
      rules
        .filter(({ expr }: Rule) =>
          counts(expr, { method: `/csi.v1.Node/${method}`, grpc_status_code: code }),
        )
        .map(({ alert }: Rule) => alert);
    for (const method of ['NodeUnpublishVolume', 'NodeUnstageVolume']) {
      expect(alertsOn(method, 'FAILED_PRECONDITION')).to.deep.equal(['CsiIdmapVolumeStays']);
      for (const code of ['OK', 'ABORTED', 'CANCELLED']) expect(alertsOn(method, code)).to.deep.equal([]);
    }
    for (const method of ['NodePublishVolume', 'NodeStageVolume']) {
      expect(alertsOn(method, 'FAILED_PRECONDITION')).to.deep.equal([]);
      expect(alertsOn(method, 'UNAVAILABLE')).to.deep.equal(['CsiIdmapCallsFail']);
    }
  });

  it('has alerts and a dashboard of metrics that there are', async () => {
    const metrics = { prometheusRule: { enabled: true }, dashboard: { enabled: true } };
    const text = JSON.stringify(
      (await chart.render({ metrics, userNamespaces: 'nri' })).filter(
        ({ kind, metadata }) => kind === 'PrometheusRule' || metadata.name.endsWith('-dashboard'),
      ),
    );
    const used = new Set([...text.matchAll(/csi_idmap_[a-z_]+/g)].map(([name]) => name));
    const there = Object.entries(METRICS).flatMap(([name, { type }]) =>
      type === 'histogram' ? ['bucket', 'count', 'sum'].map((part) => `${name}_${part}`) : [name],
    );
    expect([...used].filter((name) => !there.includes(name))).to.deep.equal([]);
    const shown = Object.keys(METRICS).filter((name) => ![...used].some((one) => one.startsWith(name)));
    expect(shown, 'metrics that neither shows').to.deep.equal([]);
  });
});
