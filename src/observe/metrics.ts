// What the driver counts: one table, from which docs/metrics.md is made, and the interface by which other rooms
// count. A new metric is a row here and a call there; names and labels are checked by the compiler.
//
// Labels have few values, never a volume, a pod or a path: each combination is kept until the driver ends.

interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Name -> what it tells. */
  readonly labels: Readonly<Record<string, string>>;
  /** Of a histogram: upper bounds. */
  readonly buckets?: readonly number[];
}

export const METRICS = {
  csi_idmap_operations_seconds: {
    type: 'histogram',
    help: 'Duration of the calls of kubelet',
    labels: {
      method: 'path of the RPC, `/csi.v1.Node/NodePublishVolume`',
      grpc_status_code: 'as in the log: `OK`, `INVALID_ARGUMENT`',
    },
    // A bind takes milliseconds; kubelet gives up after two minutes.
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120],
  },
  csi_idmap_mounts: {
    type: 'gauge',
    help: 'Volumes that the driver has mounted, or was about to, by its records',
    labels: {
      kind: '`stage`: once on the node; `publish`: for a pod',
      state:
        "`done`; `waiting` for the pod's ID mapping; `intended` while a call is under way and after one that could not be undone",
    },
  },
  csi_idmap_loop_devices: {
    type: 'gauge',
    help: 'Loop devices of this node that have a file, as the kernel has them',
    labels: {
      owner:
        "`driver`: for an image that its records name, or a writable layer of its own; `other`: somebody else's",
    },
  },
  csi_idmap_userns_fds: {
    type: 'gauge',
    help: 'User namespaces that are kept open for ID mappings that come again, each a file descriptor',
    labels: {},
  },
  csi_idmap_recovered_records_total: {
    type: 'counter',
    help: 'Records of an earlier driver that were not simply true when this one started',
    labels: {
      outcome:
        '`undone`; `resumed` to wait for the pod; `removed` when the pod is gone; `failed` to be undone; `later` when a later version wrote it; `set-aside` when it could not be read',
    },
  },
  csi_idmap_user_namespace_publish_total: {
    type: 'counter',
    help: 'Volumes published for pods with a user namespace of their own',
    labels: { path: 'how the pod gets its owners: `plain` (by the runtime), `nri`, `nested`' },
  },
  csi_idmap_nri_registered: {
    type: 'gauge',
    help: 'Whether the container runtime calls the driver as an NRI plugin: 1 or 0; absent with --user-namespaces nested',
    labels: {},
  },
  csi_idmap_nri_requests_total: {
    type: 'counter',
    help: 'Sandboxes and containers about which the container runtime asked the driver, or told it when it registered, of pods with a volume that waits for that',
    labels: {
      request:
        '`RunPodSandbox`, `CreateContainer`; `Synchronize`: of a pod that was there when the driver registered',
      outcome:
        '`served`, or `failed`: the runtime was told not to go on, and kubelet tries again; with `Synchronize` there is nothing to hold up, and the volume waits on',
    },
  },
  csi_idmap_userns_record_waits_total: {
    type: 'counter',
    help: "Waits for kubelet's record of a pod's user namespace",
    labels: { outcome: '`completed`, `unpublished` when the pod went first, `failed`: it is tried again' },
  },
  csi_idmap_fuse_volumes: {
    type: 'gauge',
    help: 'FUSE volumes, by how their servers were when they were last asked: one with several by the worst of them',
    labels: { state: '`serving`, `dead` when the server has ended, `hung` when it does not answer' },
  },
  csi_idmap_fuse_failures_total: {
    type: 'counter',
    help: 'Times that the server of a FUSE volume was found not to answer',
    labels: { what: '`dead`, `hung`' },
  },
} as const satisfies Record<`csi_idmap_${string}`, MetricRow>;

type Table = typeof METRICS;

export type MetricName<Type extends MetricRow['type']> = {
  [Name in keyof Table]: Table[Name]['type'] extends Type ? Name : never;
}[keyof Table];

export type LabelsOf<Name extends keyof Table> = Readonly<Record<keyof Table[Name]['labels'], string>>;

/** Counting never fails what is counted. */
export interface Metrics {
  count<Name extends MetricName<'counter'>>(name: Name, labels: LabelsOf<Name>, by?: number): void;
  observe<Name extends MetricName<'histogram'>>(name: Name, labels: LabelsOf<Name>, value: number): void;
  /** `read` is asked at each scrape, and must not block. */
  gauge<Name extends MetricName<'gauge'>>(
    name: Name,
    read: () => Iterable<readonly [labels: LabelsOf<Name>, value: number]>,
  ): void;
}

/** Where nobody looks at them. */
export const noMetrics: Metrics = { count() {}, observe() {}, gauge() {} };
