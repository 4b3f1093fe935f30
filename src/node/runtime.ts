// What the container runtime is answered, when it asks over NRI (src/nri) about pods with volumes that wait for their ids,
// or that the driver has mapped itself.
//
//   a sandbox was made        its volumes are completed: kubelet has recorded the pod's mapping by then, and has not looked
//                             at subPaths yet
//   a container is made       the same, where that could not be; its mounts that come from such volumes are replaced by
//                             ones without the runtime's own mapping, and directories that kubelet has made for subPaths
//                             are given to the pod's root
//   what runs already         after a while without NRI: completed as well
//
// An error fails what the runtime was about to do; kubelet shows it as an Event of the pod, and tries again. The answer for
// all other pods is empty, at once.
import path from 'node:path';
import type { VolumeRecord } from '../journal/record.ts';
import { messageOf } from '../mount/errors.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import { isWithin } from '../mount/target.ts';
import type { Plugin, RuntimeState } from '../nri/connection.ts';
import { type Container, ContainerState, type Mount, type PodSandbox } from '../rpc/generated/nri.ts';
import type { UserMapping } from '../userns/mapping.ts';
import { mappedRoot } from '../userns/mapping-algebra.ts';
import { originOf, unmapped } from './container-mounts.ts';
import { type NodeDependencies, placeOf, TO_THE_END } from './dependencies.ts';
import { isMountOf } from './mounted.ts';
import { isPlaceholder } from './placeholder.ts';
import { idsOfSandbox } from './sandbox-ids.ts';

export interface RuntimeOptions {
  readonly deps: () => NodeDependencies;
  readonly log: {
    info(message: string, fields?: object): void;
    warn(message: string, fields?: object): void;
  };
}

export function runtimePlugin({ deps, log }: RuntimeOptions): Plugin {
  async function served<T>(request: string, pod: PodSandbox, work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    const fields = () => ({
      request,
      pod: `${pod.namespace}/${pod.name}`,
      ms: Math.round(performance.now() - begun),
    });
    try {
      const result = await work();
      deps().metrics.count('csi_idmap_nri_requests_total', { request, outcome: 'served' });
      log.info('answered the container runtime', fields());
      return result;
    } catch (error) {
      deps().metrics.count('csi_idmap_nri_requests_total', { request, outcome: 'failed' });
      log.warn('failed a request of the container runtime', { ...fields(), problem: messageOf(error) });
      throw new Error(`csi-driver-idmap: ${messageOf(error)}`, { cause: error });
    }
  }

  return {
    synchronized(state) {
      for (const pod of state.pods) {
        const records = recordsOf(pod, deps());
        if (!records.some(({ state }) => state === 'waiting')) continue;
        tellOfEarly(pod, records, state, deps());
        served('Synchronize', pod, () => completeAll(pod, records, deps())).catch(() => undefined);
      }
    },
    async runPodSandbox(pod) {
      const records = recordsOf(pod, deps());
      if (records.length === 0) return;
      await served('RunPodSandbox', pod, () => completeAll(pod, records, deps()));
    },
    async createContainer(pod, container) {
      const records = recordsOf(pod, deps());
      if (records.length === 0) return [];
      return served('CreateContainer', pod, async () => {
        const mapping = await completeAll(pod, records, deps());
        const placeholders = recordsOf(pod, deps()).filter(({ cover }) => cover === 'placeholder');
        const replaced = placeholders.map((record) => replacedMounts(record, container, mapping, deps()));
        return (await Promise.all(replaced)).flat();
      });
    },
  };
}

/** Of the volumes that are completed when the pod's ids are known. */
function recordsOf({ uid }: PodSandbox, { journal }: NodeDependencies): VolumeRecord[] {
  return journal.all().filter(({ kind, cover, state, pod }) => {
    return kind === 'publish' && cover !== undefined && state !== 'intended' && pod?.uid === uid;
  });
}

/** Gives the mapping of the pod; undefined for one in the host's user namespace. */
async function completeAll(
  pod: PodSandbox,
  records: readonly VolumeRecord[],
  deps: NodeDependencies,
): Promise<UserMapping | undefined> {
  const mapping = idsOfSandbox(pod, deps);
  const waiting = records.filter(({ state }) => state === 'waiting');
  await Promise.all(
    waiting.map((record) =>
      deps.completions.now(record, mapping).catch((error: unknown) => {
        throw new Error(`volume ${record.volumeId} is not there: ${messageOf(error)}`, { cause: error });
      }),
    ),
  );
  return mapping;
}

async function replacedMounts(
  record: VolumeRecord,
  { mounts }: Container,
  mapping: UserMapping | undefined,
  deps: NodeDependencies,
): Promise<Mount[]> {
  const ours = mounts.flatMap((mount) => {
    const origin = originOf(mount.source, record.path, deps.kubeletDir);
    return origin === undefined ? [] : [{ mount, origin }];
  });
  if (ours.length === 0) return [];
  const volume = await mountAt(record.path, deps);
  if (volume === undefined || isPlaceholder(volume) || !isMountOf(record, volume)) {
    throw new Error(`volume ${record.volumeId} is not mounted at ${record.path}`);
  }
  const isReadOnly = [...volume.options, ...volume.superblockOptions].includes('ro');
  const replaced = ours.map(async ({ mount, origin }) => {
    if (origin.is !== 'volume') {
      const shown = await mountAt(origin.path, deps);
      if (origin.is === 'part' ? shown !== undefined : !isPartOf(shown, volume)) return [];
      if (origin.is === 'sub-path' && shown !== undefined)
        await giveSubPath(record, { shown, volume }, mapping, deps);
    }
    return [unmapped(mount, { isReadOnly })];
  });
  return (await Promise.all(replaced)).flat();
}

async function mountAt(place: string, deps: NodeDependencies): Promise<MountInfo | undefined> {
  const shown = await deps.engine.lookup({ target: placeOf(place, deps) }, TO_THE_END);
  if (shown.is === 'unknown') throw new Error(`cannot tell what is mounted at ${place}: ${shown.because}`);
  return shown.is === 'mount-point' ? shown.mount : undefined;
}

/** Whether it is a part of what the volume shows. */
const isPartOf = (shown: MountInfo | undefined, volume: MountInfo): boolean =>
  shown?.device === volume.device && isWithin(shown.root, volume.root);

interface SubPath {
  readonly shown: MountInfo;
  readonly volume: MountInfo;
}

/** Kubelet, which is root of the host, makes the directory of a subPath where it is missing. */
async function giveSubPath(
  record: VolumeRecord,
  { shown, volume }: SubPath,
  mapping: UserMapping | undefined,
  deps: NodeDependencies,
): Promise<void> {
  const below = path.relative(volume.root, shown.root);
  if (mapping === undefined || below === '') return;
  const request = { target: placeOf(record.path, deps), below, to: mappedRoot(mapping) };
  await deps.engine.handOver(request, TO_THE_END);
}

/** Of a pod on the host whose container did not wait, and cannot be given the volume any more. */
function tellOfEarly(
  sandbox: PodSandbox,
  records: readonly VolumeRecord[],
  { containers }: RuntimeState,
  deps: NodeDependencies,
): void {
  const running = containers.filter(
    ({ podSandboxId, state }) => podSandboxId === sandbox.id && state === ContainerState.CONTAINER_RUNNING,
  );
  const early = records.find(({ state, cover, path: target }) => {
    const isMounted = ({ mounts }: Container) =>
      mounts.some(({ source }) => originOf(source, target, deps.kubeletDir) !== undefined);
    return state === 'waiting' && cover === 'placeholder' && running.some(isMounted);
  });
  if (early?.pod === undefined) return;
  deps.events.emit(early.pod, {
    type: 'Warning',
    reason: 'ContainerWithoutVolume',
    message: `a container of the pod has started while the driver was away, and without volume ${early.volumeId}; delete the pod`,
  });
}
