// Kubelet takes a final code for "nothing is mounted". While an earlier call has left something half done (its record says
// `intended`), no refusal may be final, whatever it is for: kubelet must come back, or unpublish.
import type { RecordKey } from '../journal/record.ts';
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
    if (isUncertain(code) || journal.find(key)?.state !== 'intended') throw error;
    throw new StatusError({
      code: 'UNAVAILABLE',
      message: `${message}; and what an earlier call has half done is not taken back yet`,
      cause: error,
    });
  }
}
