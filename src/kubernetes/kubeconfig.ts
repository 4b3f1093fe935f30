// Reads a kubeconfig, or what a pod is given in its place, by @kubernetes/client-node: its KubeConfig knows projected
// tokens, client certificates, exec plugins and proxies. Nothing else of that library is used: its API classes drag in
// every type of Kubernetes, and our requests are three.
//
// To be imported by `import()` alone: credentials.ts says what it costs.
import { KubeConfig } from '@kubernetes/client-node';
import type { UsableAccess } from './access.ts';

/** @throws Error for a file that cannot be read */
export function readKubeConfig(access: UsableAccess): KubeConfig {
  const config = new KubeConfig();
  if (access.is === 'in-cluster') {
    const { server, caFile, tokenFile } = access;
    config.loadFromClusterAndUser(
      { name: 'cluster', server, caFile, skipTLSVerify: false },
      { name: 'driver', authProvider: { name: 'tokenFile', config: { tokenFile } } },
    );
    return config;
  }
  const [first = '', ...more] = access.files;
  config.loadFromFile(first);
  for (const file of more) {
    const other = new KubeConfig();
    other.loadFromFile(file);
    config.mergeConfig(other, true);
  }
  return config;
}
