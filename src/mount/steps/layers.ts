// Layers of an overlay as descriptors: as they are, or in copies of their mounts.
//
// Layers are many, and most lie side by side: then what holds for the directory that holds them is found out once, and they
// share a copy of it.
//
//   side by side     each by its name in their directory, where that is a directory on the same mount and no link
//   any other        each by its path; those on one mount share a copy from their common parent, where each is found by
//                    what it is called: the very directory that was opened, or it gets a copy of its own
//
// The copies are held as long as the layers: a directory below one that is let go of is on no mount any more.
import path from 'node:path';
import { AT_FDCWD, O, S_IF, STATX, STATX_MASK } from '../../sys/constants.ts';
import { hasErrno, SyscallError } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { openBelow, openPathAt } from '../../sys/open-below.ts';
import type { Statx } from '../../sys/structs.ts';
import { openat, statx } from '../../sys/syscalls.ts';
import { explained, MountError } from '../errors.ts';
import { commonParent } from '../layers.ts';
import type { SourceDirectory } from '../source.ts';
import { type Copy, mappedBy, plainCopy } from './layer-copies.ts';
import type { Rows, Slot, Workplace } from './row.ts';
import { explainIdmap, explainPath } from './trees.ts';

export interface LayerSteps {
  readonly openLayers: {
    readonly layers: readonly NamedLayer[];
    /** In copies of their mounts, of which holderOf() knows. */
    readonly copied?: boolean;
    /** In copies that are mapped by it, if it is there. */
    readonly userns?: Slot;
  };
}

interface NamedLayer {
  readonly slot: Slot;
  readonly path: string;
}

export const layerSteps: Rows<LayerSteps> = {
  openLayers: {
    describe: ({ layers, copied, userns }) => {
      const slots = layers.map(({ slot }) => slot).join(', ');
      const paths = layers.map((layer) => JSON.stringify(layer.path)).join(', ');
      const copies = userns
        ? `, mapped by ${userns} in copies of their mounts`
        : copied
          ? ', in copies of their mounts'
          : '';
      return `${slots} = open(${paths}, O_PATH|O_DIRECTORY)${copies}`;
    },
    apply: ({ layers, copied, userns }, at) => {
      const namespace = userns === undefined ? undefined : at.find(userns);
      const copy = namespace ? mappedBy(namespace, at) : copied ? plainCopy : undefined;
      openOthers(openSiblings(layers, copy, at), copy, at);
    },
    explain: (errno, { userns }) => (userns === undefined ? undefined : explainIdmap(errno)),
  },
};

/** The copy that a layer was opened in, if any, which must be attached for some kernels to take the layer. */
const holders = new WeakMap<Fd, Fd>();
export const holderOf = (layer: Fd): Fd | undefined => holders.get(layer);

/** Opens those of the directory that holds most of them, as far as they are what they seem; gives the others. */
function openSiblings(
  layers: readonly NamedLayer[],
  copy: Copy | undefined,
  at: Workplace,
): readonly NamedLayer[] {
  const [directory, together] = mostInOne(layers);
  if (together.length < 2) return layers;
  using held = new DisposableStack();
  const parent = held.use(orNone(() => at.sources.directory(directory)));
  if (parent === undefined) return layers;
  const { mountId } = whatIs(parent.fd);
  const tree = copy && orNone(() => copy(parent.fd, directory));
  if (copy && !tree) return layers;
  if (tree) at.put(`copy of ${directory}`, tree);
  const prefix = directory === '/' ? 1 : directory.length + 1;
  const found = new Set<NamedLayer>();
  for (const layer of together) {
    if (putSibling({ parent, mountId, tree }, layer, layer.path.slice(prefix), at)) found.add(layer);
  }
  return layers.filter((layer) => !found.has(layer));
}

/** A path without anything that leads elsewhere than it seems, or another way of writing the same. */
const isPlain = (name: string): boolean => name.startsWith('/') && !/\/\.{0,2}(\/|$)|\0/.test(name);

function mostInOne(layers: readonly NamedLayer[]): [directory: string, layers: readonly NamedLayer[]] {
  const plain = layers.filter((layer) => isPlain(layer.path));
  const groups = Map.groupBy(plain, (layer) => path.posix.dirname(layer.path));
  return [...groups].reduce((most, group) => (group[1].length > most[1].length ? group : most), ['/', []]);
}

/** Undefined where it cannot be had: what is wrong with it may be no matter for the layers, or is said of them. */
function orNone<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof MountError || error instanceof SyscallError) return undefined;
    throw error;
  }
}

interface Siblings {
  readonly parent: SourceDirectory;
  readonly mountId: bigint;
  readonly tree: Fd | undefined;
}

/** False for a link, for what something is mounted on, and where none is found at all. */
function putSibling(
  { parent, mountId, tree }: Siblings,
  { slot, path: layer }: NamedLayer,
  name: string,
  at: Workplace,
): boolean {
  try {
    const seen = tree && whatIs(parent.fd, name);
    if (seen && !(isDirectory(seen) && seen.mountId === mountId)) return false;
    const fd = openPathAt(tree ?? parent.fd, name, O.O_DIRECTORY | O.O_NOFOLLOW);
    put(slot, fd, tree, at);
    if (parent.has === undefined) return true;
    const found = whatIs(fd);
    const isIt = seen ? isSame(seen, found) : found.mountId === mountId;
    if (isIt && parent.has(layer, found)) return true;
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
  }
  at.drop(slot);
  return false;
}

function openOthers(layers: readonly NamedLayer[], copy: Copy | undefined, at: Workplace): void {
  using opened = new DisposableStack();
  const places = layers.map((layer) => openPlace(layer, at, opened));
  if (copy === undefined) {
    for (const { slot, fd, owner } of places) at.put(slot, fd, owner);
    opened.move();
    return;
  }
  for (const together of Map.groupBy(places, (place) => place.found.mountId).values()) {
    const shared = together.length > 1 ? copyOfParent(copy, together, at) : undefined;
    for (const place of together) {
      const below = shared && findIn(shared, place);
      const fd = below ?? copy(place.fd, place.path);
      put(place.slot, fd, below ? shared?.tree : fd, at);
    }
  }
}

function put(slot: Slot, fd: Fd, tree: Fd | undefined, at: Workplace): void {
  at.put(slot, fd);
  if (tree) holders.set(fd, tree);
}

interface Place extends NamedLayer {
  readonly fd: Fd;
  readonly owner: Disposable;
  readonly found: Statx;
}

/** Where the path has links, what it says of the place is wrong, and found out by looking: the layer gets its own copy. */
function openPlace({ slot, path: named }: NamedLayer, at: Workplace, opened: DisposableStack): Place {
  const { fd, owner } = openLayer(named, at);
  opened.use(owner);
  const found = whatIs(fd);
  if (!isDirectory(found)) throw notFound(`${named} is not a directory, which a layer must be`);
  return { slot, path: path.posix.resolve(named), fd, owner, found };
}

function openLayer(named: string, { sources }: Workplace): { readonly fd: Fd; readonly owner: Disposable } {
  const held = sources.hold(named);
  if (held !== undefined) return { fd: held, owner: { [Symbol.dispose]: () => undefined } };
  try {
    const fd = openat(AT_FDCWD, named, O.O_PATH | O.O_DIRECTORY);
    return { fd, owner: fd };
  } catch (error) {
    const meaning = error instanceof SyscallError && explainLayer(error.code, { path: named });
    throw meaning ? explained(error, meaning, true) : error;
  }
}

const explainLayer = explainPath('the directory');

const notFound = (message: string): MountError =>
  new MountError({ reason: 'source-not-found', message, rolledBack: true });

interface Shared {
  readonly tree: Fd;
  /** What it is a copy of. */
  readonly path: string;
}

/** Undefined where they have no common parent on their mount, or none that may be copied. */
function copyOfParent(copy: Copy, places: readonly Place[], at: Workplace): Shared | undefined {
  const [first] = places;
  if (first === undefined) return undefined;
  const common = commonParent(places.map((place) => place.path));
  // Up from the layer, not down by names: what is found is above it, whatever it is called by now.
  using parent = openat(first.fd, path.relative(first.path, common), O.O_PATH | O.O_DIRECTORY);
  const { mountId } = first.found;
  if (whatIs(parent).mountId !== mountId) return undefined;
  const tree = copyUnlessLocked(copy, parent, common);
  if (tree === undefined) return undefined;
  at.put(`copy of ${mountId}`, tree);
  return { tree, path: common };
}

/** Other mounts below it may be locked to it (mount_namespaces(7)), which none of the layers holds. */
function copyUnlessLocked(copy: Copy, parent: Fd, name: string): Fd | undefined {
  try {
    return copy(parent, name);
  } catch (error) {
    if (error instanceof MountError && error.reason === 'mount-failed') return undefined;
    throw error;
  }
}

/** The same directory in a copy; undefined where the name leads elsewhere, or what it led to is covered by another mount. */
function findIn(shared: Shared, place: Place): Fd | undefined {
  const prefix = shared.path === '/' ? 1 : shared.path.length + 1;
  try {
    using found = new DisposableStack();
    const directory = found.use(openBelow(shared.tree, place.path.slice(prefix)));
    if (!isSame(whatIs(directory), place.found)) return undefined;
    found.move();
    return directory;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) return undefined;
    throw error;
  }
}

/** What a descriptor refers to, or what has this name in it: a link for itself. */
function whatIs(directory: Fd, name = ''): Statx {
  const how = name === '' ? STATX.AT_EMPTY_PATH : STATX.AT_SYMLINK_NOFOLLOW;
  const mask = STATX_MASK.STATX_BASIC_STATS | STATX_MASK.STATX_MNT_ID;
  return statx(directory, name, how | STATX.AT_STATX_DONT_SYNC, mask);
}

const isDirectory = ({ mode }: Statx): boolean => (mode & S_IF.S_IFMT) === S_IF.S_IFDIR;

const isSame = (one: Statx, other: Statx): boolean =>
  one.inode === other.inode && one.deviceMinor === other.deviceMinor && one.deviceMajor === other.deviceMajor;
