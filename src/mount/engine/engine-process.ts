// The child process of engine/processes.ts: carries out one operation per message.
import { tmpdir } from 'node:os';
import { PR, SIGKILL } from '../../sys/constants.ts';
import { keepHeapSmall } from '../../sys/small-heap.ts';
import { prctl } from '../../sys/syscalls.ts';
import { type KernelOptions, kernelHere } from '../kernel.ts';
import { removeAbandonedLayers } from '../layers-directory.ts';
import { failureOf, type OperationName, operationsOn, type Requests } from '../operations.ts';
import { userNamespacesOn } from '../steps/userns.ts';
import type { Answer, Job, Outcome } from './processes.ts';

// A Ctrl-C does not reach the session of its own that it has; what a supervisor sends to all processes does. The parent
// decides when this process ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

keepHeapSmall();
const [options = '{}'] = process.argv.slice(2);
const kernel = kernelHere(JSON.parse(options) as KernelOptions);
const userNamespaces = userNamespacesOn(kernel);
const operations = operationsOn(kernel, userNamespaces);
const parent = process.ppid;
// A driver that is killed takes its half-done operations with it: its successor must not meet them.
prctl(PR.PR_SET_PDEATHSIG, SIGKILL);
if (process.ppid !== parent) process.exit(1);

// What one left on the host that was killed.
removeAbandonedLayers(tmpdir());

process.on('disconnect', () => process.exit(0));
process.on('message', (job) => {
  const outcome = carryOut(job as Job);
  process.send?.({ ...outcome, userNamespaces: userNamespaces.size } satisfies Answer);
});

function carryOut({ operation, request }: Job): Outcome {
  try {
    return { result: run(operation, request as Requests[typeof operation]) ?? null };
  } catch (error) {
    return { error: failureOf(operation, error).toInit() };
  }
}

function run<K extends OperationName>(operation: K, request: Requests[K]) {
  return operations[operation](request);
}
