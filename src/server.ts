// The composition root of `serve`: builds everything, listens, and shuts down in the opposite order.
import type { Config } from './config.ts';
import { identityHandlers } from './identity/service.ts';
import { openJournal } from './journal/journal.ts';
import { findAccess } from './kubernetes/access.ts';
import { kubernetesApi } from './kubernetes/api.ts';
import { podEvents } from './kubernetes/events.ts';
import { podLookup } from './kubernetes/pods.ts';
import { processEngine } from './mount/engine/processes.ts';
import { volumeLocks } from './node/locks.ts';
import { toStatus } from './node/reasons.ts';
import { nodeHandlers } from './node/service.ts';
import type { Logger } from './observe/logger.ts';
import { IdentityService, NodeService } from './rpc/generated/csi.ts';
import { serveUnix } from './rpc/server.ts';
import { toImplementation } from './rpc/service.ts';
import { VERSION } from './version.ts';

/** Kernel work in parallel: mounts are short, and a node has few cores to spare for them. */
const ENGINE_PROCESSES = 2;

/** Resolves when the socket accepts calls. Disposing it ends running calls first, the state's lock last. */
export async function startServer(config: Config, log: Logger): Promise<AsyncDisposable> {
  await using started = new AsyncDisposableStack();
  const journal = started.use(
    await openJournal({
      stateDir: config.stateDir,
      onSetAside: (file, problem) => log.warn('a record cannot be read and was set aside', { file, problem }),
    }),
  );
  const engine = started.use(processEngine({ processes: ENGINE_PROCESSES }));
  const api = started.use(kubernetesApi(findAccess({ environment: process.env })));
  const events = started.use(
    podEvents({
      api,
      component: config.driverName,
      host: config.nodeId,
      onProblem: (problem) => log.warn(problem),
    }),
  );
  let ready = false;
  const identity = identityHandlers({
    name: config.driverName,
    version: VERSION,
    isReady: () => ready,
  });
  const node = nodeHandlers({
    nodeId: config.nodeId,
    kubeletDir: config.kubeletDir,
    engine,
    journal,
    locks: volumeLocks(),
    pods: podLookup({ api }),
    events,
  });
  started.use(
    await serveUnix({
      path: config.socket,
      log,
      services: [
        {
          definition: IdentityService,
          implementation: toImplementation(IdentityService, identity, { log, toStatus }),
        },
        { definition: NodeService, implementation: toImplementation(NodeService, node, { log, toStatus }) },
      ],
    }),
  );
  // Ready when the engine answers: its processes start, and the kubelet directory can be looked at.
  await engine.lookup({ target: { path: config.kubeletDir } });
  ready = true;
  log.info('ready', {
    socket: config.socket,
    driver: config.driverName,
    version: VERSION,
    nodeId: config.nodeId,
  });
  return started.move();
}
