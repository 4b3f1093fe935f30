// What all requests have in common: required fields, the capability, and a fingerprint of their arguments.
import { createHash } from 'node:crypto';
import path from 'node:path';
import { TOKENS } from '../journal/record.ts';
import { VolumeCapability_AccessMode_Mode as Mode, type VolumeCapability } from '../rpc/generated/csi.ts';
import { MAX_ID } from '../userns/mapping.ts';
import { NodeError } from './reasons.ts';

/** CSI: strings that are no path have at most 128 bytes. */
const MAX_ID_BYTES = 128;

export type AccessMode = Exclude<keyof typeof Mode, 'UNKNOWN'>;

export interface Capability {
  readonly accessMode: AccessMode;
  readonly mountFlags: readonly string[];
  /** Empty where the volume does not say. */
  readonly fsType: string;
  /** The pod wants a block device. */
  readonly block: boolean;
  /** fsGroup. */
  readonly group: number | undefined;
}

export function requireVolumeId(volumeId: string): string {
  if (volumeId === '') throw new NodeError('missing-field', 'volume_id is missing');
  if (Buffer.byteLength(volumeId) > MAX_ID_BYTES) {
    throw new NodeError('invalid-field', `volume_id has more than ${MAX_ID_BYTES} bytes`);
  }
  return volumeId;
}

/**
 * The path without doubled or trailing slashes.
 * @param field its name in the specification
 */
export function requirePath(value: string, field: string): string {
  if (value === '') throw new NodeError('missing-field', `${field} is missing`);
  if (!path.isAbsolute(value) || value.includes('\0')) {
    throw new NodeError('invalid-field', `${field} ${JSON.stringify(value)} is not an absolute path`);
  }
  if (value.split('/').includes('..')) {
    throw new NodeError('invalid-field', `${field} ${JSON.stringify(value)} must not contain ..`);
  }
  // One place has one name here: records are found by it.
  return path.normalize(value).replace(/(.)\/$/, '$1');
}

export function requireCapability(capability: VolumeCapability | undefined): Capability {
  if (capability === undefined) throw new NodeError('missing-field', 'volume_capability is missing');
  const { accessType, accessMode } = capability;
  if (accessType === undefined) {
    throw new NodeError('missing-field', 'volume_capability.access_type is missing');
  }
  const mode = accessMode?.mode ?? Mode.UNKNOWN;
  const name = (Object.keys(Mode) as (keyof typeof Mode)[]).find((candidate) => Mode[candidate] === mode);
  if (name === undefined || name === 'UNKNOWN') {
    throw new NodeError('invalid-field', `volume_capability.access_mode ${mode} is not known`);
  }
  if (accessType.$case === 'block') {
    return { accessMode: name, mountFlags: [], fsType: '', block: true, group: undefined };
  }
  const { mountFlags, fsType, volumeMountGroup } = accessType.value;
  return { accessMode: name, mountFlags, fsType, block: false, group: groupOf(volumeMountGroup) };
}

function groupOf(text: string): number | undefined {
  if (text === '') return undefined;
  if (/^\d{1,10}$/.test(text) && Number(text) <= MAX_ID) return Number(text);
  throw new NodeError(
    'invalid-field',
    `volume_capability.mount.volume_mount_group ${JSON.stringify(text)} is no group id`,
  );
}

/** The access mode lets nobody write; of a record, it is any text. */
export function isReaderMode(mode: string): boolean {
  return mode.endsWith('_READER_ONLY');
}

/** Whether a volume may be at several targets of this node at once (CSI, NodePublishVolume). */
export function allowsSeveralTargets(mode: AccessMode): boolean {
  return mode.startsWith('MULTI_NODE_') || mode === 'SINGLE_NODE_MULTI_WRITER';
}

/** Tokens are renewed between two calls for the same volume; they are not part of "same arguments". */
const VOLATILE_KEYS: ReadonlySet<string> = new Set([TOKENS]);

export interface Arguments {
  readonly volumeContext: Readonly<Record<string, string>>;
  readonly capability: Capability;
  readonly readonly?: boolean;
  readonly stagingPath?: string | undefined;
}

/** With fsGroup in sight: whether it is among the arguments is a matter of who sees to it on the node (isOfRequest). */
export function fingerprint({ volumeContext, capability, readonly, stagingPath }: Arguments): string {
  const context = Object.entries(volumeContext)
    .filter(([key]) => !VOLATILE_KEYS.has(key))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const { group, ...others } = capability;
  const text = JSON.stringify([context, others, readonly ?? false, stagingPath ?? '']);
  const digest = createHash('sha256').update(text).digest('hex');
  return group === undefined ? digest : `${digest}+${group}`;
}
