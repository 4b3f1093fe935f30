// What a container of a pod is, for the tests that run some: by runc (runc.ts), or by the calls alone that a runtime
// makes for the volumes (bare-runtime.ts).
import { execFileSync } from 'node:child_process';
import { chownSync, copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

export interface ContainerVolume {
  readonly source: string;
  /** Absolute, in the container. */
  readonly destination: string;
  readonly readOnly?: boolean;
  readonly mountPropagation?: 'None' | 'HostToContainer';
}

export interface ContainerSpec {
  readonly volumes: readonly ContainerVolume[];
  /** The mapping of the pod's user namespace, `0:100000:65536`; hostUsers: true without one. */
  readonly mapping?: string;
  /** Of the process, as its user namespace has it (default 0). */
  readonly uid?: number;
  readonly gid?: number;
  /** fsGroup and supplementalGroups. */
  readonly groups?: readonly number[];
  /** What busybox's shell runs. */
  readonly script: string;
  /** What the runtime above runc makes of its OCI configuration: plugins of its have a say. */
  readonly adjust?: (config: OciConfig) => Promise<OciConfig>;
}

export interface OciConfig {
  readonly mounts: readonly {
    readonly destination: string;
    readonly type?: string;
    readonly source?: string;
    readonly options?: readonly string[];
  }[];
  readonly [other: string]: unknown;
}

export type ContainerOutcome =
  | { readonly started: true; readonly status: number; readonly stdout: string; readonly stderr: string }
  /** With what the runtime says, which kubelet would show as an Event. */
  | { readonly started: false; readonly problem: string };

export interface Runtime extends Disposable {
  /** Runs a container to its end. Afterwards nothing is left of it. */
  run(spec: ContainerSpec): Promise<ContainerOutcome>;
}

/** A directory with busybox, and the places of mounts, that belongs to the container's root. */
export function makeRoot(root: string, { volumes, mapping }: ContainerSpec): void {
  const [, owner = 0] = mapping?.split(':').map(Number) ?? [];
  const directories = ['', 'bin', 'proc', 'dev', 'tmp', ...volumes.map(({ destination }) => destination)];
  for (const directory of directories) mkdirSync(join(root, directory), { recursive: true });
  const busybox = execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim();
  copyFileSync(busybox, join(root, 'bin/busybox'));
  // Links to /bin/busybox by the names of all that it can do.
  execFileSync('chroot', [root, '/bin/busybox', '--install', '-s', '/bin']);
  for (const directory of directories) chownSync(join(root, directory), owner, owner);
}
