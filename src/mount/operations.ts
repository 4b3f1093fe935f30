// What the engine does, one synchronous function each: a table, so that the same operations serve a caller in
// this process and one that has them carried out elsewhere (engine.ts). Requests and results are plain data.
import { statSync } from 'node:fs';
import { hasErrno } from '../sys/errors.ts';
import { fstatfs } from '../sys/syscalls.ts';
import { apply } from './apply.ts';
import { MountError, toMountError } from './errors.ts';
import { inRoot } from './in-root.ts';
import type { Kernel } from './kernel.ts';
import { type Lookup, lookup, mountsBelow } from './lookup.ts';
import type { Mount } from './mount.ts';
import type { MountInfo } from './mountinfo.ts';
import { plan } from './plan.ts';
import type { Step } from './steps.ts';
import { openTarget, type Target, type TargetKind, type TargetSpec } from './target.ts';
import { unmountTree } from './unmount/recursive.ts';
import { unmountTop } from './unmount.ts';
import { mountView } from './view.ts';

export interface MountRequest {
  readonly mounts: readonly Mount[];
  /** The root of the set. */
  readonly target: TargetSpec;
  /** Make the target when it is missing; it is removed again if the mount fails. */
  readonly create?: TargetKind;
  /** Make the targets below the root too, where they are missing. */
  readonly createTargets?: boolean;
}

export interface UnmountRequest {
  readonly target: TargetSpec;
  readonly lazy?: boolean;
  /** Every mount of a stack, not only the top one. */
  readonly all?: boolean;
  /** Remove the target afterwards; nothing there is no error. */
  readonly remove?: TargetKind;
}

export interface UnmountTreeRequest {
  readonly target: TargetSpec;
  readonly lazy?: boolean;
  /** Remove the target afterwards; nothing there is no error. */
  readonly remove?: TargetKind;
}

/** Capacity of a filesystem, in bytes and files. */
export interface Usage {
  readonly bytes: { readonly total: number; readonly used: number; readonly available: number };
  readonly inodes: { readonly total: number; readonly used: number; readonly available: number };
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
}

export interface Results {
  readonly mountAll: undefined;
  /** How many mounts were taken away. */
  readonly unmount: number;
  /** Paths of the mounts that were taken away, in this order. */
  readonly unmountRecursive: readonly string[];
  readonly lookup: Lookup;
  /** The mounts at this path and below it. */
  readonly mountsBelow: readonly MountInfo[];
  readonly usage: Usage;
}

export type OperationName = keyof Requests;

export type Operations = { readonly [K in OperationName]: (request: Requests[K]) => Results[K] };

export const operationsOn = (kernel: Kernel): Operations => ({
  /** Mounts all or nothing. */
  mountAll(request): undefined {
    const plans = request.mounts.map((mount) => ({
      steps: plan(mount, kernel),
      target: mount.target,
      kind: () => kindOf(mount),
    }));
    using places = new DisposableStack();
    const root = places.use(openTarget(request.target));
    // Only disposed after a failure. A mount is taken away lazily: nobody but us has seen it.
    const undo = new DisposableStack();
    const mounted = new Set<string>();
    try {
      if (request.create && root.create(request.create))
        undo.defer(() => root.remove(request.create ?? 'file'));
      for (const { steps, target, kind } of plans) {
        const create = request.createTargets ? kind() : undefined;
        const at = target ? places.use(inRoot(root, target, { create, undo, keep: places })) : root;
        apply(steps, at);
        undo.defer(takingBack(steps, at, mounted));
      }
    } catch (error) {
      throw afterUndo(toMountError(error, true), undo);
    }
  },

  unmount({ target: spec, lazy = false, all = false, remove }) {
    let count = 0;
    try {
      using target = openTarget(spec);
      while (unmountTop(target, { lazy })) {
        count++;
        if (!all) break;
      }
      if (remove) target.remove(remove);
      return count;
    } catch (error) {
      if (isGone(error)) return 0;
      throw new MountError({
        ...toMountError(error, true).toInit(),
        rolledBack: count === 0,
        unmounted: count,
      });
    }
  },

  unmountRecursive({ target: spec, lazy = false, remove }) {
    try {
      using target = openTarget(spec);
      const unmounted = unmountTree(target, { lazy }, mountView(kernel));
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
    const fs = fstatfs(at);
    const bytes = (blocks: bigint) => Number(blocks * fs.blockSize);
    return {
      bytes: {
        total: bytes(fs.blocks),
        used: bytes(fs.blocks - fs.blocksFree),
        available: bytes(fs.blocksAvailable),
      },
      inodes: {
        total: Number(fs.files),
        used: Number(fs.files - fs.filesFree),
        available: Number(fs.filesFree),
      },
    };
  },
});

/** The failure, with `rolledBack` as true as the undoing makes it. */
function afterUndo(failure: MountError, undo: DisposableStack): MountError {
  try {
    undo.dispose();
    return failure;
  } catch {
    return new MountError({ ...failure.toInit(), rolledBack: false }, { cause: failure });
  }
}

/** What undoes one mount of a set. `mounted` collects the places that it mounts at. */
function takingBack(steps: readonly Step[], at: Target, mounted: Set<string>): () => void {
  const isRemount = steps.some(({ kind }) => kind === 'openMounted');
  if (!isRemount) {
    mounted.add(at.path);
    return () => unmountTop(at, { lazy: true });
  }
  // A remount of what the set itself has mounted goes with it.
  if (mounted.has(at.path)) return () => undefined;
  return () => {
    throw new Error(`what the mount at ${at.path} was before its remount is not known any more`);
  };
}

/** What a target must be for this mount: only what is bound may be a file. */
function kindOf({ type, source, options }: Mount): TargetKind {
  const binds = [type, ...options].some((one) => one === 'bind' || one === 'rbind');
  return binds && statSync(source, { throwIfNoEntry: false })?.isDirectory() === false ? 'file' : 'directory';
}

/** The parent directory of the target is not there: so is no mount. */
function isGone(error: unknown): boolean {
  return error instanceof MountError && error.reason === 'bad-target' && hasErrno(error.cause, 'ENOENT');
}
