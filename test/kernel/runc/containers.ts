// What the tests with real containers share: the engine, the runtime, and what a container was able to do.
import { existsSync, realpathSync } from 'node:fs';
import { type Engine, localEngine } from '../../../src/mount/engine.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { bareRuntime } from '../../support/bare-runtime.ts';
import type { ContainerOutcome, ContainerSpec, ContainerVolume, Runtime } from '../../support/container.ts';
import { runc } from '../../support/runc.ts';

/** The mapping of the pods with hostUsers: false, as kubelet gives them. */
export const MAPPING = '0:100000:65536';
/** The same, as options that show the files of an ordinary directory as that pod's. */
export const MAPPED = [`uidmap=${MAPPING}`, `gidmap=${MAPPING}`] as const;

interface Pod {
  readonly title: string;
  readonly users: Pick<ContainerSpec, 'mapping'>;
}

export const PODS: readonly Pod[] = [
  { title: 'hostUsers: true', users: {} },
  { title: 'hostUsers: false', users: { mapping: MAPPING } },
];

export interface Bench {
  /** Mounts at a directory that is made if need be, for as long as the block lasts. */
  mounted(mount: Mount, target: string): Promise<AsyncDisposable>;
  /** What the container printed, or why there is none. */
  run(spec: ContainerSpec): Promise<string>;
}

/** By runc, where it matters which flags a runtime sets and how it fails. */
export function describeContainers(title: string, suite: (bench: Bench) => void): void {
  describeBy(title, runc, suite);
}

/** By runc, and by the calls alone that a runtime makes for volumes. */
export function describeRuntimes(title: string, suite: (bench: Bench) => void): void {
  describeBy(`${title}, by runc`, runc, suite);
  describeBy(`${title}, by the calls of a runtime`, bareRuntime, suite);
}

type StartRuntime = (context: Mocha.Context) => Promise<Runtime>;

function describeBy(title: string, start: StartRuntime, suite: (bench: Bench) => void): void {
  describe(title, () => {
    let runtime: Runtime | undefined;
    let engine: Engine | undefined;
    before(async function () {
      this.timeout('10m'); // The first run of a checkout builds the runtime.
      runtime = await start(this);
      engine = localEngine();
    });
    after(async () => {
      await engine?.[Symbol.asyncDispose]();
      runtime?.[Symbol.dispose]();
    });
    const there = <T>(thing: T | undefined): T => {
      if (thing === undefined) throw new Error('it is there when the tests run, not before');
      return thing;
    };
    suite({
      async mounted(mount, target) {
        await there(engine).mountAll({ mounts: [mount], target: { path: target }, create: 'directory' });
        return {
          [Symbol.asyncDispose]: async () => {
            await there(engine).unmount({ target: { path: target } });
          },
        };
      },
      run: async (spec) => told(await there(runtime).run(spec)),
    });
  });
}

/** In a word or a line what tests expect: the output, and else what went wrong. */
function told(outcome: ContainerOutcome): string {
  if (!outcome.started) return `does not start: ${outcome.problem}`;
  const { status, stdout, stderr } = outcome;
  return status === 0 ? stdout.trim() : `exits with ${status}: ${stderr.trim()}`;
}

/** Scripts that print `possible` or `impossible`. */
export const can = (command: string): string =>
  `if ${command}; then echo possible; else echo impossible; fi 2>&1`;

/** What a program of the machine needs to run in a container: its loader and libraries. */
export const LIBRARIES: readonly ContainerVolume[] = ['/lib', '/lib64']
  .filter((directory) => existsSync(directory))
  .map((directory) => ({ source: realpathSync(directory), destination: directory, readOnly: true }));
