// What to do about the devices that a file has already. Two devices on the same bytes are two filesystems on one
// image, each with a cache of its own, and destroy it (tried: e2fsck found wrong counts). So there is one device per
// part of a file, and whoever wants it otherwise than it is, is refused. Pure.
import type { ImageRange } from './image.ts';

/** How a file is attached, or is to be. */
export interface Attachment extends ImageRange {
  readonly readOnly: boolean;
  /** The device is free when its last user is gone. */
  readonly autoclear: boolean;
  /** Logical block size; 0 for any. */
  readonly blockSize: number;
}

export interface Existing extends Attachment {
  /** `/dev/loop3`. */
  readonly path: string;
}

export type Decision<E extends Existing> =
  | { readonly do: 'attach' }
  | { readonly do: 'reuse'; readonly device: E }
  /** `why` completes the sentence "the image ...". */
  | { readonly do: 'refuse'; readonly why: string };

/** @param existing the devices that this very file has */
export function decide<E extends Existing>(existing: readonly E[], wanted: Attachment): Decision<E> {
  const device = existing.find((one) => overlap(one, wanted));
  if (device === undefined) return { do: 'attach' };
  const why = CONFLICTS.map((conflict) => conflict(device, wanted)).find((found) => found !== undefined);
  if (why === undefined) return { do: 'reuse', device };
  return { do: 'refuse', why: `is attached to ${device.path} already, ${why}` };
}

type Conflict = (device: Existing, wanted: Attachment) => string | undefined;

const CONFLICTS: readonly Conflict[] = [
  (device, wanted) =>
    device.offset !== wanted.offset || device.sizeLimit !== wanted.sizeLimit
      ? `from another part of it that overlaps (${rangeText(device)}, wanted ${rangeText(wanted)})`
      : undefined,
  (device, wanted) =>
    device.readOnly !== wanted.readOnly
      ? `${readOnlyText(device)}, and is wanted ${readOnlyText(wanted)}: all its users must agree`
      : undefined,
  (device, wanted) =>
    device.autoclear !== wanted.autoclear
      ? device.autoclear
        ? 'for as long as it is mounted, and is wanted for longer: unmount it first'
        : `to stay: whoever did that must detach it (losetup -d ${device.path})`
      : undefined,
  (device, wanted) =>
    wanted.blockSize !== 0 && device.blockSize !== wanted.blockSize
      ? `with blocks of ${device.blockSize} bytes, not ${wanted.blockSize}`
      : undefined,
];

export function overlap(a: ImageRange, b: ImageRange): boolean {
  return a.offset < endOf(b) && b.offset < endOf(a);
}

const endOf = ({ offset, sizeLimit }: ImageRange): number =>
  sizeLimit === 0 ? Number.POSITIVE_INFINITY : offset + sizeLimit;

const readOnlyText = ({ readOnly }: Attachment): string => (readOnly ? 'read-only' : 'writable');

const rangeText = ({ offset, sizeLimit }: ImageRange): string =>
  `offset ${offset}, ${sizeLimit === 0 ? 'to the end' : `${sizeLimit} bytes`}`;
