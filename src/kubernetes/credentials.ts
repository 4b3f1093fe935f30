// How the API server is reached and who we are to it, kept for a minute. What knows how is loaded when it is first
// needed, for it is the dearest thing that the driver loads.
//
// Measured on Node 24, what it adds to the driver's 72 MB of resident memory, and how long it takes:
//   from node_modules (development)                 63 MB, 1.2 s: all of it, whatever is imported
//   in a bundle, all of it                          31 MB, 0.3 s
//   in a bundle, what is used (scripts/bundle.ts)    9 MB, 0.1 s: undici above all
import type { KubeConfig } from '@kubernetes/client-node';
import type { UsableAccess } from './access.ts';

/** Tokens and CAs rotate, files are edited: what was read is believed for this long. */
const BELIEVED_MS = 60_000;

/** Gives a function that rejects for files that cannot be read. */
export function credentials(access: UsableAccess): () => Promise<KubeConfig> {
  let read: { readonly config: KubeConfig; readonly at: number } | undefined;
  return async () => {
    const { readKubeConfig } = await import('./kubeconfig.ts');
    if (read === undefined || performance.now() - read.at > BELIEVED_MS) {
      read = { config: readKubeConfig(access), at: performance.now() };
    }
    return read.config;
  };
}
