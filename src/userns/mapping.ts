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
const MAX_ID = 2 ** 32 - 2;

export class MappingError extends Error {
  override readonly name = 'MappingError';
}

/**
 * Reads `container:host:size[,container:host:size...]`, decimal.
 * @param field the name of the option or key that holds the text, for messages: `uidmap`
 * @throws MappingError naming the field, what was given and what is allowed
 */
export function parseIdMapping(text: string, field: string): IdMapping {
  const invalid = (part: string, why: string) =>
    new MappingError(
      `${field}: ${JSON.stringify(part)} ${why}; write container:host:size, several separated by commas, such as 0:100000:65536`,
    );
  const extents = text.split(',').map((part) => {
    const match = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(part);
    if (match === null) throw invalid(part, 'is not three decimal numbers');
    const [container, host, size] = match.slice(1).map(Number) as [number, number, number];
    if (size === 0) throw invalid(part, 'has a size of 0');
    if (Math.max(container, host) + size - 1 > MAX_ID)
      throw invalid(part, `goes past the largest id, ${MAX_ID}`);
    return { container, host, size };
  });
  if (extents.length > MAX_EXTENTS) {
    throw new MappingError(`${field}: ${extents.length} extents, the kernel takes at most ${MAX_EXTENTS}`);
  }
  for (const side of ['container', 'host'] as const) {
    const overlap = findOverlap(extents, side);
    if (overlap) {
      const [a, b] = overlap.map(formatExtent);
      throw new MappingError(`${field}: ${a} and ${b} overlap in their ${side} ids; each id maps once`);
    }
  }
  if (formatKernelMap(extents).length > MAX_MAP_BYTES) {
    throw new MappingError(
      `${field}: the kernel reads a mapping of less than a page, and this one has ${formatKernelMap(extents).length} bytes; use fewer extents`,
    );
  }
  return extents;
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

/**
 * What `first` shows, shown again by `second`: an id d on disk is shown as second(first(d)). Ids that one of them does
 * not map are not mapped. Adjacent extents are merged.
 * @throws MappingError when nothing is left
 */
export function composeMappings(first: IdMapping, second: IdMapping): IdMapping {
  const parts = first
    .flatMap((inner) => second.flatMap((outer) => overlapOf(inner, outer)))
    .sort((a, b) => a.container - b.container);
  if (parts.length === 0) {
    const [a, b] = [formatIdMapping(first), formatIdMapping(second)];
    throw new MappingError(`${b} maps none of the ids that the source shows (${a}); map those`);
  }
  const merged: IdExtent[] = [];
  for (const next of parts) {
    const last = merged.at(-1);
    const joins =
      last && last.container + last.size === next.container && last.host + last.size === next.host;
    if (joins) merged[merged.length - 1] = { ...last, size: last.size + next.size };
    else merged.push(next);
  }
  return merged;
}

/** The ids that `inner` shows and `outer` knows, as one extent. */
function overlapOf(inner: IdExtent, outer: IdExtent): IdExtent[] {
  const from = Math.max(inner.host, outer.container);
  const to = Math.min(inner.host + inner.size, outer.container + outer.size);
  if (from >= to) return [];
  const container = inner.container + (from - inner.host);
  return [{ container, host: outer.host + (from - outer.container), size: to - from }];
}
