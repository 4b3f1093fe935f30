// Which API server there is to ask, if any, from the environment alone: nothing is loaded or opened for it.
//
//   KUBECONFIG set            that file, or several separated by `:`; for who runs the driver outside of a pod
//   in a pod                  KUBERNETES_SERVICE_HOST and _PORT, and the service account's token
//   neither                   none: the driver works without, and says what it then cannot know
import { existsSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import path from 'node:path';

export type ApiAccess =
  | { readonly is: 'kubeconfig'; readonly files: readonly string[] }
  | {
      readonly is: 'in-cluster';
      readonly server: string;
      readonly tokenFile: string;
      readonly caFile: string;
    }
  | { readonly is: 'none'; readonly because: string };

export type UsableAccess = Exclude<ApiAccess, { is: 'none' }>;

export interface AccessOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where kubelet projects the service account's token and the CA. */
  readonly serviceAccountDir?: string;
}

export function findAccess({
  environment,
  serviceAccountDir = '/var/run/secrets/kubernetes.io/serviceaccount',
}: AccessOptions): ApiAccess {
  const files = (environment.KUBECONFIG ?? '').split(path.delimiter).filter(Boolean);
  if (files.length > 0) return { is: 'kubeconfig', files };
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  if (!host || !port) {
    return { is: 'none', because: 'neither KUBECONFIG nor KUBERNETES_SERVICE_HOST and _PORT are set' };
  }
  const tokenFile = path.join(serviceAccountDir, 'token');
  if (!existsSync(tokenFile)) {
    const because = `there is no ${tokenFile}; set automountServiceAccountToken: true for the driver's pod`;
    return { is: 'none', because };
  }
  return {
    is: 'in-cluster',
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    tokenFile,
    caFile: path.join(serviceAccountDir, 'ca.crt'),
  };
}
