// One connection of an NRI plugin to the container runtime, from its registration to its end.
//
//   we call      RegisterPlugin    name and index
//   we answer    Configure         with what we want to be told of
//                Synchronize       nothing; what runs already is handed on when it has all come
//                RunPodSandbox     nothing, or the error with which the sandbox fails (StateChange, before NRI 0.12)
//                CreateContainer   changes of mounts, or the error with which the container fails
//                Shutdown          nothing
//
// The runtime makes no sandbox or container of the node while it waits for an answer, and drops a plugin that takes longer
// than it likes (2 s in containerd): an answer is given before, if only that it is not known yet. The work goes on.
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import {
  ConfigureRequest,
  ConfigureResponse,
  type Container,
  CreateContainerRequest,
  CreateContainerResponse,
  Empty,
  Event,
  type Mount,
  type PodSandbox,
  RegisterPluginRequest,
  RunPodSandboxRequest,
  StateChangeEvent,
  SynchronizeRequest,
  SynchronizeResponse,
} from '../rpc/generated/nri.ts';
import { StatusError } from '../rpc/status.ts';
import { mux, PLUGIN_CONNECTION, RUNTIME_CONNECTION } from './mux.ts';
import { type Method, ttrpcClient, ttrpcServer } from './ttrpc.ts';

export interface RuntimeState {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
}

/** What a plugin does. What these throw fails what the runtime was about to do, and reaches the Events of the pod. */
export interface Plugin {
  /** What there was when the plugin was registered. */
  synchronized(state: RuntimeState): void;
  /** The network of the pod is there, no container yet. */
  runPodSandbox(pod: PodSandbox): Promise<void>;
  /** Gives mounts that replace those of the same destination, and have no ID mapping; none: all stay as they are. */
  createContainer(pod: PodSandbox, container: Container): Promise<readonly Mount[]>;
}

export interface ConnectOptions {
  readonly socketPath: string;
  /** Letters, digits, `_.+-`. */
  readonly name: string;
  /** Two digits: the runtime calls its plugins in this order. */
  readonly index: string;
  readonly plugin: Plugin;
  /** For all of the registration. */
  readonly timeoutMs?: number;
  /** Ends the connection, whatever it is at. */
  readonly signal?: AbortSignal;
}

export interface RuntimeConnection extends Disposable {
  /** Of the runtime: `containerd 2.4.2`. */
  readonly runtime: string;
  /** Resolves with the reason when there is no connection any more. */
  readonly ended: Promise<string>;
}

const PACKAGE = 'nri.pkg.api.v1alpha1';
const REGISTRATION_MS = 10_000;
/** The runtime's, where it does not tell. */
const REQUEST_MS = 2_000;
/** How much of the time that the runtime gives is used. */
const SHARE = 0.75;
/** A runtime that does not read is none. */
const MOST_UNSENT_BYTES = 64 << 20;
const EVENTS = [Event.RUN_POD_SANDBOX, Event.CREATE_CONTAINER].reduce(
  (mask, event) => mask | (1 << (event - 1)),
  0,
);

/** Resolves when the runtime calls the plugin from now on. @throws Error that says why it does not */
export async function connectToRuntime(options: ConnectOptions): Promise<RuntimeConnection> {
  const { socketPath, timeoutMs = REGISTRATION_MS, signal } = options;
  const socket = createConnection({ path: socketPath, ...(signal && { signal }) });
  const ended = endOf(socket);
  const fail = ended.then((why) => {
    throw new Error(`${socketPath}: ${why}`);
  });
  // Whoever does not wait for it knows already.
  fail.catch(() => undefined);
  const timer = setTimeout(
    () => socket.destroy(new Error(`the runtime has not registered the plugin within ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    await Promise.race([once(socket, 'connect'), fail]);
    const runtime = await Promise.race([register(socket, options), fail]);
    return { runtime, ended, [Symbol.dispose]: () => void socket.destroy() };
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function endOf(socket: Socket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.on('error', ({ message }) => resolve(message));
  socket.on('close', () => resolve('the runtime has closed the connection'));
  return promise;
}

/** Gives the name of the runtime when all of it is done. */
async function register(socket: Socket, { name, index, plugin }: ConnectOptions): Promise<string> {
  const send = (bytes: Uint8Array): void => {
    if (socket.writableLength > MOST_UNSENT_BYTES) socket.destroy(new Error('the runtime does not read'));
    else socket.write(bytes);
  };
  const connections = mux(send);
  const { promise: registered, resolve } = Promise.withResolvers<string>();
  const server = ttrpcServer(servicesOf(plugin, resolve), (bytes) => toRuntime(bytes));
  const toRuntime = connections.open(PLUGIN_CONNECTION, (bytes) => server.receive(bytes));
  const client = ttrpcClient((bytes) => asPlugin(bytes));
  const asPlugin = connections.open(RUNTIME_CONNECTION, (bytes) => client.receive(bytes));
  socket.on('data', (piece) => {
    try {
      connections.receive(piece);
    } catch (error) {
      // Out of step: there is no way back in.
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  socket.on('close', () => client.end('the runtime has closed the connection'));
  const request = RegisterPluginRequest.create({ pluginName: name, pluginIdx: index });
  const payload = RegisterPluginRequest.encode(request).finish();
  await client.call(`${PACKAGE}.Runtime`, 'RegisterPlugin', payload, REGISTRATION_MS);
  return registered;
}

function servicesOf(plugin: Plugin, onRegistered: (runtime: string) => void) {
  let runtime = '';
  let pods: PodSandbox[] = [];
  let containers: Container[] = [];
  const configure: Method = async (payload) => {
    const { runtimeName, runtimeVersion } = decoded(ConfigureRequest, payload);
    runtime = `${runtimeName} ${runtimeVersion}`;
    return ConfigureResponse.encode({ events: EVENTS }).finish();
  };
  const synchronize: Method = async (payload) => {
    const part = decoded(SynchronizeRequest, payload);
    pods = [...pods, ...part.pods];
    containers = [...containers, ...part.containers];
    if (!part.more) {
      const state = { pods, containers };
      [pods, containers] = [[], []];
      // After the answer: the runtime stands still until it has it.
      setImmediate(() => {
        onRegistered(runtime);
        plugin.synchronized(state);
      });
    }
    return SynchronizeResponse.encode({ more: part.more }).finish();
  };
  const runPodSandbox: Method = async (payload, call) => {
    const { pod } = decoded(RunPodSandboxRequest, payload);
    if (pod !== undefined) await inTime(plugin.runPodSandbox(pod), call.timeoutMs);
    return EMPTY;
  };
  const createContainer: Method = async (payload, call) => {
    const { pod, container } = decoded(CreateContainerRequest, payload);
    if (pod === undefined || container === undefined) return EMPTY;
    const mounts = await inTime(plugin.createContainer(pod, container), call.timeoutMs);
    return mounts.length === 0 ? EMPTY : replacing(mounts);
  };
  const stateChange: Method = async (payload, call) => {
    const { event, pod } = decoded(StateChangeEvent, payload);
    if (event === Event.RUN_POD_SANDBOX && pod !== undefined) {
      await inTime(plugin.runPodSandbox(pod), call.timeoutMs);
    }
    return EMPTY;
  };
  const methods = {
    Configure: configure,
    Synchronize: synchronize,
    RunPodSandbox: runPodSandbox,
    CreateContainer: createContainer,
    StateChange: stateChange,
    Shutdown: async () => EMPTY,
  };
  return new Map([[`${PACKAGE}.Plugin`, new Map<string, Method>(Object.entries(methods))]]);
}

/** @throws StatusError */
function decoded<T>(type: { decode(bytes: Uint8Array): T }, payload: Uint8Array): T {
  try {
    return type.decode(payload);
  } catch (cause) {
    const message = `a request that cannot be read: ${cause instanceof Error ? cause.message : cause}`;
    throw new StatusError({ code: 'INVALID_ARGUMENT', message, cause });
  }
}

/** Every response of which nothing is said. */
const EMPTY = Empty.encode({}).finish();

/** A mount that is removed and added again has nothing of the old one, so no ID mapping, for which NRI has no words. */
function replacing(mounts: readonly Mount[]): Uint8Array {
  const removed = mounts.map(({ destination }) => ({
    ...{ destination: `-${destination}`, type: '', source: '', options: [] },
  }));
  return CreateContainerResponse.encode({ adjust: { mounts: [...removed, ...mounts] } }).finish();
}

async function inTime<T>(work: Promise<T>, timeoutMs = REQUEST_MS): Promise<T> {
  const limit = Math.min(timeoutMs, REQUEST_MS) * SHARE;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const message = `not done within ${Math.round(limit)} ms; it goes on, and the next try may find it done`;
  const timer = setTimeout(() => reject(new StatusError({ code: 'UNAVAILABLE', message })), limit);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
