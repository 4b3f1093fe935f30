// Short names for the layers of an overlay, in a temporary directory of the host: where mount(2) must be told of layers
// that have no name of their own, or one that must not be trusted.
import { mkdtempSync, readdirSync, readlinkSync, rmdirSync, symlinkSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, MOVE_MOUNT, MS, O, UMOUNT } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { mkdirat, mount, moveMount, openat, umount2 } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { upperNameOf } from './claim.ts';
import { EMPTY_LAYER, type Rows, type Slot, type Upper, type Workplace } from './row.ts';

export interface TemporaryLayerSteps {
  /** The descriptor of the directory is `as`. */
  readonly nameLayers: {
    /** Under the names 0, 1, ...: a detached mount, or a link to a source that is held. */
    readonly layers: readonly NamedLayer[];
    /** Links to both directories, which are held, under the names of upperOptions(). */
    readonly upper?: Upper;
    /** An empty tmpfs as EMPTY_LAYER: a directory would have to stay for as long as the overlay. */
    readonly empty: boolean;
    readonly location: string;
    readonly as: Slot;
  };
  /** Takes it away again: the overlay has copies of its own. */
  readonly removeNames: { readonly directory: Slot };
}

type NamedLayer = { readonly slot: Slot } | { readonly path: string };

const WORK = 'work';

export const temporaryLayerSteps: Rows<TemporaryLayerSteps> = {
  nameLayers: {
    describe: ({ layers, upper, empty, location, as }) => {
      const names = [
        ...layers.map((layer) => ('slot' in layer ? layer.slot : layer.path)),
        ...(upper ? [upper.upperdir, upper.workdir] : []),
        ...(empty ? [EMPTY_LAYER] : []),
      ];
      return `${as} = temporary directory below ${location} with ${names.join(', ')}`;
    },
    apply: ({ layers, upper, empty, location, as }, at) => {
      const made = mkdtempSync(path.join(location, TEMPORARY_PREFIX));
      const directory = openat(AT_FDCWD, made, O.O_PATH | O.O_DIRECTORY);
      at.put(as, directory);
      const link = (name: string, source: string) =>
        symlinkSync(at.sources.reach(source), `${placeOf(directory)}/${name}`);
      try {
        for (const [i, layer] of layers.entries()) {
          if ('slot' in layer) attachLayer(at.get(layer.slot), directory, String(i));
          else link(String(i), layer.path);
        }
        if (upper) {
          link(upperNameOf(upper.upperdir, at), upper.upperdir);
          link(WORK, upper.workdir);
        }
        if (empty) mountEmpty(directory);
      } catch (error) {
        removeNames(directory);
        throw error;
      }
    },
    undo: ({ as }, at) => removeNames(at.get(as)),
  },
  removeNames: {
    describe: ({ directory }) => `unmount and remove ${directory}`,
    apply: ({ directory }, at) => removeNames(at.get(directory)),
  },
};

/** The options that name both directories by the links of nameLayers. */
export function upperOptions({ upperdir }: Upper, at: Workplace): string[] {
  return [`upperdir=${upperNameOf(upperdir, at)}`, `workdir=${WORK}`];
}

/** What cleaning up at start looks for. */
const TEMPORARY_PREFIX = 'csi-driver-idmap-layers-';

const placeOf = (directory: Fd): string => `/proc/self/fd/${directory.number}`;

function attachLayer(layer: Fd, directory: Fd, name: string): void {
  mkdirat(directory, name, 0o700);
  moveMount(layer, '', directory, name, MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
}

function mountEmpty(directory: Fd): void {
  mkdirat(directory, EMPTY_LAYER, 0o755);
  mount('empty', `${placeOf(directory)}/${EMPTY_LAYER}`, 'tmpfs', MS.MS_RDONLY, 'mode=755');
}

/**
 * Directories go one by one, each only after its unmount, never with what is in them. Doing it again does nothing.
 * Lazily, as our own descriptor of each layer still refers to it.
 */
function removeNames(directory: Fd): void {
  const place = placeOf(directory);
  const made = readlinkSync(place);
  if (made.endsWith(' (deleted)')) return;
  for (const name of readdirSync(`${place}/.`)) {
    try {
      umount2(`${place}/${name}`, UMOUNT.MNT_DETACH | UMOUNT.UMOUNT_NOFOLLOW);
    } catch (error) {
      // Not mounted (any more), or a link.
      if (!hasErrno(error, 'EINVAL')) throw leftBehind(made, error);
    }
    removeName(`${place}/${name}`);
  }
  removeName(made);
}

function removeName(name: string): void {
  try {
    rmdirSync(name);
  } catch (error) {
    if (!hasErrno(error, 'ENOTDIR')) throw leftBehind(name, error);
    unlinkSync(name);
  }
}

function leftBehind(directory: string, cause: unknown): MountError {
  const message = `temporary mounts of layers are left at ${directory}: ${cause instanceof Error ? cause.message : cause}`;
  return new MountError({ reason: 'busy', message, rolledBack: false }, { cause });
}
