// Mounting a volume itself, not a view of it: by the engine, or where FUSE helpers run below fuse-host, what they mount by
// that. A volume of several mounts is then made one by one, in its order.
import type { StartSpec } from '../fuse-host/client.ts';
import { TOKENS } from '../journal/record.ts';
import { MountError, messageOf, toMountError } from '../mount/errors.ts';
import { isFuse } from '../mount/fuse/mounts.ts';
import type { Lookup } from '../mount/lookup.ts';
import type { MountRequest } from '../mount/operations.ts';
import type { TargetSpec } from '../mount/target.ts';
import { formatIdMapping, type UserMapping } from '../userns/mapping.ts';
import type { VolumeContext } from '../volume/context.ts';
import type { Volume } from '../volume/volume.ts';
import { type NodeDependencies, TO_THE_END } from './dependencies.ts';

/** What kubelet has said of the volume: all that fuse-host is told, which reads it by itself. */
export interface AskedVolume {
  readonly volumeId: string;
  readonly volumeContext: VolumeContext;
  readonly mountFlags: readonly string[];
  readonly fsType: string;
  /** The request lets nobody write. */
  readonly readOnly: boolean;
  readonly podMapping?: UserMapping | undefined;
}

/**
 * Gives what the target shows then, where that is known.
 * @throws MountError, FuseHostError, PolicyError
 */
export async function mountVolume(
  volume: Volume,
  request: MountRequest,
  asked: AskedVolume,
  deps: Pick<NodeDependencies, 'engine' | 'fuseHost'>,
  { timeoutMs }: { readonly timeoutMs: number },
): Promise<Lookup | undefined> {
  const { engine, fuseHost } = deps;
  if (fuseHost === undefined || !hasHelper(volume)) return engine.mountAll(request, { timeoutMs });
  const until = performance.now() + timeoutMs;
  const left = () => Math.max(1, until - performance.now());
  const { target } = request;
  const start = async (part: number, place: TargetSpec, createTarget: boolean) => {
    await fuseHost.start({ ...specOf(asked), target: target.path, part, createTarget }, left());
    await expectSeen(place, deps);
  };
  if (volume.kind !== 'mounts') {
    await start(0, target, request.create === 'directory');
    return undefined;
  }
  const { mounts, ...root } = request;
  const below = { ...root, create: undefined, expectEmpty: false };
  try {
    for (const [part, mount] of mounts.entries()) {
      const isRoot = part === 0;
      if (volume.parts[part]?.volume.kind === 'fuse') {
        const place =
          mount.target === undefined ? target : { ...target, path: `${target.path}/${mount.target}` };
        const create = isRoot ? request.create === 'directory' : request.createTargets === true;
        await start(part, place, create);
      } else {
        const seen = { ...mount, options: seenByFuseHost(mount.options, volume.parts[part]?.volume) };
        const one = isRoot ? { ...root, mounts: [seen] } : { ...withoutCreate(below), mounts: [seen] };
        await engine.mountAll(one, { timeoutMs: left() });
      }
    }
  } catch (error) {
    const remains = await engine.unmountRecursive({ target, force: true }, TO_THE_END).then(
      () => undefined,
      (problem: unknown) => ({ problem }),
    );
    await fuseHost.stop(target.path, TO_THE_END).catch(() => undefined);
    if (remains !== undefined) throw notTakenBack(error, remains.problem);
    throw error instanceof MountError
      ? new MountError({ ...error.toInit(), rolledBack: true }, { cause: error })
      : error;
  }
  return undefined;
}

/** Whoever failed: what is there still is for the caller to know of. */
function notTakenBack(error: unknown, problem: unknown): MountError {
  const init = toMountError(error, false).toInit();
  const message = `${init.message}; and what was mounted by then is not all taken back: ${messageOf(problem)}`;
  return new MountError({ ...init, message, rolledBack: false }, { cause: error });
}

/**
 * What fuse-host mounts below it must come back from its mount namespace, so it is shared with it. Only what is fresh can
 * be: a bind would be shared with its source, where the filesystem would show too.
 */
function seenByFuseHost(options: readonly string[], part: Volume | undefined): readonly string[] {
  if (part?.kind === 'tmpfs') return options.map((option) => (option === 'unpeered' ? 'shared' : option));
  throw new MountError({
    reason: 'invalid-mount',
    message: `a FUSE filesystem beside a mount of type ${part?.type} cannot be had with fuse-host; have it below a tmpfs`,
    rolledBack: true,
  });
}

function withoutCreate({
  create: _,
  ...request
}: Omit<MountRequest, 'mounts' | 'create'> & { create?: undefined }) {
  return request;
}

/** Whether a helper serves it, or a part of it. */
export function hasHelper(volume: Volume): boolean {
  return (
    volume.kind === 'fuse' ||
    (volume.kind === 'mounts' && volume.parts.some((part) => hasHelper(part.volume)))
  );
}

function specOf({
  volumeId,
  volumeContext: { [TOKENS]: _, ...volumeContext },
  mountFlags,
  fsType,
  readOnly,
  podMapping,
}: AskedVolume): Omit<StartSpec, 'target' | 'part' | 'createTarget'> {
  return {
    ...{ volumeId, volumeContext, mountFlags: [...mountFlags], fsType, readOnly },
    podUidmap: podMapping === undefined ? '' : formatIdMapping(podMapping.uid),
    podGidmap: podMapping === undefined ? '' : formatIdMapping(podMapping.gid),
  };
}

/** What fuse-host mounts in its own mount namespace must come to this one, and so to the pods. */
async function expectSeen(
  place: TargetSpec,
  { engine, fuseHost }: Pick<NodeDependencies, 'engine' | 'fuseHost'>,
): Promise<void> {
  const problem = await engine.lookup({ target: place }, TO_THE_END).then(
    (shown) => (shown.is === 'mount-point' && isFuse(shown.mount) ? undefined : unseen(place)),
    (error: unknown) => toMountError(error, false),
  );
  if (problem === undefined) return;
  const rolledBack = await fuseHost?.stop(place.path, { ...TO_THE_END, unmount: true }).then(
    () => true,
    () => false,
  );
  throw new MountError({ ...problem.toInit(), rolledBack: rolledBack === true }, { cause: problem });
}

const unseen = ({ path }: TargetSpec): MountError =>
  new MountError({
    reason: 'wrong-mount',
    message:
      `what fuse-host has mounted at ${path} is not seen by the driver: both need the kubelet directory as one ` +
      'shared mount (mountPropagation: Bidirectional)',
    rolledBack: false,
  });
