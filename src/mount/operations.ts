// What the engine does, one synchronous function each: a table, so that the same operations serve a caller in
// this process and one that has them carried out elsewhere (engine.ts). Requests and results are plain data.
import { statSync } from 'node:fs';
import type { UserNamespaces } from '../userns/cache.ts';
import { apply } from './apply.ts';
import { afterUndo, MountError, toMountError } from './errors.ts';
import { beginPrograms, type ProgramOptions, type Programs } from './fuse/programs.ts';
import { type HandOverRequest, type HandOverResult, handOver } from './hand-over.ts';
import { type CheckImageRequest, type CheckImageResult, checkImage } from './image/check.ts';
import {
  type AttachDeviceRequest,
  type AttachDeviceResult,
  attachDevice,
  deviceShownAt,
  isOf,
  leave,
  letGo,
  letGoOf,
  loopShown,
} from './image/device.ts';
import { type GrowRequest, type GrowResult, grow } from './image/grow.ts';
import { type MakeImageRequest, type MakeImageResult, makeImage } from './image/make.ts';
import { inRoot } from './in-root.ts';
import {
  type CanIdmapRequest,
  type CanIdmapResult,
  canIdmap,
  propagationOf,
  type Root,
  type RootOfRequest,
  rootOf,
} from './inspect.ts';
import type { Kernel } from './kernel.ts';
import { type Layer, type MakeLayerRequest, makeLayer } from './layer/make.ts';
import { type MoveAsideRequest, type MoveAsideResult, moveAside } from './layer/move-aside.ts';
import { type PurgeLayersRequest, type PurgeLayersResult, purgeLayers } from './layer/purge.ts';
import { type RemoveLayerRequest, type RemoveLayerResult, removeLayer } from './layer/remove.ts';
import { type Lookup, lookup, lookupAt, mountsBelow, type Shown, shownAt } from './lookup.ts';
import { borrowedBy, borrowedDevice, borrowedFor, expectReleased } from './loop/release.ts';
import type { Mount } from './mount.ts';
import type { MountInfo } from './mountinfo.ts';
import { type OwnEmptyRequest, type OwnEmptyResult, ownEmpty } from './own-empty.ts';
import { plan } from './plan.ts';
import { type SourceRequest, type Sources, sourcesOf } from './source.ts';
import { userNamespacesOn } from './steps/userns.ts';
import { isGone, openTarget, type Removed, type Target, type TargetKind, type TargetSpec } from './target.ts';
import { unmountTree } from './unmount/recursive.ts';
import { type UnmountOptions, unmountTop } from './unmount.ts';
import { type Usage, usageOf } from './usage.ts';
import { mountView } from './view.ts';

export interface MountRequest extends SourceRequest {
  readonly mounts: readonly Mount[];
  /** The root of the set. */
  readonly target: TargetSpec;
  /** Make the target when it is missing; it is removed again if the mount fails. */
  readonly create?: TargetKind;
  /** Refuse a target directory with files in it, which the mount would hide. */
  readonly expectEmpty?: boolean;
  /** For FUSE mounts: how their helpers are found and started. */
  readonly programs?: ProgramOptions;
  /** Make the targets below the root too, where they are missing. */
  readonly createTargets?: boolean;
}

export interface UnmountRequest extends SourceRequest {
  readonly target: TargetSpec;
  readonly lazy?: boolean;
  /**
   * Cut a FUSE filesystem off from its server first, so that all who wait for it are freed with an error, and take
   * it away even if it is in use. It is gone for every other mount of the same filesystem too. Others: no effect.
   */
  readonly force?: boolean;
  /** Every mount of a stack, not only the top one. */
  readonly all?: boolean;
  /** Remove the target afterwards; nothing there is no error. */
  readonly remove?: Removed;
  /** For FUSE mounts: how fusermount3 is found, and how long it may take. */
  readonly programs?: ProgramOptions;
  /**
   * An image file, under the name it was mounted by. Its loop device must be free afterwards, or mounted elsewhere in
   * this mount namespace; that is asked also when nothing is mounted at the target any more, so that a call that
   * failed (busy) can be repeated. Without it only the loop device of what is unmounted now is looked after, and that of
   * a target of attachDevice() stays: with it, the last target of the image lets the device go.
   */
  readonly image?: string;
  /** The same for who does not know the image: the one whose device is shown, if attachDevice() attached it. */
  readonly imageShown?: boolean;
}

export interface UnmountTreeRequest {
  readonly target: TargetSpec;
  readonly lazy?: boolean;
  /** As of unmount. */
  readonly force?: boolean;
  /** Remove the target afterwards; nothing there is no error. */
  readonly remove?: TargetKind;
}

interface PlaceRequest {
  readonly target: TargetSpec;
}

export interface Requests {
  readonly mountAll: MountRequest;
  readonly unmount: UnmountRequest;
  readonly unmountRecursive: UnmountTreeRequest;
  readonly lookup: PlaceRequest;
  readonly mountsBelow: PlaceRequest;
  readonly usage: PlaceRequest;
  readonly makeImage: MakeImageRequest;
  readonly attachDevice: AttachDeviceRequest;
  readonly grow: GrowRequest;
  readonly checkImage: CheckImageRequest;
  readonly makeLayer: MakeLayerRequest;
  readonly removeLayer: RemoveLayerRequest;
  readonly purgeLayers: PurgeLayersRequest;
  readonly moveAside: MoveAsideRequest;
  readonly canIdmap: CanIdmapRequest;
  readonly rootOf: RootOfRequest;
  readonly propagationOf: RootOfRequest;
  readonly ownEmpty: OwnEmptyRequest;
  readonly handOver: HandOverRequest;
}

export interface Results {
  /** What the target shows then. */
  readonly mountAll: Lookup;
  /** How many mounts were taken away. */
  readonly unmount: number;
  /** Paths of the mounts that were taken away, in this order. */
  readonly unmountRecursive: readonly string[];
  readonly lookup: Lookup;
  /** The mounts at this path and below it. */
  readonly mountsBelow: readonly MountInfo[];
  readonly usage: Usage;
  readonly makeImage: MakeImageResult;
  readonly attachDevice: AttachDeviceResult;
  readonly grow: GrowResult;
  readonly checkImage: CheckImageResult;
  readonly makeLayer: Layer;
  readonly removeLayer: RemoveLayerResult;
  readonly purgeLayers: PurgeLayersResult;
  readonly moveAside: MoveAsideResult;
  readonly canIdmap: CanIdmapResult;
  readonly rootOf: Root;
  readonly propagationOf: readonly string[];
  readonly ownEmpty: OwnEmptyResult;
  readonly handOver: HandOverResult;
}

export type OperationName = keyof Requests;

/** They look, and make nothing that outlives them: however they fail, nothing is left. */
const LOOKING: ReadonlySet<OperationName> = new Set<OperationName>([
  'lookup',
  'mountsBelow',
  'usage',
  'checkImage',
  'canIdmap',
  'rootOf',
  'propagationOf',
]);

/** What an operation throws, as what its caller is told. */
export const failureOf = (operation: OperationName, error: unknown): MountError =>
  toMountError(error, LOOKING.has(operation));

export type Operations = { readonly [K in OperationName]: (request: Requests[K]) => Results[K] };

/** @param userNamespaces of this engine; by default none is kept */
export const operationsOn = (
  kernel: Kernel,
  userNamespaces: UserNamespaces = userNamespacesOn(kernel, { limit: 0 }),
): Operations => ({
  /** Mounts all or nothing. */
  mountAll(request) {
    const held = request.sourceRoots !== undefined;
    const plans = request.mounts.map((mount) => ({ mount, steps: plan(mount, kernel, { held }) }));
    const programs = beginPrograms(request.programs);
    using places = new DisposableStack();
    // Only disposed after a failure. A mount is taken away lazily: nobody but us has seen it.
    const undo = new DisposableStack();
    const mounted = new Set<string>();
    try {
      const root = places.use(openTarget(request.target));
      if (request.create && root.create(request.create))
        undo.defer(() => root.remove(request.create ?? 'file'));
      if (request.expectEmpty) root.expectEmpty();
      for (const { mount, steps } of plans) {
        // For one mount: an earlier one of the set may change what a name leads to.
        using sources = sourcesOf(request);
        const create = request.createTargets ? kindOf(mount, sources) : undefined;
        const at = mount.target
          ? places.use(inRoot(root, mount.target, { create, undo, keep: places }))
          : root;
        apply(steps, at, kernel, { sources, programs, userNamespaces });
        undo.defer(takingBack(mount, at, mounted, programs));
      }
      return lookupAt(root, mountView(kernel));
    } catch (error) {
      throw afterUndo(toMountError(error, true), undo);
    }
  },

  unmount(request) {
    const { target: spec, lazy = false, force = false, all = false, remove } = request;
    const programs = beginPrograms(request.programs);
    using sources = sourcesOf(request);
    let count = 0;
    let wasDevice = false;
    try {
      const { image } = request;
      const shown = image === undefined && request.imageShown === true ? deviceShown(spec) : undefined;
      const devices = image === undefined ? [] : borrowedFor(image, sources);
      try {
        using target = openTarget(spec);
        for (;;) {
          const there = shownAt(target);
          if (there.isBare) break;
          const device = lazy ? undefined : borrowedBy(target, there);
          const number = loopShown(there);
          const isToGo =
            number !== undefined &&
            (number === shown || (image !== undefined && isOf(number, image, sources)));
          const options = { lazy, force, programs };
          if (!unmountShown(target, there, { options, device: isToGo ? number : undefined })) break;
          count++;
          wasDevice ||= number !== undefined;
          const freed = device ?? (isToGo ? borrowedDevice(number) : undefined);
          if (freed) devices.push(freed);
          if (!all) break;
        }
        if (remove) target.remove(remove);
      } catch (error) {
        if (!isGone(error)) throw error;
      }
      if (image !== undefined && (wasDevice || count === 0)) devices.push(...letGo(image, sources));
      if (shown !== undefined && wasDevice) devices.push(...letGoOf(shown));
      // Lazily unmounted, a device is free when the last user goes.
      if (!lazy) expectReleased(devices);
      return count;
    } catch (error) {
      const failure = toMountError(error, true).toInit();
      throw new MountError({ ...failure, rolledBack: failure.rolledBack && count === 0, unmounted: count });
    }
  },

  unmountRecursive({ target: spec, lazy = false, force = false, remove }) {
    try {
      using target = openTarget(spec);
      const unmounted = unmountTree(target, { lazy, force }, mountView(kernel));
      if (remove) target.remove(remove);
      return unmounted;
    } catch (error) {
      if (isGone(error)) return [];
      throw toMountError(error, false);
    }
  },

  lookup: ({ target }) => lookup(target, mountView(kernel)),

  mountsBelow: ({ target }) => mountsBelow(target, mountView(kernel)),

  /** Asks the filesystem at the target; hangs with its server. */
  usage({ target: spec }) {
    using target = openTarget(spec);
    using at = target.open();
    return usageOf(at);
  },

  makeImage: (request) => makeImage(request, kernel),

  checkImage,

  attachDevice: (request) => attachDevice(request, kernel),

  grow: (request) => grow(request, kernel),

  makeLayer: (request) => makeLayer(request, kernel, userNamespaces),

  removeLayer: (request) => removeLayer(request, kernel),

  purgeLayers: (request) => purgeLayers(request, kernel),

  moveAside: (request) => moveAside(request, kernel),

  canIdmap: (request) => canIdmap(request, kernel, userNamespaces),

  rootOf,

  propagationOf,

  ownEmpty,

  handOver,
});

/** What undoes one mount of a set. `mounted` collects the places that it mounts at. */
function takingBack({ options }: Mount, at: Target, mounted: Set<string>, programs: Programs): () => void {
  if (!options.includes('remount')) {
    mounted.add(at.path);
    return () => unmountTop(at, { lazy: true, programs });
  }
  // A remount of what the set itself has mounted goes with it.
  if (mounted.has(at.path)) return () => undefined;
  return () => {
    throw new Error(`what the mount at ${at.path} was before its remount is not known any more`);
  };
}

/** @param how `device`: goes with its last target */
function unmountShown(
  target: Target,
  there: Shown,
  { options, device }: { readonly options: UnmountOptions; readonly device: number | undefined },
): boolean {
  using leaving = device === undefined ? undefined : leave(device);
  try {
    return unmountTop(target, options, there);
  } catch (error) {
    leaving?.stay();
    throw error;
  }
}

function deviceShown(spec: TargetSpec): number | undefined {
  try {
    using target = openTarget(spec);
    return deviceShownAt(target);
  } catch (error) {
    if (!isGone(error)) throw error;
    return undefined;
  }
}

/** What a target must be for this mount: only what is bound may be a file. */
function kindOf({ type, source, options }: Mount, sources: Sources): TargetKind {
  const binds = [type, ...options].some((one) => one === 'bind' || one === 'rbind');
  if (!binds) return 'directory';
  const found = statSync(sources.reach(source), { throwIfNoEntry: false });
  return found?.isDirectory() === false ? 'file' : 'directory';
}
