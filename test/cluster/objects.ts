// Objects of the cluster as people write them: a volume with its claim, and pods that have it.

import { DRIVER_NAME } from './chart.ts';
import { IMAGE, type KubernetesObject } from './cluster.ts';
import { NODE } from './where.ts';

export type Attributes = Readonly<Record<string, string>>;

export interface VolumeMount {
  readonly mountPath: string;
  readonly subPath?: string;
  readonly readOnly?: boolean;
  readonly mountPropagation?: string;
}

export interface ContainerOfPod {
  readonly name: string;
  /** What busybox's shell runs. */
  readonly script: string;
  /** Of the one volume; `/v` alone by default. */
  readonly mounts?: readonly VolumeMount[];
}

export interface PodObject {
  readonly name: string;
  /** The claim that has the same name by default. */
  readonly claim?: string;
  /** Written into the pod, in place of a claim. */
  readonly inline?: Attributes;
  /** As the claim says it. */
  readonly readOnly?: boolean;
  /** Where its containers have a block volume. */
  readonly block?: string;
  readonly hostUsers?: boolean;
  readonly fsGroup?: number;
  readonly runAsUser?: number;
  /** Brought to the node by the scheduler, which asks for taints; else it is there at once. */
  readonly isScheduled?: boolean;
  readonly restartPolicy?: 'Always' | 'OnFailure' | 'Never';
  readonly init?: readonly ContainerOfPod[];
  readonly containers: readonly ContainerOfPod[];
}

export interface VolumeObject {
  readonly accessMode?: 'ReadWriteMany' | 'ReadWriteOnce' | 'ReadOnlyMany' | 'ReadWriteOncePod';
  readonly block?: boolean;
  readonly capacity?: string;
  readonly storageClassName?: string;
}

/** A PersistentVolume and the claim that has it, both of this name. */
export function volume(
  name: string,
  volumeAttributes: Attributes,
  { accessMode = 'ReadWriteMany', block = false, capacity = '1Gi', storageClassName = '' }: VolumeObject = {},
): KubernetesObject[] {
  const storage = { storage: capacity };
  const volumeMode = block ? 'Block' : 'Filesystem';
  const common = { accessModes: [accessMode], storageClassName, volumeMode };
  return [
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        ...common,
        capacity: storage,
        persistentVolumeReclaimPolicy: 'Retain',
        claimRef: { name, namespace: 'default' },
        csi: { driver: DRIVER_NAME, volumeHandle: name, volumeAttributes },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name },
      spec: { ...common, volumeName: name, resources: { requests: storage } },
    },
  ];
}

export function pod({
  name,
  claim = name,
  inline,
  readOnly = false,
  block,
  ...spec
}: PodObject): KubernetesObject {
  const {
    hostUsers = true,
    isScheduled = false,
    fsGroup,
    runAsUser,
    restartPolicy = 'Never',
    init = [],
    containers,
  } = spec;
  const source = inline
    ? { csi: { driver: DRIVER_NAME, volumeAttributes: inline } }
    : { persistentVolumeClaim: { claimName: claim, readOnly } };
  const container = containerWith(block);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      ...(!isScheduled && { nodeName: NODE }),
      ...{ hostUsers, restartPolicy, dnsPolicy: 'Default', terminationGracePeriodSeconds: 0 },
      enableServiceLinks: false,
      automountServiceAccountToken: false,
      securityContext: {
        ...(fsGroup !== undefined && { fsGroup }),
        ...(runAsUser !== undefined && { runAsUser }),
      },
      volumes: [{ name: 'v', ...source }],
      initContainers: init.map(container),
      containers: containers.map(container),
    },
  };
}

const containerWith =
  (block: string | undefined) =>
  ({ name, script, mounts = [{ mountPath: '/v' }] }: ContainerOfPod) => ({
    ...{ name, image: IMAGE, imagePullPolicy: 'Never', command: ['sh', '-c', script] },
    ...(block
      ? { volumeDevices: [{ name: 'v', devicePath: block }] }
      : { volumeMounts: mounts.map((mount) => ({ name: 'v', ...mount })) }),
  });
