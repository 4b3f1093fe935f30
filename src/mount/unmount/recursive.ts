// Taking away everything that is mounted at a place and below it.
//
//   which   the mounts whose path is the place or below it and that stand, through however many others, on what the
//           place stands on: what is hidden from the place by another mount stays
//   order   a mount goes after all that stand on it; of those that stand on one mount, the one that covers the
//           others goes first, or they could not be reached
//   how     each by the directory that it is mounted in, opened without help from links, and only when the name
//           there leads to just this mount
import path from 'node:path';
import { openBelow } from '../../sys/open-below.ts';
import { MountError, messageOf, type UnmountProgress } from '../errors.ts';
import { seenBelow } from '../lookup.ts';
import { type Target, targetIn } from '../target.ts';
import { type UnmountOptions, unmountTop } from '../unmount.ts';
import { type MountView, mountView, type SeenMount, standingOf } from '../view.ts';

/**
 * One try at each mount; nothing below the target is no error. Returns the paths in the order in which they went.
 * @throws MountError with `progress`: busy when another try may succeed
 */
export function unmountTree(
  target: Target,
  options: UnmountOptions,
  view: MountView = mountView(),
): readonly string[] {
  const unmounted: string[] = [];
  const failed = new Map<bigint, Failure>();
  for (const mount of leavesFirst(seenBelow(target, view))) {
    try {
      if (unmountOne(mount, target, options, view)) unmounted.push(mount.info.target);
    } catch (error) {
      failed.set(mount.id, { mount, error });
    }
  }
  if (failed.size === 0) return unmounted;
  // A lazy unmount takes what stands on the mount along with it.
  const there = new Set(seenBelow(target, view).map(({ id }) => id));
  const left = [...failed.values()].filter(({ mount }) => there.has(mount.id));
  unmounted.push(...[...failed.keys()].filter((id) => !there.has(id)).map((id) => targetOf(failed, id)));
  if (left.length === 0) return unmounted;
  throw incomplete(target, left, { unmounted, left: left.map(({ mount }) => mount.info.target) });
}

interface Failure {
  readonly mount: SeenMount;
  readonly error: unknown;
}

const targetOf = (failed: ReadonlyMap<bigint, Failure>, id: bigint): string =>
  failed.get(id)?.mount.info.target ?? '';

/** Pure. Without recursion, for stacks as deep as the kernel allows. */
export function leavesFirst(mounts: readonly SeenMount[]): SeenMount[] {
  // A path that covers another is the shorter one: the beginning of it.
  const byPath = mounts.toSorted((a, b) => compare(a.info.target, b.info.target));
  const ids = new Set(mounts.map(({ id }) => id));
  const byParent = Map.groupBy(byPath, ({ parentId }) => parentId);
  const pending = byPath.filter(({ parentId }) => !ids.has(parentId));
  const rootsFirst: SeenMount[] = [];
  for (let mount = pending.pop(); mount !== undefined; mount = pending.pop()) {
    rootsFirst.push(mount);
    pending.push(...(byParent.get(mount.id) ?? []));
  }
  return rootsFirst.reverse();
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** False when it was gone already: with another one, below a shared mount, or by someone else's hand. */
function unmountOne(mount: SeenMount, target: Target, options: UnmountOptions, view: MountView): boolean {
  const place = path.dirname(target.realPath());
  const below = path.relative(place, path.dirname(mount.info.target));
  using at = targetIn(openBelow(target.parent, below || '.'), mount.info.target);
  const standing = standingOf(at, view);
  const isShown = standing.old ? standing.id === BigInt(mount.info.id) : standing.id === mount.id;
  if (!isShown) {
    if (view.find(mount.id) === undefined) return false;
    throw new Error(`${mount.info.target} is hidden by another mount, which is left`);
  }
  return unmountTop(at, options);
}

function incomplete(target: Target, failures: readonly Failure[], progress: UnmountProgress): MountError {
  const errors = failures.map(({ error }) => error);
  const known = errors.filter((error) => error instanceof MountError);
  // Of several reasons, the one that waiting does not mend decides.
  const decisive = known.find(({ reason }) => reason !== 'busy') ?? known[0];
  const list = failures
    .map(({ mount, error }) => `${mount.info.target}: ${messageOf(error)}`)
    .slice(0, SHOWN);
  const more = failures.length > SHOWN ? [`and ${failures.length - SHOWN} more`] : [];
  return new MountError(
    {
      reason: decisive?.reason ?? 'mount-failed',
      message: `${failures.length} of the mounts at and below ${target.path} are left: ${[...list, ...more].join('; ')}`,
      rolledBack: false,
      errno: decisive?.errno,
      progress,
    },
    { cause: decisive ?? errors[0] },
  );
}

/** How many mounts an error names; all are in its `progress`. */
const SHOWN = 5;
