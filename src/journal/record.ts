// What the journal remembers of one volume at one path, and how it is written down.
//
//   schema   written by            read as
//   1        0.1                   this one: what it did not know is undefined
//   2        this version
//   later    one we came back from what of it we understand; its file is left as it is until the volume is gone
//
// A file has a line for each time that the record changed, as JSON; the last whole one holds.
import { createHash } from 'node:crypto';
import * as z from 'zod';

/** Raised when a record's meaning changes. */
export const SCHEMA = 2;
const OLDEST_SCHEMA = 1;

export type RecordKind = 'stage' | 'publish';

export interface RecordKey {
  readonly kind: RecordKind;
  readonly volumeId: string;
  /** Staging or target path. */
  readonly path: string;
}

const KEY = { kind: z.enum(['stage', 'publish']), volumeId: z.string(), path: z.string() };

/**
 * `intended`  written before the first side effect: the kernel may hold anything between nothing and all
 * `waiting`   published; a mount below the target comes when the pod's ID mapping is known
 * `done`      all is there
 */
const STATE = z.enum(['intended', 'waiting', 'done']);

/** Kubernetes has secrets here too, which no file may hold; and they change between two calls for one volume. */
export const TOKENS = 'csi.storage.k8s.io/serviceAccount.tokens';

const CONTEXT = z
  .record(z.string(), z.string())
  .readonly()
  .transform(({ [TOKENS]: _, ...others }) => others);

const FIELDS = z.object({
  ...KEY,
  state: STATE,
  /**
   * Of the request's arguments, to tell a repeated call from a contradicting one; `+` and fsGroup follow it. Empty: not
   * known, of what was found mounted.
   */
  fingerprint: z.string(),
  /** The capability's access mode by name. */
  accessMode: z.string(),
  /**
   * The mount that was made. Filesystem type, device and root name it within one boot, in every mount namespace;
   * mount ids differ in each.
   */
  mount: z.object({ type: z.string(), device: z.string(), root: z.string() }).readonly().optional(),
  /** An image file that this volume had a loop device made for: devices are let go by this, never by a sweep. */
  device: z.object({ image: z.string() }).readonly().optional(),
  /** What is at the path: one mount, a tree of mounts, a block device, or nothing that this volume shares. */
  shape: z.enum(['mount', 'tree', 'device', 'nothing']).optional(),
  /** What the volume is, and the places that it is made of: the kernel does not show all layers of an overlay. */
  volume: z
    .object({ kind: z.string(), type: z.string(), sources: z.array(z.string()).readonly() })
    .readonly()
    .optional(),
  /**
   * Kubelet holds it for staged, and does not stage it again, though it may not be mounted: with `done`, it is not, or is
   * to be taken away (let-go.ts); with `intended`, a publish stages it anew. Publish mounts what is not there.
   */
  letGo: z.boolean().optional(),
  /** Bytes that the policy lets it grow to. */
  growTo: z.number().nonnegative().optional(),
  /** What was published first, in place of the volume, which needs to know the pod's ID mapping. */
  cover: z.enum(['nested', 'placeholder']).optional(),
  /** An ephemeral writable layer was made. Its name is derived from the key (layerNameOf). */
  layer: z.boolean().optional(),
  /** What it takes to complete a `waiting` publish after a restart. Never secrets. */
  request: z
    .object({
      volumeContext: CONTEXT,
      mountFlags: z.array(z.string()).readonly(),
      fsType: z.string(),
      fsGroup: z.int().nonnegative().optional(),
      accessMode: z.string(),
      readonly: z.boolean(),
      stagingPath: z.string().optional(),
      block: z.boolean(),
    })
    .readonly()
    .optional(),
  pod: z
    .object({ namespace: z.string(), name: z.string(), uid: z.string(), serviceAccount: z.string() })
    .readonly()
    .optional(),
  /** Mounts do not outlive the boot in which they were made. */
  bootId: z.string(),
});

/** Of a later schema: the key must be there, the rest is taken where it means what it means here. */
const LATER_FIELDS = FIELDS.extend({
  state: STATE.catch('done'),
  fingerprint: z.string().catch(''),
  accessMode: z.string().catch(''),
  mount: FIELDS.shape.mount.catch(undefined),
  device: FIELDS.shape.device.catch(undefined),
  shape: FIELDS.shape.shape.catch(undefined),
  volume: FIELDS.shape.volume.catch(undefined),
  letGo: FIELDS.shape.letGo.catch(undefined),
  growTo: FIELDS.shape.growTo.catch(undefined),
  cover: FIELDS.shape.cover.catch(undefined),
  layer: FIELDS.shape.layer.catch(undefined),
  request: FIELDS.shape.request.catch(undefined),
  pod: FIELDS.shape.pod.catch(undefined),
  bootId: z.string().catch(''),
});

const ANY = z.looseObject({ schema: z.int().min(OLDEST_SCHEMA) });

export type VolumeRecord = RecordKey &
  Readonly<z.infer<typeof FIELDS>> & {
    /** What it was written in. Fingerprints of two schemas cannot be compared. */
    readonly schema: number;
  };

/** What a caller says of a volume. */
export type RecordFields = Omit<VolumeRecord, 'bootId' | 'schema'>;

/** Written by a version that came after this one. */
export const isLater = ({ schema }: Pick<VolumeRecord, 'schema'>): boolean => schema > SCHEMA;

/** What it says, to be written again by this version, which cannot tell what a fingerprint of another schema is of. */
export function fieldsOf({ schema, bootId: _, ...fields }: VolumeRecord): RecordFields {
  return schema === SCHEMA ? fields : { ...fields, fingerprint: UNKNOWN };
}

/** The fingerprint of a request that is not known. */
export const UNKNOWN = '';

/**
 * Whether what is recorded was asked for by a request with this fingerprint. Where that cannot be told (of another schema,
 * found mounted), what is there is taken for what is meant, as kubelet would take a refusal for "nothing is mounted".
 */
export const isOfRequest = (record: VolumeRecord, fingerprint: string): boolean =>
  record.schema !== SCHEMA ||
  record.fingerprint === UNKNOWN ||
  isSameRequest(record.fingerprint, fingerprint);

/**
 * A request without fsGroup and one with it are the same of a running pod when the node has gone over from `--fsgroup
 * kubelet` to `idmap` meanwhile, or back: kubelet cannot have changed what the pod asks for.
 */
function isSameRequest(one: string, other: string): boolean {
  const [digest, group] = one.split('+');
  const [otherDigest, otherGroup] = other.split('+');
  const isToldApart = group !== undefined && otherGroup !== undefined;
  return one === other || (digest === otherDigest && !isToldApart);
}

/** Of volumes that are mounts and nothing else. */
const KINDS_OF_MOUNTS: readonly string[] = ['bind', 'tmpfs', 'overlay'];

/** Whether the volume makes anything on disk (a writable layer, an image), which somebody must find after a reboot. */
export const outlivesMachine = ({ volume, layer, device }: VolumeRecord): boolean =>
  layer === true || device !== undefined || !KINDS_OF_MOUNTS.includes(volume?.kind ?? '');

/** Derived from the key alone: a name to delete is never read from a record. */
export function fileNameOf(key: RecordKey): string {
  return `${nameOf(key)}.json`;
}

/** Of the directory with the ephemeral writable layer of the volume there. */
export function layerNameOf(key: RecordKey): string {
  return nameOf(key);
}

function nameOf({ kind, volumeId, path }: RecordKey): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([kind, volumeId, path]))
    .digest('hex');
  return `${kind}-${digest.slice(0, 40)}`;
}

/** The record that this version writes, without what no file may hold. */
export function newRecord(fields: RecordFields, bootId: string): VolumeRecord {
  return { ...FIELDS.parse({ ...fields, bootId }), schema: SCHEMA };
}

/** A line of its file. */
export function formatRecord({ schema, ...record }: VolumeRecord): string {
  return `${JSON.stringify({ schema, ...record })}\n`;
}

/** The text of the record in a file: its last line, but for one that was cut off while it was written. */
export function currentIn(text: string): string {
  const end = text.lastIndexOf('\n');
  // The first versions had one record, on many lines.
  if (end === -1 || text.startsWith('{\n')) return text;
  return text.slice(text.lastIndexOf('\n', end - 1) + 1, end);
}

/** A record of a later version of which not even the key can be read. */
export class LaterRecordError extends Error {
  override readonly name = 'LaterRecordError';
}

/**
 * @param text of a record alone (currentIn)
 * @throws Error saying what is wrong with it
 */
export function parseRecord(text: string): VolumeRecord {
  const { schema, ...record } = expectValid(ANY.safeParse(JSON.parse(text)));
  if (schema <= SCHEMA) return { ...expectValid(FIELDS.safeParse(record)), schema };
  const read = LATER_FIELDS.safeParse(record);
  if (read.success) return { ...read.data, schema };
  throw new LaterRecordError(`schema ${schema}, this version reads ${SCHEMA}: ${problemsOf(read.error)}`);
}

function expectValid<T>(result: z.ZodSafeParseResult<T>): T {
  if (result.success) return result.data;
  throw new Error(problemsOf(result.error));
}

function problemsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => [path.join('.'), message].filter(Boolean).join(': ')).join('; ');
}
