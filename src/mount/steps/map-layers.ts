// Layers of an overlay with their ids mapped, for a kernel that takes them by descriptor.
//
// Only a copy of a mount can be mapped, and to let go of one costs as much as to make ten (the kernel waits until nobody
// looks at it any more). So layers that lie side by side on one mount share a copy, from the directory that holds them all:
//
//   of all on a mount   open_tree(their common parent, OPEN_TREE_CLONE); mount_setattr(MOUNT_ATTR_IDMAP)
//   of each             openat2() below it, by what it is called: the very directory that was opened before, or it gets a
//                       copy of its own
//
// The copies are held as long as the layers: a directory below one that is let go of is on no mount any more.
import path from 'node:path';
import { MOUNT_ATTR, O, OPEN_TREE, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { openBelow } from '../../sys/open-below.ts';
import { mountSetattr, openat, openTree, statx } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { commonParent } from '../layers.ts';
import { reachBy } from '../source.ts';
import { copyWithBothMaps } from './compose.ts';
import type { Rows, Slot, Workplace } from './row.ts';
import { explainIdmap, unbindable } from './trees.ts';
import { mappingOf } from './userns.ts';

export interface MapLayerSteps {
  /** Puts what is the same directory in a mapped copy of its mount in the place of each. */
  readonly mapLayers: { readonly layers: readonly NamedLayer[]; readonly userns: Slot };
}

interface NamedLayer {
  readonly slot: Slot;
  /** By which it was opened. */
  readonly path: string;
}

export const mapLayerSteps: Rows<MapLayerSteps> = {
  mapLayers: {
    describe: ({ layers, userns }) =>
      `${layers.map(({ slot }) => slot).join(', ')} = the same in copies of their mounts (open_tree, OPEN_TREE_CLONE), mount_setattr(userns ${userns})`,
    apply: ({ layers, userns }, at) => {
      const namespace = at.find(userns);
      // Nothing is to be mapped: the layers serve as they are.
      if (namespace === undefined) return;
      const places = layers.map((layer) => placeOf(layer, at.get(layer.slot)));
      for (const [mountId, together] of Map.groupBy(places, (place) => place.mountId)) {
        const copy = together.length > 1 ? copyOfParent(mountId, together, namespace, at) : undefined;
        for (const place of together) {
          const mapped = copy && findIn(copy, place);
          at.replace(place.slot, mapped ?? mappedCopy(place.directory, namespace, at, place.path));
        }
      }
    },
    explain: explainIdmap,
  },
};

interface Place extends NamedLayer {
  readonly directory: Fd;
  readonly mountId: bigint;
  /** Device and inode. */
  readonly identity: string;
}

interface Copy {
  readonly tree: Fd;
  /** What it is a copy of. */
  readonly path: string;
}

/** Where the path has links, what it says of the place is wrong, and found out by looking: the layer gets its own copy. */
function placeOf({ slot, path: named }: NamedLayer, directory: Fd): Place {
  return { slot, path: path.posix.resolve(named), directory, ...whatIs(directory) };
}

/** Asks no server. */
function whatIs(directory: Fd): Pick<Place, 'mountId' | 'identity'> {
  const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
  const mask = STATX_MASK.STATX_BASIC_STATS | STATX_MASK.STATX_MNT_ID;
  const { mountId, deviceMajor, deviceMinor, inode } = statx(directory, '', flags, mask);
  return { mountId, identity: `${deviceMajor}:${deviceMinor} ${inode}` };
}

/** Undefined where they have no common parent on their mount, or none that may be copied. */
function copyOfParent(
  mountId: bigint,
  places: readonly Place[],
  namespace: Fd,
  at: Workplace,
): Copy | undefined {
  const [first] = places;
  if (first === undefined) return undefined;
  const common = commonParent(places.map((place) => place.path));
  try {
    // Up from the layer, not down by names: what is found is above it, whatever it is called by now.
    using parent = openat(first.directory, path.relative(first.path, common), O.O_PATH | O.O_DIRECTORY);
    if (whatIs(parent).mountId !== mountId) return undefined;
    const tree = mappedCopy(parent, namespace, at, common);
    at.put(`copy of ${mountId}`, tree);
    return { tree, path: common };
  } catch (error) {
    // Other mounts below it may be locked to it (mount_namespaces(7)), which none of the layers holds.
    if (error instanceof MountError && error.reason === 'mount-failed') return undefined;
    throw error;
  }
}

/** The same directory in a copy; undefined where the name leads elsewhere, or what it led to is covered by another mount. */
function findIn(copy: Copy, place: Place): Fd | undefined {
  const prefix = copy.path === '/' ? 1 : copy.path.length + 1;
  try {
    using found = new DisposableStack();
    const directory = found.use(openBelow(copy.tree, place.path.slice(prefix)));
    if (whatIs(directory).identity !== place.identity) return undefined;
    found.move();
    return directory;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) return undefined;
    throw error;
  }
}

function mappedCopy(of: Fd, namespace: Fd, at: Workplace, name: string): Fd {
  using made = new DisposableStack();
  const tree = made.use(copyOf(of, name));
  const attr = { set: 0, clear: 0, propagation: 0, usernsFd: 0 };
  try {
    mountSetattr(tree, 0, { ...attr, set: MOUNT_ATTR.MOUNT_ATTR_IDMAP, usernsFd: namespace.number });
  } catch (error) {
    const mapping = mappingOf(namespace);
    const canCompose = at.kernel.has('open-tree-attr') && at.kernel.has('statmount');
    if (!hasErrno(error, 'EPERM') || !mapping || !canCompose) throw error;
    const source = { path: reachBy(of), recursive: false };
    const composed = copyWithBothMaps(source, mapping, attr, at.userNamespaces);
    if (composed === undefined) throw error;
    return composed;
  }
  made.move();
  return tree;
}

function copyOf(directory: Fd, name: string): Fd {
  try {
    const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC | OPEN_TREE.AT_EMPTY_PATH;
    return openTree(directory, '', flags);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL')) throw error;
    throw new MountError(
      { reason: 'mount-failed', message: unbindable(name), rolledBack: true, errno: 'EINVAL' },
      { cause: error },
    );
  }
}
