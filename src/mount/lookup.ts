// Which mount is at a path, and what is mounted below it.
import { opendirSync } from 'node:fs';
import { STATX_ATTR_MOUNT_ROOT } from '../sys/constants.ts';
import type { Statx } from '../sys/structs.ts';
import { kernelSaid, MountError, messageOf } from './errors.ts';
import type { MountInfo } from './mountinfo.ts';
import { isWithin, openTarget, type Target, type TargetSpec } from './target.ts';
import { type MountView, mountIdOf, mountinfoView, mountView, type SeenMount, standingOf } from './view.ts';

export type Lookup =
  /** The top one, where several are stacked. */
  | { readonly is: 'mount-point'; readonly mount: MountInfo }
  /** Something else, or nothing at all. `isFree`: nothing, or an empty directory, so that nothing is below it either. */
  | { readonly is: 'not'; readonly isFree: boolean }
  /** It cannot be told: it must be taken neither for mounted nor for free. */
  | { readonly is: 'unknown'; readonly because: string };

/** A mount that comes and goes between two questions about it: asked again so often. */
const TRIES = 5;

/**
 * What is at exactly this path. A mount whose server is dead is found too.
 * May hang with the server of a filesystem above it: run it where that does no harm (engine.ts).
 * @throws MountError (bad-target) when the path does not lie where the spec says that it must
 */
export function lookup(spec: TargetSpec, view: MountView = mountView()): Lookup {
  try {
    using target = openTarget(spec);
    return lookupAt(target, view);
  } catch (error) {
    if (isAbsent(error)) return FREE;
    if (error instanceof MountError && spec.beneath !== undefined) throw error;
    return unknown(error);
  }
}

/** The same of a place that is held. */
export function lookupAt(target: Target, view: MountView = mountView()): Lookup {
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      const { id, isRoot, old } = standingOf(target, view);
      if (!isRoot) return { is: 'not', isFree: isEmptyDirectory(target) };
      const found = (old ? mountinfoView : view).find(id);
      if (found !== undefined) return { is: 'mount-point', mount: found.info };
    }
    return { is: 'unknown', because: `the mount at ${target.path} changes all the time, or is out of sight` };
  } catch (error) {
    return isAbsent(error) ? FREE : unknown(error);
  }
}

const FREE: Lookup = { is: 'not', isFree: true };

const unknown = (error: unknown): Lookup => ({
  is: 'unknown',
  because: messageOf(error),
});

/** False for what cannot be looked into. */
function isEmptyDirectory(target: Target): boolean {
  try {
    using there = target.open();
    // One entry tells as much as a million.
    using entries = opendirSync(`/proc/self/fd/${there.number}/.`);
    return entries.readSync() === null;
  } catch {
    return false;
  }
}

/** What is seen at a place, as far as who takes it away must know. */
export interface Shown {
  /** Nothing is mounted, for certain. */
  readonly isBare: boolean;
  /** Of the top mount; undefined where none is. */
  readonly type: string | undefined;
  /** Undefined where nothing is there, or nothing answers. */
  readonly look: Statx | undefined;
}

/** By one look. Asks no server, and nothing of other mounts. */
export function shownAt(target: Target, view: MountView = mountView()): Shown {
  try {
    const { id, isRoot, old, look } = standingOf(target, view);
    const type = isRoot ? (old ? mountinfoView : view).typeOf(id) : undefined;
    // Before Linux 5.8 no root of a mount is told from any other directory.
    const isTold = look !== undefined && (look.knownAttributes & STATX_ATTR_MOUNT_ROOT) !== 0n;
    return { isBare: isTold && !isRoot, type, look };
  } catch (error) {
    if (isAbsent(error)) return { isBare: true, type: undefined, look: undefined };
    throw error;
  }
}

/**
 * The mounts at this path and below it, whole stacks, in any order. They are those that stand on what the path
 * leads to: what another mount hides from it is not among them.
 */
export function mountsBelow(spec: TargetSpec, view: MountView = mountView()): MountInfo[] {
  try {
    using target = openTarget(spec);
    return seenBelow(target, view).map(({ info }) => info);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** As mountsBelow, with the ids of the view. */
export function seenBelow(target: Target, view: MountView): SeenMount[] {
  const place = target.realPath();
  return view.below(mountIdOf(target.parent, view), (one) => isWithin(one, place));
}

/** Nor can anything be called by a name that is too long. */
const isAbsent = (error: unknown): boolean => kernelSaid(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG');
