// What the journal remembers of one volume at one path, and how it is written down.
import { createHash } from 'node:crypto';

/** Raised when a record's meaning changes. */
const SCHEMA = 1;

export type RecordKind = 'stage' | 'publish';

export interface RecordKey {
  readonly kind: RecordKind;
  readonly volumeId: string;
  /** Staging or target path. */
  readonly path: string;
}

export interface VolumeRecord extends RecordKey {
  /** `intended` is written before the first side effect: the kernel may hold anything between nothing and all. */
  readonly state: 'intended' | 'done';
  /** Fingerprint of the request's arguments, to tell a repeated call from a contradicting one. */
  readonly fingerprint: string;
  /** The capability's access mode by name. */
  readonly accessMode: string;
  /**
   * The mount that was made. Filesystem type, device and root name it within one boot, in every mount namespace;
   * mount ids differ in each.
   */
  readonly mount: { readonly type: string; readonly device: string; readonly root: string } | undefined;
  /** Mounts do not outlive the boot in which they were made. */
  readonly bootId: string;
}

/** Derived from the key alone: a name to delete is never read from a record. */
export function fileNameOf({ kind, volumeId, path }: RecordKey): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([kind, volumeId, path]))
    .digest('hex');
  return `${kind}-${digest.slice(0, 40)}.json`;
}

export function formatRecord(record: VolumeRecord): string {
  return `${JSON.stringify({ schema: SCHEMA, ...record }, null, 1)}\n`;
}

/** @throws Error saying what is wrong with the text */
export function parseRecord(text: string): VolumeRecord {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new Error('not a JSON object');
  const { schema, ...record } = value as Partial<VolumeRecord> & { schema?: unknown };
  if (schema !== SCHEMA) throw new Error(`schema ${String(schema)}, this version reads ${SCHEMA}`);
  const { kind, state, volumeId, path, fingerprint, accessMode, bootId } = record;
  const texts = [volumeId, path, fingerprint, accessMode, bootId];
  if (kind !== 'stage' && kind !== 'publish') throw new Error(`kind ${String(kind)}`);
  if (state !== 'intended' && state !== 'done') throw new Error(`state ${String(state)}`);
  if (texts.some((text) => typeof text !== 'string')) throw new Error('a field is missing');
  if (record.mount !== undefined && !isIdentity(record.mount)) throw new Error('mount is no mount');
  return record as VolumeRecord;
}

function isIdentity(mount: unknown): boolean {
  if (typeof mount !== 'object' || mount === null) return false;
  const { type, device, root } = mount as Record<string, unknown>;
  return [type, device, root].every((text) => typeof text === 'string');
}
