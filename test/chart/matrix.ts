// Values that the chart is rendered with: each row changes what others leave alone, and the last ones all of it.
import type { RenderOptions, Values } from './helm.ts';

export interface Row {
  readonly title: string;
  readonly values: Values;
  readonly options?: RenderOptions;
}

const everything = {
  imagePullSecrets: [{ name: 'registry' }],
  image: { repository: 'registry.example.com/storage/idmap', digest: `sha256:${'a'.repeat(64)}` },
  kubeletDir: '/data/kubelet',
  driverName: 'idmap.example.com',
  volumeRoots: [
    { path: '/mnt/models', readOnly: true },
    { path: '/srv/team-data', mountPropagation: 'None' },
  ],
  policy: {
    version: 1,
    rules: [{ class: 'inline', types: ['tmpfs', 'overlay'], roots: [{ path: `/mnt/models/\${namespace}` }] }],
  },
  admissionPolicy: { enabled: true, validationActions: ['Warn', 'Audit'], failurePolicy: 'Ignore' },
  csiDriver: { openshiftInlineProfile: 'restricted', labels: { a: 'b' }, annotations: { c: 'd' } },
  registration: { mode: 'sidecar', sidecar: { resources: { limits: { memory: '32Mi' } } } },
  startupTaint: { enabled: true },
  maxVolumes: 100,
  disableKernelFeatures: ['open-tree-attr', 'statmount'],
  log: { level: 'debug', format: 'text' },
  metrics: {
    port: 9999,
    serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
    prometheusRule: { enabled: true, labels: { release: 'prometheus' } },
    dashboard: { enabled: true },
  },
  networkPolicy: { enabled: true, from: [{ namespaceSelector: { matchLabels: { name: 'monitoring' } } }] },
  serviceAccount: { annotations: { e: 'f' } },
  podAnnotations: { g: 'h' },
  podLabels: { i: 'j' },
  hostNetwork: true,
  hostPID: true,
  extraEnv: [{ name: 'KUBECONFIG', value: '/x' }],
  extraArgs: ['--log-level=warn'],
  extraVolumes: [{ name: 'more', hostPath: { path: '/more' } }],
  extraVolumeMounts: [{ name: 'more', mountPath: '/more', mountPropagation: 'HostToContainer' }],
};

export const MATRIX: readonly Row[] = [
  { title: 'the defaults', values: {} },
  { title: 'the oldest Kubernetes', values: {}, options: { kubeVersion: '1.26.0' } },
  {
    title: 'a Kubernetes with a vendor in its version',
    values: {},
    options: { kubeVersion: '1.33.4-eks-1f2a' },
  },
  { title: 'an image by tag', values: { image: { repository: 'r/i', tag: 'v1', pullPolicy: 'Always' } } },
  { title: 'no inline volumes', values: { csiDriver: { inline: false } } },
  { title: 'fsGroup by kubelet', values: { fsgroup: 'kubelet' } },
  { title: 'nested volumes', values: { userNamespaces: 'nested' } },
  { title: 'NRI elsewhere', values: { userNamespaces: 'nri', nri: { socketDir: '/run/other/nri' } } },
  { title: 'FUSE helpers in the driver', values: { fuse: { mode: 'inline' }, hostPID: true } },
  {
    title: 'FUSE helpers held to a limit',
    values: { fuse: { host: { helperMemory: '512Mi', resources: { requests: { memory: '64Mi' } } } } },
  },
  {
    title: 'FUSE helpers held to a number of bytes',
    values: { fuse: { host: { helperMemory: 536870912 } } },
  },
  {
    title: 'a root for each namespace, each shown by itself',
    values: {
      volumeRoots: [{ path: '/srv/team-a' }, { path: '/srv/team-b' }],
      policy: {
        version: 1,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of the policy.
        rules: [{ class: 'inline', types: ['overlay'], roots: [{ path: '/srv/${namespace}' }] }],
      },
    },
  },
  { title: 'a registrar', values: { registration: { mode: 'sidecar' } } },
  { title: 'the startup taint', values: { startupTaint: { enabled: true } } },
  { title: 'the network of the node', values: { hostNetwork: true } },
  { title: 'a PodMonitor', values: { metrics: { podMonitor: { enabled: true } } } },
  { title: 'a ServiceMonitor', values: { metrics: { serviceMonitor: { enabled: true } } } },
  { title: 'alerts', values: { metrics: { prometheusRule: { enabled: true } } } },
  { title: 'the dashboard', values: { metrics: { dashboard: { enabled: true } } } },
  { title: 'a NetworkPolicy', values: { networkPolicy: { enabled: true } } },
  { title: 'the admission policy', values: { admissionPolicy: { enabled: true } } },
  {
    title: 'the admission policy of a policy without inline rules',
    values: { admissionPolicy: { enabled: true }, policy: { version: 1, rules: [] } },
  },
  {
    title: 'no rights',
    values: { rbac: { create: false }, serviceAccount: { create: false, name: 'mine' } },
  },
  { title: 'updates by hand', values: { updateStrategy: { type: 'OnDelete' } } },
  { title: 'little of everything', values: { resources: null, tolerations: [], affinity: null } },
  {
    title: 'long names',
    values: { driverName: `${'a'.repeat(40)}.example` },
    options: { release: 'a-release-with-a-name-as-long-as-helm-allows-for-it', namespace: 'n'.repeat(63) },
  },
  { title: 'everything', values: everything },
];

/** What the chart refuses, and how. */
export const REFUSED: readonly (Row & { readonly message: RegExp })[] = [
  { title: 'a misspelt key', values: { kubeletdir: '/x' }, message: /kubeletdir/ },
  { title: 'a misspelt key further in', values: { metrics: { prt: 1 } }, message: /prt/ },
  { title: 'a word that is none of those', values: { fsgroup: 'none' }, message: /fsgroup/ },
  { title: 'text for a number', values: { maxVolumes: 'many' }, message: /maxVolumes/ },
  { title: 'a number for a word', values: { log: { level: 3 } }, message: /level/ },
  { title: 'a digest that is none', values: { image: { digest: 'latest' } }, message: /digest/ },
  { title: 'a relative directory', values: { kubeletDir: 'var/lib/kubelet' }, message: /kubeletDir/ },
  { title: 'a root that is text', values: { volumeRoots: ['/srv'] }, message: /volumeRoots/ },
  { title: 'a driver name that is none', values: { driverName: 'Idmap_CSI' }, message: /driverName/ },
  {
    title: 'a misspelt key of the policy',
    values: { policy: { version: 1, rules: [{ class: 'inline', typs: ['tmpfs'] }] } },
    message: /typs/,
  },
  {
    title: 'a class of the policy that is none',
    values: { policy: { version: 1, rules: [{ class: 'ephemeral', types: ['tmpfs'] }] } },
    message: /class/,
  },
  {
    title: 'an old Kubernetes',
    values: {},
    options: { kubeVersion: '1.25.16' },
    message: /incompatible with Kubernetes/,
  },
  {
    title: 'an admission policy before there were any',
    values: { admissionPolicy: { enabled: true } },
    options: { kubeVersion: '1.29.9' },
    message: /needs Kubernetes 1\.30/,
  },
  {
    title: 'two monitors',
    values: { metrics: { podMonitor: { enabled: true }, serviceMonitor: { enabled: true } } },
    message: /Enable one of the two/,
  },
  {
    title: 'a driver without privileges',
    values: { securityContext: { privileged: false } },
    message: /in privileged containers only/,
  },
  {
    title: 'a fuse-host that is killed while it waits',
    values: { fuse: { host: { grace: 60 } } },
    message: /must be more than fuse\.host\.grace/,
  },
  {
    title: 'a root that hides the driver',
    values: { volumeRoots: [{ path: '/usr' }] },
    message: /would hide/,
  },
  {
    title: 'a root that hides the programs',
    values: { volumeRoots: [{ path: '/usr/local' }] },
    message: /would hide/,
  },
  {
    title: "a root in kubelet's directory",
    values: { volumeRoots: [{ path: '/var/lib/kubelet/pods' }] },
    message: /lie within one another/,
  },
  {
    title: 'a policy with a root that the driver does not see',
    values: {
      policy: { version: 1, rules: [{ class: 'persistent', types: ['bind'], roots: [{ path: '/mnt/x' }] }] },
    },
    message: /rules\[0\]\.roots\[0\]\.path \/mnt\/x: the driver does not see it\. Add it to volumeRoots/,
  },
  {
    title: 'a mount point that is one whatever the node has',
    values: {
      volumeRoots: [{ path: '/mnt/disk' }],
      policy: {
        version: 1,
        rules: [
          { class: 'persistent', types: ['bind'], roots: [{ path: '/mnt/disk', requireMountpoint: true }] },
        ],
      },
    },
    message: /requireMountpoint would always hold/,
  },
  {
    title: 'a path of a socket that is too long',
    values: { kubeletDir: `/${'d'.repeat(90)}` },
    message: /107 bytes/,
  },
  {
    title: 'a service account without a name',
    values: { serviceAccount: { create: false } },
    message: /serviceAccount\.name is needed/,
  },
];
