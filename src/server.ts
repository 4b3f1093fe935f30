// The composition root of `serve`: builds everything, listens, and shuts down in the opposite order.
import { realpath } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from './config.ts';
import { fuseHostAt } from './fuse-host/client.ts';
import { identityHandlers } from './identity/service.ts';
import { type Journal, openJournal } from './journal/journal.ts';
import { findAccess } from './kubernetes/access.ts';
import { kubernetesApi } from './kubernetes/api.ts';
import { podEvents } from './kubernetes/events.ts';
import { podLookup } from './kubernetes/pods.ts';
import { removeStartupTaint } from './kubernetes/taint.ts';
import type { ProcessEngine } from './mount/engine/processes.ts';
import { filesystemProbe } from './mount/fuse/probe.ts';
import { namesOfLoopFiles } from './mount/loop/nodes.ts';
import { authorization } from './node/authorization.ts';
import { completions } from './node/completions.ts';
import type { NodeDependencies } from './node/dependencies.ts';
import { fuseHealth } from './node/fuse-health.ts';
import { whyUnseen } from './node/host-visibility.ts';
import { type Housekeeping, housekeeping } from './node/housekeeping.ts';
import { volumeLocks } from './node/locks.ts';
import { NodeError, toStatus } from './node/reasons.ts';
import { recover } from './node/recovery.ts';
import { runtimePlugin } from './node/runtime.ts';
import { nodeHandlers } from './node/service.ts';
import { publishesUnderWay } from './node/under-way.ts';
import { wayOf } from './node/user-namespaces.ts';
import { keepConnected, type RunningPlugin } from './nri/plugin.ts';
import { serveHttp } from './observe/http.ts';
import type { Logger } from './observe/logger.ts';
import { type LabelsOf, type Metrics, noMetrics } from './observe/metrics.ts';
import { keepRegistered } from './registration/registration.ts';
import { IdentityService, NodeService } from './rpc/generated/csi.ts';
import { serveUnix } from './rpc/server.ts';
import { type Observation, toImplementation } from './rpc/service.ts';
import { servedPolicy } from './served-policy.ts';
import { VERSION } from './version.ts';

const NODE_GET_INFO = NodeService.nodeGetInfo.path;

/** Resolves when the socket accepts calls. Disposing it ends running calls first, the state's lock last. */
export async function startServer(
  config: Config,
  { log, engine }: { readonly log: Logger; readonly engine: ProcessEngine },
): Promise<AsyncDisposable> {
  await using started = new AsyncDisposableStack();
  let ready = false;
  const isReady = () => ready;
  let isRegistered = () => config.registration === 'off';
  // First, and so the last to end: it tells whether the rest is there.
  const metrics = await startMetrics(config, { isReady: () => ready && isRegistered(), log, started });
  const policy = started.use(servedPolicy({ file: config.policyFile, log }));
  const journal = started.use(
    await openJournal({
      stateDir: config.stateDir,
      onSetAside: (file, problem) => {
        log.warn('a record cannot be read and was set aside', { file, problem });
        metrics.count('csi_idmap_recovered_records_total', { outcome: 'set-aside' });
      },
      onLater: (file, problem) => {
        log.warn('a record was written by a later version of the driver', { file, problem });
        metrics.count('csi_idmap_recovered_records_total', { outcome: 'later' });
      },
    }),
  );
  metrics.gauge('csi_idmap_mounts', () => mountsOf(journal));
  metrics.gauge('csi_idmap_loop_devices', () => loopsOf(journal, config.stateDir));
  // What it does ends before another driver may begin.
  started.use(engine);
  metrics.gauge('csi_idmap_userns_fds', () => [[{}, engine.userNamespaces()]]);
  const api = started.use(kubernetesApi(findAccess({ environment: process.env })));
  const events = started.use(
    podEvents({
      api,
      component: config.driverName,
      host: config.nodeId,
      onProblem: (problem) => log.warn(problem),
    }),
  );
  const identity = identityHandlers({ name: config.driverName, version: VERSION, isReady });
  const later = started.use(completions({ deps: () => deps, log }));
  let plugin: RunningPlugin | undefined;
  const fuseHost =
    config.fuseMode === 'host' ? fuseHostAt({ socket: config.fuseHostSocket, version: VERSION }) : undefined;
  const probe = started.use(filesystemProbe());
  const { kubeletDir } = config;
  const health = started.use(
    fuseHealth({ engine, journal, events, metrics, kubeletDir, fuseHost, probe, log }),
  );
  const underWay = publishesUnderWay();
  const authorized = authorization({
    policy: policy.current,
    journal,
    underWay,
    directories: [config.kubeletDir, config.stateDir],
  });
  let unseen: string | undefined;
  const deps: NodeDependencies = {
    nodeId: config.nodeId,
    maxVolumes: config.maxVolumes,
    kubeletDir: config.kubeletDir,
    // Sources below it are looked for by what it really is.
    stateDir: await realpath(config.stateDir),
    fsgroup: config.fsgroup,
    engine,
    journal,
    locks: volumeLocks(),
    underWay,
    pods: podLookup({ api }),
    events,
    metrics,
    authorize: (volume, request) => {
      if (unseen !== undefined) throw new NodeError('unseen-mounts', unseen);
      return authorized(volume, request);
    },
    completions: later,
    userNamespaces: () => wayOf(config.userNamespaces, plugin?.state()),
    housekeeping: { wake: () => keeper?.wake() },
    fuseHost,
    fuse: health,
  };
  let keeper: Housekeeping | undefined;
  const node = nodeHandlers(deps);
  let kubeletAsked = false;
  const observe = ({ method, code, seconds }: Observation) => {
    metrics.observe('csi_idmap_operations_seconds', { method, grpc_status_code: code }, seconds);
    if (method === NODE_GET_INFO && code === 'OK') kubeletAsked = true;
  };
  const options = { log, toStatus, observe };
  // Ready when the engine answers, and what it mounts is seen on the node.
  unseen = await whyUnseen(deps);
  // Before any call can be served.
  const { undone, waiting, problems } = await recover(deps);
  if (undone > 0) log.info('took back what an earlier driver had half done', { volumes: undone });
  for (const problem of problems) log.warn('something half done is still there', { problem });
  if (unseen === undefined) plugin = await startPlugin(config, { deps, log, started });
  started.use(
    await serveUnix({
      path: config.socket,
      log,
      services: [
        {
          definition: IdentityService,
          implementation: toImplementation(IdentityService, identity, options),
        },
        { definition: NodeService, implementation: toImplementation(NodeService, node, options) },
      ],
    }),
  );
  for (const record of waiting) later.begin(record);
  keeper = started.use(
    housekeeping({ ...deps, onProblem: (problem) => log.warn('cannot clean up', { problem }) }),
  );
  ready = unseen === undefined;
  started.defer(() => {
    ready = false;
  });
  // Last, and so the first to end: kubelet calls from now on.
  if (unseen !== undefined) {
    log.error('not ready, and not registered', { because: unseen });
    return started.move();
  }
  if (config.registration === 'on') {
    const { registrationDir: directory, registrationEndpoint: endpoint, driverName } = config;
    const registration = started.use(keepRegistered({ directory, driverName, endpoint, log }));
    isRegistered = registration.isRegistered;
  }
  const { startupTaint: taint, nodeId: nodeName, driverName } = config;
  if (taint !== undefined) {
    // A registrar beside us does not tell us how it went; kubelet calls NodeGetInfo when it registers a driver.
    const isNow = () => (config.registration === 'on' ? isRegistered() : kubeletAsked);
    started.use(
      removeStartupTaint({
        ...{ api, nodeName, driverName, taint, isRegistered: isNow },
        onRemoved: (outcome) => log.info('the startup taint of the node', { taint, outcome }),
        onProblem: (problem) => log.warn(problem),
      }),
    );
  }
  // The first pod that must be looked up does not wait for it, nor did the start.
  void api.prepare();
  log.info('ready', {
    socket: config.socket,
    driver: config.driverName,
    version: VERSION,
    nodeId: config.nodeId,
  });
  return started.move();
}

interface PluginStart {
  readonly deps: NodeDependencies;
  readonly log: Logger;
  /** Gets what has to be ended. */
  readonly started: AsyncDisposableStack;
}

/** How long a runtime may take that is there and does not register the plugin, until the first pod is served without. */
const NRI_START_MS = 5_000;
/** Among the plugins of the runtime: those that others would want to see done come before, those that look come after. */
const NRI_INDEX = '50';

/** Before any call can be served: which way a pod gets its volume should not hang on a race. */
async function startPlugin(
  { userNamespaces, nriSocket: socketPath, driverName: name }: Config,
  { deps, log, started }: PluginStart,
): Promise<RunningPlugin | undefined> {
  if (userNamespaces === 'nested') return undefined;
  const plugin = runtimePlugin({ deps: () => deps, log });
  const running = started.use(keepConnected({ socketPath, name, index: NRI_INDEX, plugin, log }));
  deps.metrics.gauge('csi_idmap_nri_registered', () => [
    [{}, running.state().is === 'registered' ? 1 : 0] as const,
  ]);
  await Promise.race([running.tried, sleep(NRI_START_MS, undefined, { ref: false })]);
  log.info('pods with user namespaces', { way: wayOf(userNamespaces, running.state()) });
  return running;
}

interface MetricsOptions {
  readonly isReady: () => boolean;
  readonly log: Logger;
  /** Gets what has to be ended. */
  readonly started: AsyncDisposableStack;
}

async function startMetrics(
  { metricsAddress: address }: Config,
  { isReady, log, started }: MetricsOptions,
): Promise<Metrics> {
  if (address === undefined) return noMetrics;
  const { prometheusMetrics } = await import('./observe/prometheus.ts');
  const metrics = prometheusMetrics();
  started.use(await serveHttp({ address, metrics, isReady, log }));
  return metrics;
}

type MountLabels = LabelsOf<'csi_idmap_mounts'>;

/** Also of what there is none: a series that is missing and one that is zero look different in a graph. */
function mountsOf(journal: Journal): (readonly [MountLabels, number])[] {
  const records = journal.all();
  return (['stage', 'publish'] as const).flatMap((kind) =>
    (['intended', 'waiting', 'done'] as const).map((state) => {
      const some = records.filter((record) => record.kind === kind && record.state === state);
      return [{ kind, state }, some.length] as const;
    }),
  );
}

function loopsOf(
  journal: Journal,
  stateDir: string,
): (readonly [LabelsOf<'csi_idmap_loop_devices'>, number])[] {
  const images = new Set(journal.all().flatMap(({ device }) => device?.image ?? []));
  const files = namesOfLoopFiles();
  const own = files.filter((file) => images.has(file) || file.startsWith(`${stateDir}/`)).length;
  return [
    [{ owner: 'driver' }, own],
    [{ owner: 'other' }, files.length - own],
  ];
}
