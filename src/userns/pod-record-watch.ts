// Waiting for kubelet to record a pod's ID mapping, which it does after the pod's volumes are published: so never
// inside of NodePublishVolume, for which kubelet waits.
//
//   inotify of the pod's directory   sees it at once
//   a look every now and then        sees it where inotify cannot be had (its limits), and what inotify missed
import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import type { PodRecord } from './kubelet-record.ts';
import { lookForPodRecord, type RecordedPod } from './pod-record.ts';

export interface PodRecordWait extends RecordedPod {
  readonly signal?: AbortSignal;
  /** Between looks, where inotify does not tell. */
  readonly pollMs?: number;
}

export type AwaitedRecord =
  | Exclude<PodRecord, { is: 'none' }>
  /** The pod's directory is not there, or no longer. */
  | { readonly is: 'gone' }
  | { readonly is: 'aborted' };

/** Never rejects. When it resolves nothing is left of it: no watcher, timer or listener. */
export function waitForPodRecord({ signal, pollMs = 1_000, ...pod }: PodRecordWait): Promise<AwaitedRecord> {
  const { promise, resolve } = Promise.withResolvers<AwaitedRecord>();
  const waiting = new DisposableStack();
  const end = (how: AwaitedRecord) => {
    waiting.dispose();
    resolve(how);
  };
  const look = () => {
    if (waiting.disposed) return;
    const found = foundOf(pod);
    if (found.is !== 'none') end(found);
  };
  const aborted = () => end({ is: 'aborted' });
  if (signal?.aborted) aborted();
  else {
    signal?.addEventListener('abort', aborted, { once: true });
    waiting.defer(() => signal?.removeEventListener('abort', aborted));
    const poll = setInterval(look, pollMs);
    waiting.defer(() => clearInterval(poll));
    // Before the first look, so that nothing falls between the two.
    const watcher = watchDirectory(join(pod.kubeletDir, 'pods', pod.podUid), look);
    waiting.defer(() => watcher?.close());
    look();
  }
  return promise;
}

function foundOf(pod: RecordedPod): ReturnType<typeof lookForPodRecord> {
  try {
    return lookForPodRecord(pod);
  } catch {
    // No descriptors left, say: the next look may know more.
    return { is: 'none' };
  }
}

function watchDirectory(path: string, changed: () => void): FSWatcher | undefined {
  try {
    return watch(path, changed).on('error', changed);
  } catch {
    return undefined;
  }
}
