// Who maps the ids of a volume for a pod, and when. The runtime maps the volumes of a pod with a user namespace of its own
// (`hostUsers: false`), and cannot map one that is mapped already, an overlay or FUSE: its containers would never start.
// With the runtime's NRI the driver maps such volumes itself, when it knows the pod's mapping: until then there is a
// placeholder.
//
//   the volume wants              pod on the host     own user namespace         not known
//   no map, the runtime can map   at once: it is not even asked
//   no map, the runtime cannot    at once             placeholder                at once
//   idmap: pod, it cannot         at once             placeholder                placeholder
//   fsGroup                       map                 placeholder                placeholder
//   owner, uidmap                 map                 placeholder                placeholder
//
// Without NRI:
//
//   no map, the runtime cannot    at once: no container of a pod with a user namespace starts
//   idmap: pod, it cannot         nested: it is not even asked
//   fsGroup                       map                 no map: runtime maps       no map, and an Event says so
//   owner, uidmap                 map                 refused                    refused
//
// What is asked, in this order: kubelet's record of the pod's mapping, the API server. A volume that names no pod
// (podInfoOnMount is off) is taken for one of a pod on the host.
import type { UserNamespace } from '../kubernetes/pods.ts';
import { readPodRecord } from '../userns/pod-record.ts';
import { isPodUid } from '../userns/pod-uid.ts';
import { type Cover, canBeMappedLater, isNested } from '../volume/publish.ts';
import type { PodInfo, Volume } from '../volume/volume.ts';
import type { NodeDependencies } from './dependencies.ts';
import { NodeError } from './reasons.ts';

export interface Mapped {
  /** Whether the driver may map ids. */
  readonly mayMap: boolean;
  /** What the pod gets first. */
  readonly cover: Cover | undefined;
}

const AT_ONCE: Mapped = { mayMap: true, cover: undefined };

/** @throws NodeError (pod-user-namespace, nri-unavailable) */
export async function mappedFor(
  volume: Volume,
  group: number | undefined,
  deps: NodeDependencies,
): Promise<Mapped> {
  const { pod, idmap } = volume;
  const way = deps.userNamespaces();
  if (isNested(volume) && (way.is === 'nested' || hasNestedDir(volume)))
    return { mayMap: true, cover: 'nested' };
  const wants = wantOf(volume, group, way.is === 'nested');
  if (pod === undefined || wants === undefined) return AT_ONCE;
  const answer = await userNamespaceOf(pod, deps);
  if (answer.is === 'host' || (wants === 'nothing' && answer.is === 'unknown')) return AT_ONCE;
  if (way.is === 'unavailable') {
    throw new NodeError(
      'nri-unavailable',
      `${nameOf(pod)} ${whyOf(answer)}, and NRI is not there: ${way.because}`,
    );
  }
  if (way.is === 'nri' && canBeMappedLater(volume)) return { mayMap: true, cover: 'placeholder' };
  const startsAnyway = answer.is === 'unknown' || isMappable(volume) || way.is === 'nested';
  if (wants === 'group' && startsAnyway) {
    if (answer.is === 'unknown') tellOfUnknown(pod, group, answer, deps);
    return { mayMap: false, cover: undefined };
  }
  const what = { explicit: 'uidmap and gidmap', owner: 'owner', none: volume.type, pod: 'idmap: pod' }[
    idmap.is
  ];
  throw new NodeError(
    'pod-user-namespace',
    `${what}: ${nameOf(pod)} ${whyOf(answer)}, and ${remedyOf(volume, way.is)}, or run the pod with hostUsers: true`,
  );
}

/** What has to be known of the pod for; undefined: nothing has. */
function wantOf(
  volume: Volume,
  group: number | undefined,
  isNestedOnly: boolean,
): 'map' | 'group' | 'nothing' | undefined {
  const { idmap } = volume;
  if (idmap.is === 'explicit' || idmap.is === 'owner' || isNested(volume)) return 'map';
  if (group !== undefined) return 'group';
  return isNestedOnly || isMappable(volume) ? undefined : 'nothing';
}

/** By the runtime. */
const isMappable = ({ kind }: Volume): boolean => kind !== 'overlay' && kind !== 'fuse';

const hasNestedDir = ({ idmap }: Volume): boolean => idmap.is === 'pod' && idmap.nestedDir !== undefined;
const nameOf = ({ namespace, name }: PodInfo): string => `pod ${namespace}/${name}`;
const whyOf = (answer: Exclude<UserNamespace, { is: 'host' }>): string =>
  answer.is === 'own'
    ? 'has a user namespace of its own (hostUsers: false)'
    : `may have a user namespace of its own: ${answer.because}`;

function remedyOf({ kind }: Volume, way: 'nri' | 'nested'): string {
  if (way === 'nri' && kind === 'overlay') {
    return 'an overlay with upperdir is mounted once for all pods, with ids that cannot be mapped again; use idmap: pod';
  }
  return (
    'its runtime cannot map a volume that is mapped already; remove the key (the runtime maps the volume to the pod), ' +
    'use idmap: pod'
  );
}

function tellOfUnknown(
  pod: PodInfo,
  group: number | undefined,
  answer: Extract<UserNamespace, { is: 'unknown' }>,
  deps: NodeDependencies,
): void {
  deps.events.emit(pod, {
    type: 'Warning',
    reason: 'FsGroupNotApplied',
    message: `fsGroup ${group} is not shown on the volume: the pod ${whyOf(answer)}`,
  });
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
