// The Registration service: what kubelet asks of a plugin whose socket it has found, and what it tells it then.
import type { RegistrationService } from '../rpc/generated/pluginregistration.ts';
import type { Handlers } from '../rpc/service.ts';

export interface RegistrationAnswers {
  readonly driverName: string;
  /** The CSI socket as kubelet finds it: a path on the host. */
  readonly endpoint: string;
  readonly onRegistered: () => void;
  /** Kubelet does not try again with this socket. */
  readonly onRefused: (why: string) => void;
}

/** Kubelet takes the highest it knows, and knows those that begin with 1: CSI's own version is found out by calls. */
const CSI_VERSIONS = ['1.0.0'];

export function registrationHandlers({
  driverName,
  endpoint,
  onRegistered,
  onRefused,
}: RegistrationAnswers): Handlers<typeof RegistrationService> {
  return {
    getInfo: async () => ({
      type: 'CSIPlugin',
      name: driverName,
      endpoint,
      supportedVersions: [...CSI_VERSIONS],
    }),
    notifyRegistrationStatus: async ({ pluginRegistered, error }) => {
      if (pluginRegistered) onRegistered();
      else onRefused(error || 'kubelet does not say why');
      return {};
    },
  };
}
