// A target directory that is no mount and not empty: a pod wrote there while its volume was not mounted. That is neither
// deleted nor mounted over, which would hide it: it is moved below the state directory, and the pod is told.
import path from 'node:path';
import type { PodRef } from '../kubernetes/pod.ts';
import { type NodeDependencies, placeOf } from './dependencies.ts';

export interface MakeWayRequest {
  readonly path: string;
  readonly pod: PodRef | undefined;
}

/** Gives the place where it is now, if there was something. */
export async function makeWay(
  { path: target, pod }: MakeWayRequest,
  deps: Pick<NodeDependencies, 'engine' | 'events' | 'kubeletDir' | 'stateDir'>,
  timeout: { timeoutMs: number },
): Promise<string | undefined> {
  const { movedTo } = await deps.engine.moveAside(
    {
      target: placeOf(target, deps),
      into: path.join(deps.stateDir, 'set-aside'),
      // `pods-<uid>-volumes-kubernetes.io~csi-<name>-mount`: whoever finds it knows whose it was.
      name: path.relative(deps.kubeletDir, target),
    },
    timeout,
  );
  if (movedTo !== undefined && pod !== undefined) {
    deps.events.emit(pod, {
      type: 'Warning',
      reason: 'TargetNotEmpty',
      message: `there were files where the volume is to be mounted, written while it was not; they are at ${movedTo} now`,
    });
  }
  return movedTo;
}
