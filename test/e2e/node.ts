// A node for the tests: the real plugin over its socket, a kubelet directory, and a place for the data of volumes.
// Laid out as on a real one: the kubelet directory is a shared mount, every call comes on a fresh connection.
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { currentIn } from '../../src/journal/record.ts';
import { type Client, connect } from '../../src/rpc/client.ts';
import { NodeService } from '../../src/rpc/generated/csi.ts';
import { type CodeName, StatusError } from '../../src/rpc/status.ts';
import { type Plugin, startPlugin } from '../sanity/plugin.ts';
import { mountPlace, sharedMount } from '../support/fixtures.ts';
import { mountsBelow, type ShownMount } from './kernel.ts';

/** How a call ended. Never thrown: a refusal is a result here. */
export interface Answer<Response = unknown> {
  readonly code: CodeName;
  readonly message: string;
  readonly response?: Response;
}

/** A line of the plugin's log about one call. */
export interface LogEntry {
  readonly message: string;
  readonly method?: string;
  readonly volumeId?: string;
  readonly code?: string;
  readonly error?: string;
}

export interface NodeRecord {
  readonly file: string;
  /** What holds. */
  readonly text: string;
}

export interface TestNode extends AsyncDisposable {
  /** Everything lies below it; it is a private tmpfs. */
  readonly directory: string;
  readonly kubeletDir: string;
  readonly stateDir: string;
  readonly socket: string;
  readonly plugin: Plugin;
  /** A path below `directory`. */
  at(...names: string[]): string;
  ask<T>(call: (rpc: Client<typeof NodeService>) => Promise<T>): Promise<Answer<T>>;
  /** All that is mounted on this node, beyond what it began with. */
  mounts(): ShownMount[];
  /** How the plugin itself has ended its calls for a volume. */
  callsOf(volumeId: string): LogEntry[];
  /** The files of the journal. */
  records(): NodeRecord[];
  /** Ends the plugin as the kernel would for want of memory. */
  kill(): Promise<void>;
  /** Starts it again. */
  start(): Promise<void>;
}

export interface NodeOptions {
  /** In place of the plugin that the tests start by default. */
  readonly start?: (directory: string) => Promise<Plugin>;
}

const START: NonNullable<NodeOptions['start']> = (directory) => startPlugin(directory);

export async function startNode({ start = START }: NodeOptions = {}): Promise<TestNode> {
  await using making = new AsyncDisposableStack();
  const place = making.use(mountPlace());
  const kubeletDir = place.at('kubelet');
  // As by default: below the kubelet directory, so that what is mounted there is seen on the node.
  const stateDir = place.at('kubelet/plugins/idmap.csi.dev');
  const socket = place.at('csi.sock');
  mkdirSync(kubeletDir);
  making.use(sharedMount(kubeletDir));
  let plugin = await start(place.path);
  making.defer(() => plugin[Symbol.asyncDispose]());
  const made = making.move();
  return {
    directory: place.path,
    kubeletDir,
    stateDir,
    socket,
    get plugin() {
      return plugin;
    },
    at: place.at,
    ask: (call) => ask(socket, call),
    mounts: () => mountsBelow(place.path).filter(({ target }) => target !== kubeletDir),
    callsOf: (volumeId) =>
      plugin.log
        .map(({ text }) => JSON.parse(text) as LogEntry)
        .filter((entry) => entry.message === 'rpc' && entry.volumeId === volumeId),
    records: () => readRecords(join(stateDir, 'records')),
    kill: async () => plugin[Symbol.asyncDispose](),
    start: async () => {
      plugin = await start(place.path);
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

/** As kubelet does, until it is served. */
export async function retried(call: () => Promise<Answer>): Promise<Answer> {
  let answer = await call();
  while (answer.code === 'ABORTED') {
    await delay(10);
    answer = await call();
  }
  return answer;
}

async function ask<T>(
  socket: string,
  call: (rpc: Client<typeof NodeService>) => Promise<T>,
): Promise<Answer<T>> {
  using client = connect(NodeService, socket);
  try {
    return { code: 'OK', message: '', response: await call(client) };
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    return { code: error.code, message: error.message };
  }
}

function readRecords(directory: string): NodeRecord[] {
  // What is being written has another name still.
  const names = readdirSync(directory).filter((name) => !name.endsWith('.tmp'));
  return names.flatMap((name) => {
    const file = join(directory, name);
    try {
      return [{ file, text: currentIn(readFileSync(file, 'utf8')) }];
    } catch (error) {
      // Taken away meanwhile, by another call.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    }
  });
}
