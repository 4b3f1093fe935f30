// Whether ids may be mapped for a pod. The runtime maps the volumes of a pod with a user namespace of its own
// (`hostUsers: false`), and cannot map one that is mapped already: its containers would never start. So no map of ours is
// made for a pod that has one, or may have one.
//
//   the volume wants    host   own user namespace         not known
//   no map              any: it is not even asked
//   fsGroup             map    no map: runtime maps       no map, and an Event says so
//   owner, uidmap       map    refused                    refused
//
// What is asked, in this order: kubelet's record of the pod's mapping, the API server. A volume that names no pod
// (podInfoOnMount is off) is taken for one of a pod on the host.
import type { UserNamespace } from '../kubernetes/pods.ts';
import { readPodRecord } from '../userns/pod-record.ts';
import { isPodUid } from '../userns/pod-uid.ts';
import type { PodInfo, Volume } from '../volume/volume.ts';
import type { NodeDependencies } from './dependencies.ts';
import { NodeError } from './reasons.ts';

/** @throws NodeError (pod-user-namespace) */
export async function mayMapFor(
  volume: Volume,
  group: number | undefined,
  deps: NodeDependencies,
): Promise<boolean> {
  const { pod, idmap } = volume;
  const wantsMap = idmap.is === 'explicit' || idmap.is === 'owner';
  if (pod === undefined || (!wantsMap && group === undefined)) return true;
  const answer = await userNamespaceOf(pod, deps);
  if (answer.is === 'host') return true;
  const why =
    answer.is === 'own'
      ? 'has a user namespace of its own (hostUsers: false)'
      : `may have a user namespace of its own: ${answer.because}`;
  if (wantsMap) {
    const keys = idmap.is === 'owner' ? 'owner' : 'uidmap and gidmap';
    throw new NodeError(
      'pod-user-namespace',
      `${keys}: pod ${pod.namespace}/${pod.name} ${why}, and its runtime cannot map a volume that is mapped already; ` +
        'remove the key (the runtime maps the volume to the pod), use idmap: pod, or run the pod with hostUsers: true',
    );
  }
  if (answer.is === 'unknown') {
    deps.events.emit(pod, {
      type: 'Warning',
      reason: 'FsGroupNotApplied',
      message: `fsGroup ${group} is not shown on the volume: the pod ${why}`,
    });
  }
  return false;
}

export async function userNamespaceOf(
  pod: PodInfo,
  { kubeletDir, pods }: Pick<NodeDependencies, 'kubeletDir' | 'pods'>,
): Promise<UserNamespace> {
  const record = readPodRecord({ kubeletDir, podUid: pod.uid });
  if (record.is === 'mapped') return { is: 'own' };
  if (record.is === 'invalid' && isPodUid(pod.uid)) return { is: 'unknown', because: record.because };
  return pods.userNamespace(pod);
}
