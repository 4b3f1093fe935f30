// What kubelet records of a pod with a user namespace of its own (`hostUsers: false`). Pure.
//
//   {"uidMappings":[{"hostId":N,"containerId":0,"length":L}],"gidMappings":[the same]}
//
// Whose files the pod may own hangs on it. So it is read at least as strictly as kubelet reads it before it uses it
// (parseUserNsFileAndRecord and record, pkg/kubelet/userns): L is a multiple of 65536, N a multiple of L and not 0,
// ids of users and of groups are the same. A key that is not known may change what the others mean, and is refused.
import { MAX_ID, type UserMapping } from './mapping.ts';

export type PodRecord =
  | { readonly is: 'mapped'; readonly mapping: UserMapping }
  /** Not written yet; or never, for a pod in the host's user namespace. */
  | { readonly is: 'none' }
  | { readonly is: 'invalid'; readonly because: string };

/** Never throws. An empty record is none, as it is to kubelet. */
export function parsePodRecord(text: string): PodRecord {
  if (text === '') return { is: 'none' };
  try {
    return { is: 'mapped', mapping: mappingOf(JSON.parse(text)) };
  } catch (error) {
    if (error instanceof Refusal) return invalid(error.message);
    if (error instanceof SyntaxError) return invalid(`it is not JSON: ${error.message}`);
    throw error;
  }
}

export const invalid = (because: string): PodRecord => ({ is: 'invalid', because });

/** Kubelet gives ids in units of this size (userNsUnitLength). */
const UNIT = 65_536;

class Refusal extends Error {}

interface Range {
  readonly hostId: number;
  readonly length: number;
}

function mappingOf(record: unknown): UserMapping {
  const { uidMappings, gidMappings } = fieldsOf(record, 'the record', ['uidMappings', 'gidMappings']);
  const uids = rangeOf(uidMappings, 'uidMappings');
  const gids = rangeOf(gidMappings, 'gidMappings');
  if (uids.hostId !== gids.hostId || uids.length !== gids.length) {
    throw new Refusal('uidMappings and gidMappings differ; kubelet gives a pod the same ids for both');
  }
  const ids = [{ container: 0, host: uids.hostId, size: uids.length }];
  return { uid: ids, gid: ids };
}

function rangeOf(list: unknown, name: string): Range {
  if (!Array.isArray(list)) throw new Refusal(`${name} is no list`);
  if (list.length !== 1)
    throw new Refusal(`${name} has ${list.length} entries; kubelet gives a pod one range`);
  const at = `${name}[0]`;
  const fields = fieldsOf(list[0], at, ['hostId', 'containerId', 'length']);
  const [hostId, containerId, length] = [fields.hostId, fields.containerId, fields.length];
  if (containerId !== 0)
    throw new Refusal(`${at}.containerId is ${show(containerId)}; it is 0, so that the pod has a root`);
  if (!isCount(length) || length % UNIT !== 0)
    throw new Refusal(`${at}.length is ${show(length)}; it is a multiple of ${UNIT}`);
  if (!isCount(hostId) || hostId % length !== 0)
    throw new Refusal(`${at}.hostId is ${show(hostId)}; it is a multiple of the length, and not 0`);
  if (hostId + length - 1 > MAX_ID)
    throw new Refusal(`${at} goes past the largest id, ${MAX_ID}: ${hostId} and ${length} ids`);
  return { hostId, length };
}

/** The fields of an object that has these, and no others. */
function fieldsOf<const K extends string>(
  value: unknown,
  name: string,
  keys: readonly K[],
): Record<K, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Refusal(`${name} is no object`);
  const fields = new Map(Object.entries(value));
  const missing = keys.find((key) => !fields.has(key));
  if (missing !== undefined) throw new Refusal(`${name} has no ${missing}`);
  const unknown = [...fields.keys()].find((key) => !keys.some((known) => known === key));
  if (unknown !== undefined)
    throw new Refusal(
      `${name} has ${show(unknown)}, which is not known here; a newer kubelet needs a newer driver`,
    );
  return Object.fromEntries(fields) as Record<K, unknown>;
}

const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0;

/** As much of it as a message can bear. */
const show = (value: unknown): string => JSON.stringify(value).slice(0, 40);
