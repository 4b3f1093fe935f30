// What the driver does not give, as whoever wrote the pod learns of it: `kubectl describe pod` names the field, its value and
// what to do; with the chart's ValidatingAdmissionPolicy the pod is not even made.
import { chmodSync, chownSync } from 'node:fs';
import { expect } from 'chai';
import { needChart } from './chart.ts';
import { eventsOf, type KubernetesObject, kubectl, kubectlWith, until } from './cluster.ts';
import { dataSet, removeDataSets } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { type Attributes, pod, volume } from './objects.ts';
import { outputOf, running, untilRunning } from './pods.ts';

interface Row {
  readonly name: string;
  /** Written into the pod by its author, or into a PersistentVolume. */
  readonly inline: boolean;
  readonly attributes: Attributes;
  /** Words of the Event. */
  readonly says: readonly string[];
}

const VOLUMES = '/var/lib/csi-driver-idmap/volumes';
const ROWS: readonly Row[] = [
  {
    name: 'refused-type',
    inline: true,
    attributes: { source: '/etc' },
    says: ['PermissionDenied', 'type bind', 'allows tmpfs, overlay', 'have an administrator provide'],
  },
  {
    name: 'refused-root',
    inline: true,
    attributes: { type: 'overlay', lowerdir: `${VOLUMES}/other/data` },
    says: [
      'PermissionDenied',
      `lowerdir ${VOLUMES}/other/data`,
      `${VOLUMES}/default (read-only)`,
      'use a place below',
    ],
  },
  {
    name: 'refused-size',
    inline: true,
    attributes: { type: 'tmpfs', sizeLimit: '2Gi' },
    says: ['PermissionDenied', '2147483648 bytes', 'allows 1073741824', 'ask for less'],
  },
  {
    name: 'refused-key',
    inline: false,
    attributes: { type: 'overlay', lowerDir: '/srv' },
    says: ['InvalidArgument', 'lowerDir: no such key', 'did you mean lowerdir?'],
  },
  {
    name: 'refused-ro',
    inline: false,
    attributes: { source: '/srv', options: 'ro' },
    says: ['InvalidArgument', 'options: ro on a bind', 'set readOnly: true'],
  },
  {
    name: 'refused-kubelet',
    inline: false,
    attributes: { source: '/var/lib/kubelet/pods' },
    says: ['PermissionDenied', 'source /var/lib/kubelet/pods', 'never shown', 'name a directory beside it'],
  },
  {
    name: 'refused-missing',
    inline: false,
    attributes: { source: '/srv/is-not-there' },
    says: ['source /srv/is-not-there', 'does not exist'],
  },
];

const containers = [{ name: 'main', script: 'sleep 600' }];

describe('what the driver refuses on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this);
  });
  after(async () => {
    await untilNothingIsHeld();
    removeDataSets();
  });

  it('is told in the Events of the pod, which does not start: field, value, and what to do', async () => {
    await using stack = new AsyncDisposableStack();
    await running(
      stack,
      ...ROWS.flatMap(({ name, inline, attributes }) =>
        inline
          ? [pod({ name, inline: attributes, containers })]
          : [...volume(name, attributes), pod({ name, containers })],
      ),
    );
    for (const { name, says } of ROWS) {
      const failed = (text: string) =>
        text.split('\n').find((line) => /FailedMount.*rpc error: code = (?!Unavailable)/.test(line));
      await until(
        `${name} is told`,
        async () => failed(await kubectl('describe', 'pod', name)) !== undefined,
      );
      const event = failed(await kubectl('describe', 'pod', name));
      for (const words of says) expect(event, name).to.contain(words);
    }
  });

  it('an fsGroup that cannot write where it is shown is an Event of the pod, which starts', async () => {
    await using stack = new AsyncDisposableStack();
    const base = dataSet('told-group')('base');
    chownSync(base, 0, 33);
    chmodSync(base, 0o755);
    const spec = { name: 'told-group', fsGroup: 2000, runAsUser: 1000, containers };
    await running(stack, ...volume('told-group', { source: base }), pod(spec));
    await untilRunning('told-group');
    const isTold = (event: string) =>
      /^FsGroupCannotWrite: .*mode 755: fsGroup 2000 cannot write there; chgrp and chmod g\+w/.test(event);
    await until('it is told', async () => (await eventsOf('told-group')).some(isTold));
  });
});

describe('the ValidatingAdmissionPolicy on a real node', function () {
  this.timeout('5m');
  before(async function () {
    await needChart(this, { admissionPolicy: { enabled: true } });
    // The API server compiles it when it gets to it.
    await until(
      'it is in force',
      async () => (await refusalOf(inline('admission-probe', ROWS[0]))) !== undefined,
    );
  });

  for (const row of ROWS.filter(({ inline }) => inline)) {
    it(`${row.name}: refuses to make the pod`, async () => {
      expect(await refusalOf(inline(row.name, row))).to.match(
        /denied request: the policy of "?idmap\.csi\.dev"? has no rule that allows the inline volume v to namespace default, service account default; what it allows is in the ConfigMap csi-driver-idmap\//,
      );
    });
  }

  it('lets pods pass whose volumes the driver gives, and those of other drivers', async () => {
    await using stack = new AsyncDisposableStack();
    const allowed = { type: 'tmpfs', sizeLimit: '8Mi' };
    const [main] = [{ name: 'main', script: 'echo started' }];
    await running(stack, pod({ name: 'admitted', inline: allowed, containers: [main] }));
    expect(await outputOf('admitted')).to.deep.equal(['started']);
    const other = JSON.stringify(inline('admitted-other', ROWS[0])).replaceAll(
      'idmap.csi.dev',
      'other.csi.dev',
    );
    expect(await refusalOf(JSON.parse(other))).to.equal(undefined);
  });
});

const inline = (name: string, row: Row | undefined): KubernetesObject =>
  pod({ name, inline: row?.attributes ?? {}, containers });

/** Why the API server does not take it; it is not made. */
const refusalOf = (object: KubernetesObject): Promise<string | undefined> =>
  kubectlWith([object], 'create', '--dry-run=server').then(
    () => undefined,
    (error: Error) => error.message,
  );
