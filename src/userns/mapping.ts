// ID mappings: the text that users write, its validation, and the form that the kernel reads
// (user_namespaces(7), "User and group ID mappings"). Pure.

/** `size` consecutive ids: `container`, as they are on disk, is shown as `host`, and so on upwards. */
export interface IdExtent {
  readonly container: number;
  readonly host: number;
  readonly size: number;
}

export type IdMapping = readonly IdExtent[];

/** Both mappings of a user namespace: one alone cannot be used. */
export interface UserMapping {
  readonly uid: IdMapping;
  readonly gid: IdMapping;
}

/** The kernel takes no more extents than this (UID_GID_MAP_MAX_EXTENTS). */
const MAX_EXTENTS = 340;
/** A write to uid_map must be smaller than a page (map_write, kernel/user_namespace.c). */
const MAX_MAP_BYTES = 4095;
/** Ids are 32 bits, and the last one, (uid_t) -1, means "no id". */
export const MAX_ID = 2 ** 32 - 2;

export class MappingError extends Error {
  override readonly name = 'MappingError';
}

/**
 * Reads `container:host:size[,container:host:size...]`, decimal.
 * @param field the name of the option or key that holds the text, for messages: `uidmap`
 * @throws MappingError naming the field, what was given and what is allowed
 */
export function parseIdMapping(text: string, field: string): IdMapping {
  const remedy = 'write container:host:size, several separated by commas, such as 0:100000:65536';
  return readExtents(text.split(','), /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/, field, remedy);
}

/**
 * Reads what /proc/PID/uid_map and gid_map hold: a line an extent, `container host size`.
 * @param field the name of the file, for messages
 * @throws MappingError; also for an empty text: nothing is mapped yet
 */
export function parseKernelMap(text: string, field: string): IdMapping {
  const lines = text.replace(/\n$/, '').split('\n');
  const remedy = 'a map of the kernel has lines such as "0 100000 65536"';
  return readExtents(lines, /^[ \t]*(\d{1,10})[ \t]+(\d{1,10})[ \t]+(\d{1,10})[ \t]*$/, field, remedy);
}

function readExtents(parts: readonly string[], form: RegExp, field: string, remedy: string): IdMapping {
  const extents = parts.map((part) => {
    const invalid = (why: string) => new MappingError(`${field}: ${JSON.stringify(part)} ${why}; ${remedy}`);
    const match = form.exec(part);
    if (match === null) throw invalid('is not three decimal numbers');
    const [container, host, size] = match.slice(1).map(Number) as [number, number, number];
    if (size === 0) throw invalid('has a size of 0');
    if (Math.max(container, host) + size - 1 > MAX_ID) throw invalid(`goes past the largest id, ${MAX_ID}`);
    return { container, host, size };
  });
  expectNoOverlap(extents, field);
  expectWithinLimits(extents, field);
  return extents;
}

function expectNoOverlap(extents: IdMapping, field: string): void {
  for (const side of ['container', 'host'] as const) {
    const overlap = findOverlap(extents, side);
    if (overlap) {
      const [a, b] = overlap.map(formatExtent);
      throw new MappingError(`${field}: ${a} and ${b} overlap in their ${side} ids; each id maps once`);
    }
  }
}

/**
 * What the kernel takes: for every mapping that is read or made.
 * @throws MappingError
 */
export function expectWithinLimits(mapping: IdMapping, field: string): void {
  if (mapping.length > MAX_EXTENTS) {
    throw new MappingError(`${field}: ${mapping.length} extents, the kernel takes at most ${MAX_EXTENTS}`);
  }
  const { length } = formatKernelMap(mapping);
  if (length > MAX_MAP_BYTES) {
    throw new MappingError(
      `${field}: the kernel reads a mapping of less than a page, and this one has ${length} bytes; use fewer extents`,
    );
  }
}

function findOverlap(extents: IdMapping, side: 'container' | 'host'): [IdExtent, IdExtent] | undefined {
  const sorted = extents.toSorted((a, b) => a[side] - b[side]);
  for (const [i, next] of sorted.entries()) {
    const previous = sorted[i - 1];
    if (previous && previous[side] + previous.size > next[side]) return [previous, next];
  }
  return undefined;
}

const formatExtent = (extent: IdExtent): string => `${extent.container}:${extent.host}:${extent.size}`;

/** The text form again. */
export function formatIdMapping(mapping: IdMapping): string {
  return mapping.map(formatExtent).join(',');
}

/** What /proc/PID/{uid,gid}_map reads: a line an extent. */
export function formatKernelMap(mapping: IdMapping): string {
  return mapping.map(({ container, host, size }) => `${container} ${host} ${size}\n`).join('');
}

/** The id under which `onDisk` is shown; undefined where nothing maps it (the kernel shows 65534, nobody). */
export function shownId(mapping: IdMapping, onDisk: number): number | undefined {
  const extent = mapping.find(({ container, size }) => onDisk >= container && onDisk < container + size);
  return extent && extent.host + (onDisk - extent.container);
}
