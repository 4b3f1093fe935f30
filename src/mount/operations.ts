// What the engine does, one synchronous function each: a table, so that the same operations serve a caller in
// this process and one that has them carried out elsewhere (engine.ts). Requests and results are plain data.
import path from 'node:path';
import { hasErrno } from '../sys/errors.ts';
import { fstatfs } from '../sys/syscalls.ts';
import { apply } from './apply.ts';
import { MountError, toMountError } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { lookup } from './lookup.ts';
import type { Mount } from './mount.ts';
import type { MountInfo } from './mountinfo.ts';
import { plan } from './plan.ts';
import { openTarget, type TargetKind, type TargetSpec } from './target.ts';
import { unmountTop } from './unmount.ts';

export interface MountRequest {
  readonly mounts: readonly Mount[];
  /** The root of the set. */
  readonly target: TargetSpec;
  /** Make the target when it is missing; it is removed again if the mount fails. */
  readonly create?: TargetKind;
  /** Refuse a target directory with files in it, which the mount would hide. */
  readonly expectEmpty?: boolean;
}

export interface UnmountRequest {
  readonly target: TargetSpec;
  readonly lazy?: boolean;
  /** Every mount of a stack, not only the top one. */
  readonly all?: boolean;
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
  readonly lookup: PlaceRequest;
  readonly usage: PlaceRequest;
}

export interface Results {
  readonly mountAll: undefined;
  /** How many mounts were taken away. */
  readonly unmount: number;
  /** The top mount at exactly this path, or null. */
  readonly lookup: MountInfo | null;
  readonly usage: Usage;
}

export type OperationName = keyof Requests;

export type Operations = { readonly [K in OperationName]: (request: Requests[K]) => Results[K] };

export const operationsOn = (kernel: Kernel): Operations => ({
  /** Mounts all or nothing. */
  mountAll(request): undefined {
    const plans = request.mounts.map((mount) => ({ steps: plan(mount, kernel), target: mount.target }));
    using places = new DisposableStack();
    const root = places.use(openTarget(request.target));
    // Only disposed after a failure. A mount is taken away lazily: nobody but us has seen it.
    const undo = new DisposableStack();
    try {
      if (request.create && root.create(request.create))
        undo.defer(() => root.remove(request.create ?? 'file'));
      if (request.expectEmpty) root.expectEmpty();
      for (const { steps, target } of plans) {
        const at = target ? places.use(openTarget(below(request.target.path, target))) : root;
        apply(steps, at);
        undo.defer(() => unmountTop(at, { lazy: true }));
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

  lookup({ target }) {
    return lookup(target) ?? null;
  },

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

/** A place below the root of a mount set, reached without help from links. */
function below(root: string, target: string): TargetSpec {
  return { path: path.join(root, target), beneath: root };
}

/** The parent directory of the target is not there: so is no mount. */
function isGone(error: unknown): boolean {
  return error instanceof MountError && error.reason === 'bad-target' && hasErrno(error.cause, 'ENOENT');
}
