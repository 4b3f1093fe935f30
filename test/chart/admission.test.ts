// The policy as the API server has it: a ValidatingAdmissionPolicy made from the chart's values, decided by the API server's
// own code. Beside it stands what the driver decides of the same volumes by the same policy.
//
//   the driver allows      the API server must, too
//   the driver refuses     the API server should, where CEL can see why; `late` rows say where it cannot
import { expect } from 'chai';
import { authorize } from '../../src/policy/authorize.ts';
import { readPolicy } from '../../src/policy/read.ts';
import { readVolumeContext } from '../../src/volume/context.ts';
import { apiServer, type Question, type Said } from './api-server.ts';
import { type Helm, helm, type KubernetesObject } from './helm.ts';

type Attributes = Readonly<Record<string, string>>;

interface Row {
  readonly is: 'allowed' | 'refused' | 'late';
  readonly attributes: Attributes;
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly readOnly?: true;
  /** Of the volume itself, which counts where its attributes have none. */
  readonly fsType?: string;
}

const OWN = '/var/lib/csi-driver-idmap/volumes/team-a';

const BUILT_IN: readonly Row[] = [
  { is: 'allowed', attributes: { type: 'tmpfs' } },
  { is: 'allowed', attributes: { type: 'tmpfs', sizeLimit: '1Gi', options: 'mode=1777' } },
  { is: 'allowed', attributes: { type: 'overlay', lowerdir: OWN } },
  { is: 'allowed', attributes: { type: 'overlay', lowerdir: `${OWN}/b:${OWN}/a`, writable: 'ephemeral' } },
  {
    is: 'allowed',
    attributes: { type: 'overlay', lowerdir: `//var/./lib/csi-driver-idmap/volumes/team-a/x/` },
  },
  { is: 'refused', attributes: { type: 'tmpfs', sizeLimit: '1025Mi' } },
  { is: 'refused', attributes: { type: 'tmpfs', sizeLimit: '2e9' } },
  { is: 'refused', attributes: { source: OWN } },
  { is: 'refused', attributes: { type: 'bind', source: OWN }, readOnly: true },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: '/etc' } },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: `${OWN}/a:/etc` } },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: `${OWN}/../team-b` } },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: `${OWN}-more` } },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: OWN }, namespace: 'team-b' },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: `${OWN}::${OWN}/data` } },
  {
    is: 'refused',
    attributes: { type: 'overlay', lowerdir: OWN, upperdir: `${OWN}/up`, workdir: `${OWN}/work` },
  },
  { is: 'refused', attributes: { type: 'image', source: `${OWN}/x.img`, fsType: 'squashfs' } },
  { is: 'refused', attributes: { type: 'ext4', source: '/dev/sda' } },
  { is: 'refused', attributes: { type: 'fuse.sshfs', source: 'a@b:/' } },
  { is: 'refused', attributes: { type: 'nfs', source: 'server:/x' } },
  { is: 'refused', attributes: { type: 'tmpfs', owner: '0' } },
  { is: 'refused', attributes: { type: 'tmpfs', uidmap: '0:0:1', gidmap: '0:0:1' } },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: OWN, idmap: 'pod' } },
  // What CEL does not look into.
  { is: 'late', attributes: { type: 'tmpfs', options: 'suid' } },
  { is: 'late', attributes: { mounts: '[{"source":"/etc"}]' } },
  { is: 'late', attributes: { type: 'overlay', lowerdir: '/etc/a\\:b' } },
];

const BUILDS = [
  {
    name: 'builds',
    class: 'inline',
    namespaces: ['team-*'],
    serviceAccounts: ['builder', 'team-b/*'],
    types: ['*', 'fuse.*'],
    fsTypes: ['ext4', 'erofs'],
    roots: [{ path: `/srv/builds/\${serviceAccount}`, access: 'read-write' }, { path: '/mnt/pub.lic' }],
    writable: [false, 'persistent'],
    readOnlyViewsOnly: false,
    devices: true,
    mkfs: true,
    size: { max: 1073741824 },
    idmap: { kinds: ['explicit', 'pod'] },
    sources: { nfs: ['files:/.*'] },
    helpers: { bindfs: {}, 'a.b+c': {} },
  },
  { class: 'inline', namespaces: ['other'], types: ['tmpfs'] },
  {
    class: 'persistent',
    types: ['*'],
    fsTypes: ['*'],
    sources: {},
    roots: [{ path: '/', access: 'read-write' }],
  },
];

const HOME = '/srv/builds/builder';

const MANY: readonly Row[] = [
  { is: 'allowed', attributes: { source: `${HOME}/x` } },
  { is: 'allowed', attributes: { source: '/mnt/pub.lic/x' }, readOnly: true },
  { is: 'allowed', attributes: { type: 'fuse.bindfs', source: HOME } },
  { is: 'allowed', attributes: { type: 'fuse3.a.b+c', source: HOME } },
  { is: 'allowed', attributes: { type: 'nfs', source: 'files:/x' } },
  { is: 'allowed', attributes: { type: 'ext4', source: '/dev/disk/by-id/x' } },
  {
    is: 'allowed',
    attributes: { type: 'image', source: `${HOME}/i`, fsType: 'ext4', mkfs: 'true', size: '1Gi' },
  },
  { is: 'allowed', attributes: { type: 'image', source: `${HOME}/i`, mkfs: 'true', size: '1Gi' } },
  { is: 'allowed', attributes: { type: 'image', source: `${HOME}/i` }, fsType: 'ext4' },
  { is: 'refused', attributes: { type: 'image', source: `${HOME}/i` }, fsType: 'xfs' },
  { is: 'allowed', attributes: { type: 'image', source: '/mnt/pub.lic/i', fsType: 'erofs' } },
  {
    is: 'allowed',
    attributes: { type: 'overlay', lowerdir: '/mnt/pub.lic', upperdir: `${HOME}/u`, workdir: `${HOME}/w` },
  },
  { is: 'allowed', attributes: { source: HOME, uidmap: '0:1000:1', gidmap: '0:1000:1' } },
  {
    is: 'allowed',
    attributes: { source: '/srv/builds/any.one' },
    namespace: 'team-b',
    serviceAccount: 'any.one',
  },
  { is: 'allowed', attributes: { type: 'tmpfs' }, namespace: 'other' },
  { is: 'refused', attributes: { source: '/mnt/pubxlic/x' }, readOnly: true },
  { is: 'refused', attributes: { source: '/mnt/pub.lic/x' } },
  {
    is: 'refused',
    attributes: { source: '/srv/builds/anyxone' },
    namespace: 'team-b',
    serviceAccount: 'any.one',
  },
  { is: 'refused', attributes: { source: HOME }, serviceAccount: 'other' },
  { is: 'refused', attributes: { source: HOME }, namespace: 'other' },
  { is: 'refused', attributes: { type: 'fuse.sshfs', source: HOME } },
  { is: 'refused', attributes: { type: 'fuse.axb+c', source: HOME } },
  { is: 'refused', attributes: { type: 'image', source: `${HOME}/i`, fsType: 'xfs' } },
  { is: 'refused', attributes: { type: 'image', source: `${HOME}/i` } },
  {
    is: 'refused',
    attributes: { type: 'image', source: `${HOME}/i`, fsType: 'ext4', mkfs: 'true', size: '2Gi' },
  },
  { is: 'refused', attributes: { type: 'image', source: '/mnt/pub.lic/i', fsType: 'ext4' } },
  { is: 'refused', attributes: { type: 'overlay', lowerdir: HOME, writable: 'ephemeral' } },
  {
    is: 'refused',
    attributes: { type: 'overlay', lowerdir: HOME, upperdir: '/mnt/pub.lic/u', workdir: '/mnt/pub.lic/w' },
  },
  { is: 'refused', attributes: { source: HOME, owner: '1' } },
  { is: 'late', attributes: { type: 'nfs', source: 'evil:/x' } },
];

/** What comes from elsewhere is shown as it is: nothing of the node could be written. */
const REMOTE = [
  {
    class: 'inline',
    types: ['nfs', 'fuse.*', 'image', 'bind'],
    fsTypes: ['ext4'],
    roots: [{ path: '/srv', access: 'read-write' }],
    sources: { nfs: ['files:/.*'] },
    helpers: { sshfs: { sources: ['user@host:/.*'] } },
  },
];

const FROM_ELSEWHERE: readonly Row[] = [
  { is: 'allowed', attributes: { type: 'nfs', source: 'files:/x' } },
  { is: 'allowed', attributes: { type: 'fuse.sshfs', source: 'user@host:/x' } },
  { is: 'allowed', attributes: { type: 'image', source: '/srv/i', options: 'ro' }, fsType: 'ext4' },
  { is: 'refused', attributes: { type: 'image', source: '/srv/i' }, fsType: 'ext4' },
  { is: 'refused', attributes: { type: 'fuse.sshfs', source: '/srv/x' } },
  { is: 'refused', attributes: { source: '/srv/x' } },
];

const nameOf = ({ attributes, namespace, serviceAccount, readOnly, fsType }: Row): string =>
  [JSON.stringify(attributes), namespace, serviceAccount, readOnly && 'readOnly', fsType]
    .filter(Boolean)
    .join(' ');

function podOf({ attributes, namespace = 'team-a', serviceAccount = 'builder', readOnly, fsType }: Row) {
  const csi = {
    ...{ driver: 'idmap.csi.dev', volumeAttributes: attributes },
    ...(readOnly && { readOnly }),
    ...(fsType && { fsType }),
  };
  return {
    metadata: { name: 'pod', namespace },
    spec: {
      serviceAccountName: serviceAccount,
      containers: [{ name: 'main', image: 'x' }],
      volumes: [
        { name: 'other', emptyDir: {} },
        { name: 'v', csi },
      ],
    },
  };
}

/** What the driver says when the pod starts. */
function driverAllows(policyText: string, row: Row): boolean {
  const { attributes, namespace = 'team-a', serviceAccount = 'builder', readOnly = false, fsType } = row;
  try {
    const context = {
      ...attributes,
      'csi.storage.k8s.io/ephemeral': 'true',
      'csi.storage.k8s.io/pod.name': 'pod',
      'csi.storage.k8s.io/pod.uid': 'uid',
      'csi.storage.k8s.io/pod.namespace': namespace,
      'csi.storage.k8s.io/serviceAccount.name': serviceAccount,
    };
    const volume = readVolumeContext(context, { ...(fsType && { fsType }) });
    authorize(readPolicy(policyText), volume, {
      volumesOfNamespace: 0,
      forbidden: ['/var/lib/kubelet'],
      readOnly,
    });
    return true;
  } catch {
    return false;
  }
}

describe('the admission policy of the chart', () => {
  let chart: Helm;
  let ask: (question: Question) => Promise<Said>;

  before(async function () {
    chart = await helm(this);
    ask = await apiServer(this);
  });

  const render = async (rules: unknown) => {
    const policy = rules === undefined ? {} : { policy: { version: 1, rules } };
    const volumeRoots = ['/var/lib/csi-driver-idmap/volumes', '/srv', '/mnt/pub.lic'].map((path) => ({
      path,
    }));
    const objects = await chart.render({ admissionPolicy: { enabled: true }, volumeRoots, ...policy });
    const of = (kind: string): KubernetesObject | undefined => objects.find((one) => one.kind === kind);
    const [map] = objects.filter(({ data }) => data?.['policy.yaml'] !== undefined);
    return { policy: of('ValidatingAdmissionPolicy'), text: map?.data['policy.yaml'] as string };
  };

  const policies: readonly (readonly [string, unknown, readonly Row[]])[] = [
    ['the built-in policy', undefined, BUILT_IN],
    ['a policy of several rules', BUILDS, MANY],
    ['a policy of sources elsewhere', REMOTE, FROM_ELSEWHERE],
    [
      'a policy without rules',
      [],
      BUILT_IN.filter(({ is }) => is !== 'late').map((row) => ({ ...row, is: 'refused' })),
    ],
  ];
  for (const [title, rules, rows] of policies) {
    describe(`of ${title}`, () => {
      let said: Said;
      let text: string;
      before(async function () {
        this.timeout('5m');
        const { policy, text: policyText } = await render(rules);
        text = policyText;
        said = await ask({ policy, pods: rows.map(podOf) });
      });

      it('compiles, for the oldest and the newest Kubernetes', () => {
        expect(said.uncompiled).to.deep.equal([]);
      });

      for (const [i, row] of rows.entries()) {
        it(`${row.is}: ${nameOf(row)}`, () => {
          expect(driverAllows(text, row), 'the driver').to.equal(row.is === 'allowed');
          const why = said.decisions[i];
          if (row.is === 'refused') expect(why).to.include('has no rule that allows the inline volume v');
          else expect(why).to.equal('');
        });
      }
    });
  }

  it('does not look at pods without volumes of the driver', async () => {
    const { policy } = await render([]);
    const other = { ...podOf({ is: 'allowed', attributes: {} }) };
    const csi = { driver: 'another.csi.dev', volumeAttributes: {} };
    const pods = [
      { ...other, spec: { ...other.spec, volumes: [{ name: 'v', csi }] } },
      { ...other, spec: { containers: other.spec.containers } },
    ];
    expect((await ask({ policy, pods })).decisions).to.deep.equal(['', '']);
  });
});
