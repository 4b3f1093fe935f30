// A process that mounts one FUSE filesystem by the engine, says which processes serve it, and ends. It is a child of
// fuse-host (starts.ts) for three reasons: the engine waits, and whoever waits for a FUSE server may wait for ever; it is
// in the helper's control group when the helper is born; and as subreaper it knows daemons of this helper from those of
// others. When it ends, they are fuse-host's.
import { writeFileSync } from 'node:fs';
import { MountError, type MountErrorInit, toMountError } from '../mount/errors.ts';
import { isFuse } from '../mount/fuse/mounts.ts';
import { type KernelOptions, kernelHere } from '../mount/kernel.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import { type MountRequest, operationsOn } from '../mount/operations.ts';
import { userNamespacesOn } from '../mount/steps/userns.ts';
import type { TargetSpec } from '../mount/target.ts';
import { PR, SIGKILL } from '../sys/constants.ts';
import { prctl } from '../sys/syscalls.ts';
import { becomeSubreaper, childrenOfThis } from './processes.ts';

/** What is to be done. */
export interface StartJob {
  readonly request: MountRequest;
  /** Where the FUSE filesystem is then. */
  readonly place: TargetSpec;
  /** Of the helper's control group (cgroup.ts). */
  readonly procs: string | undefined;
  readonly kernel: KernelOptions;
}

/** What became of it. */
export type StartAnswer =
  | { readonly pids: readonly number[]; readonly mount: MountInfo }
  | { readonly error: MountErrorInit };

// A Ctrl-C does not reach the session of its own that it has; what a supervisor sends to all processes does. The parent
// decides when this process ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

const parent = process.ppid;
prctl(PR.PR_SET_PDEATHSIG, SIGKILL);
if (process.ppid !== parent) process.exit(1);
becomeSubreaper();
process.on('disconnect', () => process.exit(0));
process.on('message', (job) => process.send?.(carryOut(job as StartJob)));

function carryOut({ request, place, procs, kernel: options }: StartJob): StartAnswer {
  try {
    if (procs !== undefined) writeFileSync(procs, String(process.pid));
    const kernel = kernelHere(options);
    const operations = operationsOn(kernel, userNamespacesOn(kernel));
    operations.mountAll(request);
    const shown = operations.lookup({ target: place });
    if (shown.is !== 'mount-point' || !isFuse(shown.mount)) {
      const message = `${place.path} does not show the FUSE filesystem that was mounted there`;
      throw new MountError({ reason: 'wrong-mount', message, rolledBack: false });
    }
    const alive = childrenOfThis().filter(({ isZombie }) => !isZombie);
    return { pids: alive.map(({ pid }) => pid), mount: shown.mount };
  } catch (error) {
    return { error: toMountError(error, false).toInit() };
  }
}
