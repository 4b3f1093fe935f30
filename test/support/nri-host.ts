// A container runtime as far as NRI goes: containerd's own code (test/peer/nri-host), asked from a test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { OciConfig } from './container.ts';
import { eventually } from './fixtures.ts';
import { buildGoProgram, goProgram } from './go-tool.ts';
import { scaled } from './time-scale.ts';

export interface PodOfRuntime {
  readonly id: string;
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly pid?: number;
  readonly linux?: { readonly namespaces: readonly { readonly type: string; readonly path?: string }[] };
}

export interface ContainerOfRuntime {
  readonly id: string;
  readonly pod_sandbox_id: string;
  readonly name: string;
  /** 1 created, 3 running. */
  readonly state?: number;
  readonly mounts?: readonly MountOfSpec[];
}

/** Of an OCI spec. */
export type MountOfSpec = OciConfig['mounts'][number] & {
  readonly uidMappings?: unknown;
  readonly gidMappings?: unknown;
};

export interface Spec extends OciConfig {
  readonly mounts: readonly MountOfSpec[];
}

export interface Reply {
  /** With what the runtime fails; undefined: it does not. */
  readonly error: string | undefined;
  /** How long the runtime stood still. */
  readonly ms: number;
}

export interface NriHost extends AsyncDisposable {
  readonly socket: string;
  /** What plugins are told that register from now on. */
  setState(pods: readonly PodOfRuntime[], containers: readonly ContainerOfRuntime[]): Promise<void>;
  runPodSandbox(pod: PodOfRuntime): Promise<Reply>;
  /** The spec as it is changed. */
  createContainer(
    pod: PodOfRuntime,
    container: ContainerOfRuntime,
    spec: Spec,
  ): Promise<Reply & { readonly spec: Spec | undefined }>;
  /** As many as there are now: after those that were closed have been noticed. */
  plugins(): number;
  untilPlugins(count: number): Promise<void>;
  /** What it has logged. */
  readonly said: readonly string[];
}

interface Line {
  readonly id?: number;
  readonly plugins?: number;
  readonly error?: string;
  readonly ms?: number;
  readonly spec?: Spec;
}

/** The program, for who starts several: `startNriHost(program, socket)`. Skips where there is no Go. */
export const nriHost = (context: Mocha.Context): Promise<string> => goProgram(context, NAME, TAGS);

/** The same outside of tests. */
export const buildNriHost = (): Promise<string> => buildGoProgram(NAME, TAGS);

const NAME = 'nri-host';
/** Plugins in WebAssembly would bring an interpreter with them. */
const TAGS = ['nri_no_wasm'];

/** How long plugins may take: a busy machine is not what tests are about. containerd gives them 2 s. */
const PATIENCE_MS = scaled(30_000);

export async function startNriHost(
  program: string,
  socket: string,
  { timeoutMs = PATIENCE_MS }: { readonly timeoutMs?: number } = {},
): Promise<NriHost> {
  const child = spawn(program, ['-socket', socket, '-timeout', `${timeoutMs}ms`], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  // Whoever asks one that has ended is told so by its end.
  child.stdin.on('error', () => undefined);
  const said: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => said.push(line));
  const waiting = new Map<number, (line: Line) => void>();
  let plugins = 0;
  let listening = false;
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line: Line = JSON.parse(text);
    listening = true;
    if (line.plugins !== undefined) plugins = line.plugins;
    if (line.id !== undefined) waiting.get(line.id)?.(line);
  });
  let count = 0;
  async function ask(call: string, what: object): Promise<Reply & { readonly spec: Spec | undefined }> {
    const id = ++count;
    const { promise, resolve, reject } = Promise.withResolvers<Line>();
    waiting.set(id, resolve);
    closed.then(() => reject(new Error(`nri-host has ended: ${said.join('\n')}`)));
    child.stdin.write(`${JSON.stringify({ id, call, ...what })}\n`);
    const { error, ms = Number.NaN, spec } = await promise;
    return { error, ms, spec };
  }
  await eventually('the runtime listens', () => listening);
  return {
    socket,
    said,
    setState: async (pods, containers) => void (await ask('SetState', { pods, containers })),
    runPodSandbox: (pod) => ask('RunPodSandbox', { pod }),
    createContainer: (pod, container, spec) => ask('CreateContainer', { pod, container, spec }),
    plugins: () => plugins,
    untilPlugins: (wanted) => eventually(`${wanted} plugins`, () => plugins === wanted),
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      child.kill('SIGKILL');
      await closed;
    },
  };
}
