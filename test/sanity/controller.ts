// The CSI Controller that csi-sanity makes its volumes with. It is of the tests alone: the plugin has no
// controller. A volume is nothing but a name, a size and a context, since everything real happens on the
// node; what CreateVolume is given as parameters becomes the volume's context.

import { createHash } from 'node:crypto';
import { createLogger } from '../../src/observe/logger.ts';
import {
  type CapacityRange,
  ControllerServiceCapability_RPC_Type as ControllerCapability,
  ControllerService,
  type CreateVolumeRequest,
  IdentityService,
  NodeService,
  PluginCapability_Service_Type as PluginService,
  type Volume,
} from '../../src/rpc/generated/csi.ts';
import { serveUnix, type UnixServer } from '../../src/rpc/server.ts';
import { type Handlers, toImplementation } from '../../src/rpc/service.ts';
import { StatusError } from '../../src/rpc/status.ts';

export interface ControllerOptions {
  readonly path: string;
  /**
   * The plugin's Node service, relayed here: a client will do. csi-sanity skips a few specs unless one endpoint
   * says that it is both, which the plugin's own never does.
   */
  readonly node: Handlers<NodeService>;
}

/** Identity with CONTROLLER_SERVICE, Controller, and the relayed Node, on one socket. */
export function serveController({ path, node }: ControllerOptions): Promise<UnixServer> {
  // Most specs ask for errors: as warnings they would only be in the way.
  const log = createLogger({ level: 'error', format: 'text' });
  return serveUnix({
    path,
    log,
    services: [
      { definition: IdentityService, implementation: toImplementation(IdentityService, identity, { log }) },
      {
        definition: ControllerService,
        implementation: toImplementation(ControllerService, controller(), { log }),
      },
      { definition: NodeService, implementation: toImplementation(NodeService, node, { log }) },
    ],
  });
}

const identity: Handlers<IdentityService> = {
  getPluginInfo: async () => ({ name: 'sanity.controller.test', vendorVersion: '0', manifest: {} }),
  getPluginCapabilities: async () => ({
    capabilities: [{ type: { $case: 'service', value: { type: PluginService.CONTROLLER_SERVICE } } }],
  }),
  probe: async () => ({ ready: true }),
};

function controller(): Handlers<ControllerService> {
  const volumes = new Map<string, Volume>();
  return {
    controllerGetCapabilities: async () => ({
      capabilities: [
        ControllerCapability.CREATE_DELETE_VOLUME,
        ControllerCapability.SINGLE_NODE_MULTI_WRITER,
      ].map((type) => ({ type: { $case: 'rpc', value: { type } } })),
    }),

    createVolume: async (request) => {
      const wanted = newVolume(request);
      const existing = volumes.get(wanted.volumeId);
      if (existing !== undefined && !isWithin(existing.capacityBytes, request.capacityRange)) {
        throw new StatusError({
          code: 'ALREADY_EXISTS',
          message: `volume '${request.name}' exists with ${existing.capacityBytes} bytes`,
        });
      }
      const volume = existing ?? wanted;
      volumes.set(volume.volumeId, volume);
      return { volume };
    },

    deleteVolume: async ({ volumeId }) => {
      demand('volume_id', volumeId !== '');
      volumes.delete(volumeId);
      return {};
    },

    validateVolumeCapabilities: async ({ volumeId, volumeCapabilities, volumeContext, parameters }) => {
      demand('volume_id', volumeId !== '');
      demand('volume_capabilities', volumeCapabilities.length > 0);
      if (!volumes.has(volumeId)) {
        throw new StatusError({ code: 'NOT_FOUND', message: `there is no volume '${volumeId}'` });
      }
      const confirmed = { volumeContext, volumeCapabilities, parameters, mutableParameters: {} };
      return { confirmed, message: '' };
    },
  };
}

/** The id follows from the name, so that a repeated request finds its volume, and is short, as names may not be. */
function newVolume({ name, volumeCapabilities, capacityRange, parameters }: CreateVolumeRequest): Volume {
  demand('name', name !== '');
  demand('volume_capabilities', volumeCapabilities.length > 0);
  if (Buffer.byteLength(name) > longestName) {
    throw new StatusError({ code: 'INVALID_ARGUMENT', message: `name is longer than ${longestName} bytes` });
  }
  return {
    volumeId: `sanity-${createHash('sha256').update(name).digest('hex').slice(0, 12)}`,
    capacityBytes: capacityRange?.requiredBytes || capacityRange?.limitBytes || 0n,
    volumeContext: parameters,
    contentSource: undefined,
    accessibleTopology: [],
  };
}

/** What the specification allows a string that is not a path. */
const longestName = 128;

function isWithin(bytes: bigint, range: CapacityRange | undefined): boolean {
  if (range === undefined) return true;
  return bytes >= range.requiredBytes && (range.limitBytes === 0n || bytes <= range.limitBytes);
}

function demand(field: string, present: boolean): void {
  if (!present) throw new StatusError({ code: 'INVALID_ARGUMENT', message: `${field} is missing` });
}
