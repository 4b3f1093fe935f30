// Short names for the layers of an overlay, in a temporary directory of the host: where mount(2) must be told of layers
// that have no name of their own, or one that must not be trusted.
import { symlinkSync } from 'node:fs';
import { MOVE_MOUNT, MS } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { mkdirat, mount, moveMount } from '../../sys/syscalls.ts';
import { makeLayersDirectory, removeAbandonedLayers, removeLayersDirectory } from '../layers-directory.ts';
import { reachBy } from '../source.ts';
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
      removeAbandonedLayers(location);
      const directory = makeLayersDirectory(location);
      at.put(as, directory);
      const link = (name: string, source: string) =>
        symlinkSync(at.sources.reach(source), `${reachBy(directory)}/${name}`);
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
        removeLayersDirectory(directory);
        throw error;
      }
    },
    undo: ({ as }, at) => removeLayersDirectory(at.get(as)),
  },
  removeNames: {
    describe: ({ directory }) => `unmount and remove ${directory}`,
    apply: ({ directory }, at) => removeLayersDirectory(at.get(directory)),
  },
};

/** The options that name both directories by the links of nameLayers. */
export function upperOptions({ upperdir }: Upper, at: Workplace): string[] {
  return [`upperdir=${upperNameOf(upperdir, at)}`, `workdir=${WORK}`];
}

function attachLayer(layer: Fd, directory: Fd, name: string): void {
  mkdirat(directory, name, 0o700);
  moveMount(layer, '', directory, name, MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
}

function mountEmpty(directory: Fd): void {
  mkdirat(directory, EMPTY_LAYER, 0o755);
  mount('empty', `${reachBy(directory)}/${EMPTY_LAYER}`, 'tmpfs', MS.MS_RDONLY, 'mode=755');
}
