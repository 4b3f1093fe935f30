// Steps that make an overlay of layers that cannot be given to the kernel by descriptor.
import { Fd } from '../../sys/fd.ts';
import type { SuperblockFlags } from '../thread/jobs.ts';
import { onThread } from '../thread/thread.ts';
import { holderOf } from './layers.ts';
import type { Rows, Slot, Upper } from './row.ts';
import { copyOfBoth, mapUpper } from './upper.ts';
import { rootOfNamespace } from './userns.ts';

export interface OverlaySteps {
  /** In a private mount namespace, where the layers get short names: nothing is seen on the host. Each is in a copy of its mount. */
  readonly assembleOverlay: {
    readonly layers: readonly { readonly slot: Slot; readonly dataOnly: boolean }[];
    readonly upper: Upper | undefined;
    /** Where the upper layer is mapped too: with this user namespace, if it is there. */
    readonly userns?: Slot;
    /** Whether fsopen(2) may be used; else mount(2). */
    readonly context: boolean;
    readonly source: string;
    /** Its flags, as fsconfig(2) and as mount(2) has them. */
    readonly superblock: SuperblockFlags;
    /** Options of the superblock, without layers. */
    readonly data: readonly string[];
    readonly as: Slot;
  };
}

export const overlaySteps: Rows<OverlaySteps> = {
  assembleOverlay: {
    describe: ({ layers, upper, userns, superblock, data, as }) => {
      const lowerdir = layers
        .map(({ slot, dataOnly }, i) => `${i === 0 ? '' : dataOnly ? '::' : ':'}${slot}`)
        .join('');
      const upperdir = upper ? [`upperdir=${upper.upperdir}`, `workdir=${upper.workdir}`] : [];
      const mapped = userns ? `, upperdir and workdir mapped by ${userns}, mounted as its root` : '';
      return `${as} = overlay(${[`lowerdir=${lowerdir}`, ...upperdir, ...superblock.words, ...data].join(', ')}) in a private mount namespace${mapped}`;
    },
    apply: ({ layers, upper, userns, context, source, superblock, data, as }, at) => {
      using held = new DisposableStack();
      const copy = upper === undefined ? undefined : copyOfBoth(upper, at, held);
      const namespace = userns === undefined ? undefined : at.find(userns);
      if (copy && namespace) mapUpper(copy.tree, namespace);
      const opened = layers.map(({ slot, dataOnly }) => ({ fd: at.get(slot), dataOnly }));
      const copies = new Set(opened.map(({ fd }) => holderOf(fd)).filter((holder) => holder !== undefined));
      const mount = onThread('private', 'assembleOverlay', {
        context,
        source,
        superblock,
        data,
        copies: [...copies, ...(copy ? [copy.tree] : [])].map(({ number }) => number),
        layers: opened.map(({ fd, dataOnly }) => ({ fd: fd.number, dataOnly })),
        upper: copy && { upper: copy.upper.number, work: copy.work.number, name: copy.name },
        user: namespace && rootOfNamespace(namespace),
      });
      at.put(as, new Fd(mount));
    },
    explain: (errno) =>
      errno === 'EINVAL'
        ? {
            reason: 'invalid-mount',
            meaning: 'the overlay does not take one of its options or layers; the kernel log may say which',
          }
        : undefined,
  },
};
