// Steps that make a mount of an image: a file, or a disk.
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { kernelLogFromNow } from '../../sys/kernel-log.ts';
import { fsconfig, fsmount } from '../../sys/syscalls.ts';
import { findFilesystemType } from '../filesystem-type.ts';
import type { MountApi } from '../kernel.ts';
import { kindOf, openImage } from '../loop/image.ts';
import { attachImage } from '../loop.ts';
import { classicImageSteps } from '../plan/classic-image.ts';
import { imageSteps } from '../plan/image.ts';
import type { ParsedMount } from '../plan.ts';
import type { Step } from '../steps.ts';
import { refusal } from './image-errors.ts';
import type { Rows, Slot, Workplace } from './row.ts';

export interface ImageSteps {
  /** The image, to be known by its descriptor from here on. */
  readonly openImage: { readonly path: string; readonly as: Slot };
  /** Sees what the image is, a file or a disk, asks blkid for a type `auto`, and goes on with the steps of such a mount. */
  readonly findFilesystem: {
    readonly image: Slot;
    readonly mount: ParsedMount;
    readonly api: MountApi;
  };
  /** Its loop device, with autoclear: free again when neither this descriptor nor a mount has it. */
  readonly attachLoop: {
    readonly image: Slot;
    readonly path: string;
    readonly readOnly: boolean;
    readonly directIo: boolean;
    readonly offset: number;
    readonly sizeLimit: number;
    readonly as: Slot;
  };
  /** The loop device as the source of a filesystem context. */
  readonly useDevice: { readonly context: Slot; readonly device: Slot };
  /** The superblock, and a detached mount of it. */
  readonly createImageMount: {
    readonly context: Slot;
    readonly type: string;
    readonly from: { readonly device: Slot } | { readonly path: string };
    readonly as: Slot;
    /** What is done instead where the source is a file, and the kernel wants a block device. */
    readonly otherwise?: readonly Step[];
  };
}

const NO_RANGE = { offset: 0, sizeLimit: 0 };

export const imageStepRows: Rows<ImageSteps> = {
  openImage: {
    describe: ({ path, as }) => `${as} = open(${JSON.stringify(path)}, O_RDONLY)`,
    apply: ({ path, as }, at) => at.put(as, openImage(path, at.sources)),
  },
  findFilesystem: {
    describe: ({ image, mount }) =>
      `mount = a filesystem ${mount.type === 'auto' ? 'of the type that blkid finds' : mount.type} in ${image}${mount.options.loop ? ', on a loop device' : ', on a loop device if it is a file'}`,
    apply: ({ image, mount, api }, at) => {
      const fd = at.get(image);
      const { source, options } = mount;
      const type =
        mount.type === 'auto' ? findFilesystemType(fd, source, options.loop ?? NO_RANGE) : mount.type;
      const isFile = options.loop !== undefined || kindOf(fd) === 'file';
      const stepsOf = api === 'modern' ? imageSteps : classicImageSteps;
      at.insert(stepsOf({ ...mount, type }, { open: true, isFile }));
    },
  },
  attachLoop: {
    describe: ({ image, path, readOnly, directIo, offset, sizeLimit, as }) => {
      const how = [
        'autoclear',
        ...(readOnly ? ['read-only'] : []),
        ...(directIo ? ['direct-io'] : []),
        ...(offset ? [`offset ${offset}`] : []),
        ...(sizeLimit ? [`${sizeLimit} bytes`] : []),
      ];
      return `${as} = loop device of ${image} ${JSON.stringify(path)} (${how.join(', ')})`;
    },
    apply: ({ image, path, as, ...options }, at) => {
      const device = attachImage(at.get(image), path, options);
      devices.set(device.fd, device.path);
      at.put(as, device.fd);
    },
  },
  useDevice: {
    describe: ({ context, device }) => `fsconfig(${context}, source = ${device})`,
    apply: ({ context, device }, at) =>
      fsconfig(at.get(context), { by: 'string', key: 'source', value: devicePath(device, at) }),
  },
  createImageMount: {
    describe: ({ context, as, otherwise }) =>
      `${as} = fsmount(fsconfig(${context}, FSCONFIG_CMD_CREATE))${otherwise ? '; from a file that the kernel does not take (ENOTBLK), on a loop device' : ''}`,
    apply: ({ context, type, from, as, otherwise }, at) => {
      const log = kernelLogFromNow();
      try {
        fsconfig(at.get(context), { by: 'create' });
      } catch (error) {
        if (otherwise && hasErrno(error, 'ENOTBLK')) return at.insert(otherwise);
        const path = 'path' in from ? from.path : devicePath(from.device, at);
        throw refusal(error, type, log.about(path.slice(path.lastIndexOf('/') + 1)));
      }
      at.put(as, fsmount(at.get(context), 1, 0));
    },
  },
};

/** The paths of what was attached. */
const devices = new WeakMap<Fd, string>();

/** The path of the loop device in a slot. */
export function devicePath(device: Slot, at: Workplace): string {
  const path = devices.get(at.get(device));
  if (path === undefined) throw new Error(`no loop device was attached as ${device}`);
  return path;
}
