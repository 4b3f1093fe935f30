// Where the cluster is that `make cluster` has started (node/common.sh), and how programs find it.
import { join } from 'node:path';

export const CLUSTER_DIR = process.env.CLUSTER_DIR ?? '/var/lib/one-node-cluster';
export const KUBELET_DIR = process.env.KUBELET_DIR ?? '/var/lib/kubelet';
export const NODE = process.env.NODE_NAME ?? 'node-1';
export const KUBECONFIG = join(CLUSTER_DIR, 'run/admin.conf');
export const NRI_SOCKET = join(CLUSTER_DIR, 'run/nri/nri.sock');

/** For kubectl, helm and the scripts of node/. */
export const environment = {
  ...process.env,
  KUBECONFIG,
  PATH: `${join(CLUSTER_DIR, 'bin')}:${process.env.PATH ?? ''}`,
};
