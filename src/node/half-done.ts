// Kubelet takes a final code for "nothing is mounted". So while there is a record of something at this path
//
//   half done by an earlier call (`intended`)   no refusal may be final, whatever it is for
//   done, or waiting for its pod                none that says no more than that the kernel could not be asked
//
// and kubelet must come back, or unpublish.
import type { RecordKey } from '../journal/record.ts';
import { MountError } from '../mount/errors.ts';
import { StatusError } from '../rpc/status.ts';
import type { NodeDependencies } from './dependencies.ts';
import { isUncertain, toStatus } from './reasons.ts';

export async function uncertainWhileHalfDone<T>(
  key: RecordKey,
  { journal }: Pick<NodeDependencies, 'journal'>,
  call: () => Promise<T>,
): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const { code, message } = toStatus(error);
    const state = journal.find(key)?.state;
    if (isUncertain(code) || state === undefined) throw error;
    if (state !== 'intended' && !(error instanceof MountError)) throw error;
    const because =
      state === 'intended'
        ? 'what an earlier call has half done is not taken back yet'
        : 'the volume is there';
    throw new StatusError({ code: 'UNAVAILABLE', message: `${message}; and ${because}`, cause: error });
  }
}
