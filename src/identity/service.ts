// The Identity service: who the plugin is, and whether it is ready.
import type { IdentityService } from '../rpc/generated/csi.ts';
import type { Handlers } from '../rpc/service.ts';

export interface Identity {
  readonly name: string;
  readonly version: string;
  /** False until the start-up checks are done. */
  readonly isReady: () => boolean;
}

export function identityHandlers({ name, version, isReady }: Identity): Handlers<typeof IdentityService> {
  return {
    getPluginInfo: async () => ({ name, vendorVersion: version, manifest: {} }),
    // A node plugin: no controller, no topology.
    getPluginCapabilities: async () => ({ capabilities: [] }),
    probe: async () => ({ ready: isReady() }),
  };
}
