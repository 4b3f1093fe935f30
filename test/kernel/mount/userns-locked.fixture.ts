// Runs in a user namespace with a mount namespace of its own: carries out what it is asked, by the engine, and
// prints what became of it. Arguments: JSON of [operation, request] pairs.
import { MountError } from '../../../src/mount/errors.ts';
import { kernelHere, type MountApi } from '../../../src/mount/kernel.ts';
import { type OperationName, operationsOn, type Requests } from '../../../src/mount/operations.ts';

export interface Asked {
  readonly api?: MountApi;
  readonly operation: OperationName;
  readonly request: unknown;
}
export type Answered = { readonly result: unknown } | { readonly reason: string; readonly message: string };

function carryOut({ api, operation, request }: Asked): unknown {
  return run(api, operation, request as Requests[OperationName]);
}

function run<K extends OperationName>(api: MountApi | undefined, operation: K, request: Requests[K]) {
  return operationsOn(kernelHere({ api }))[operation](request);
}

if (import.meta.main) {
  const [, , text = '[]'] = process.argv;
  const answers = (JSON.parse(text) as Asked[]).map((asked): Answered => {
    try {
      return { result: carryOut(asked) ?? null };
    } catch (error) {
      if (!(error instanceof MountError)) throw error;
      return { reason: error.reason, message: error.message };
    }
  });
  console.log(JSON.stringify(answers));
}
