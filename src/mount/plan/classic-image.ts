// A filesystem in an image file by mount(2): its loop device is attached first, and kept by the mount from then on.
import type { ParsedMount, Planner } from '../plan.ts';
import type { Slot } from '../steps/row.ts';
import type { Step } from '../steps.ts';
import { attributeSteps } from './attributes.ts';
import { classicData, classicFlags, classicPropagationSteps, requireIdmap } from './classic-flags.ts';
import { isReadOnly } from './filesystem.ts';
import { checkImage, type KnownImage, NO_RANGE, openImage, optionsOf, withoutUuidCheck } from './image.ts';

export const planClassicImage: Planner = (mount, kernel) => {
  checkImage(mount);
  const { type, source, options } = mount;
  if (options.idmap !== undefined) requireIdmap(kernel);
  const made: Step[] =
    // What mount(2) says of a file (ENOTBLK) would come too late for its loop device.
    type === 'auto' || options.loop === undefined
      ? [openImage(source), { kind: 'findFilesystem', image: 'image', mount, api: 'classic' }]
      : classicImageSteps(mount, { open: false, isFile: true });
  return [
    ...made,
    ...(options.idmap === undefined ? [] : mappedCopySteps(mount)),
    ...classicPropagationSteps(options),
    { kind: 'verify', mount: 'mount' },
  ];
};

/** Up to the mount at the target, in the slot that `slotOf` says. */
export function classicImageSteps(mount: ParsedMount, { open, isFile }: KnownImage): Step[] {
  const options = optionsOf(mount);
  const { type, source } = mount;
  const readOnly = isReadOnly(options);
  const { data } = type === 'xfs' && readOnly && isFile ? withoutUuidCheck(options) : options;
  const call = {
    kind: 'mountCall',
    source,
    type,
    flags: classicFlags(options),
    data: classicData(type, data, 'shorten the options'),
    paths: mount.held ? [] : [source],
    as: slotOf(mount),
  } as const;
  if (!isFile) return [call];
  const { directIo, offset, sizeLimit } = options.loop ?? NO_RANGE;
  return [
    ...(open ? [] : [openImage(source)]),
    { kind: 'attachLoop', image: 'image', path: source, readOnly, directIo, offset, sizeLimit, as: 'loop' },
    { ...call, device: 'loop' },
  ];
}

/** An ID-mapped one is replaced by a mapped copy. */
const slotOf = ({ options }: ParsedMount): Slot => (options.idmap === undefined ? 'mount' : 'unmapped');

function mappedCopySteps({ options }: ParsedMount): Step[] {
  return [
    { kind: 'cloneTarget', as: 'mount' },
    ...attributeSteps({ on: 'mount', options, idmap: true, tree: false }),
    { kind: 'detachTarget', mount: 'mount' },
    { kind: 'attach', mount: 'mount' },
  ];
}
