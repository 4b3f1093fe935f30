// New mappings from others: composed, inverted, swapped, merged. Pure; what is made is in canonical form, and within
// what the kernel takes.
import {
  expectWithinLimits,
  formatIdMapping,
  type IdExtent,
  type IdMapping,
  MAX_ID,
  MappingError,
  type UserMapping,
} from './mapping.ts';

/** The canonical form: sorted by the ids on disk, extents that go on where another ends as one. The same meaning. */
export function mergeExtents(mapping: IdMapping): IdMapping {
  const merged: IdExtent[] = [];
  for (const next of mapping.toSorted((a, b) => a.container - b.container)) {
    const last = merged.at(-1);
    const joins =
      last && last.container + last.size === next.container && last.host + last.size === next.host;
    if (joins) merged[merged.length - 1] = { ...last, size: last.size + next.size };
    else merged.push(next);
  }
  return merged;
}

/** The same text exactly for mappings of the same meaning. */
export function canonicalText({ uid, gid }: UserMapping): string {
  return `uid ${formatIdMapping(mergeExtents(uid))}, gid ${formatIdMapping(mergeExtents(gid))}`;
}

/** The other direction: what is shown as what is on disk. */
export function invertMapping(mapping: IdMapping): IdMapping {
  return mergeExtents(
    mapping.map(({ container, host, size }) => ({ container: host, host: container, size })),
  );
}

/**
 * Who root is where ids are mapped so, as others see him: whoever the lowest id on disk is shown as, which is 0 but for
 * mappings that leave it out.
 */
export function mappedRoot({ uid, gid }: UserMapping): { readonly uid: number; readonly gid: number } {
  const lowest = (mapping: IdMapping): number => {
    const [first] = mergeExtents(mapping);
    if (first === undefined) throw new MappingError('a mapping without extents has no root');
    return first.host;
  };
  return { uid: lowest(uid), gid: lowest(gid) };
}

/** Every id as itself. */
export const identityMapping: IdMapping = [{ container: 0, host: 0, size: MAX_ID + 1 }];

/** Whether every id that is mapped is shown as itself. */
export function isIdentity(mapping: IdMapping): boolean {
  return mapping.every(({ container, host }) => container === host);
}

/**
 * Every id as itself, but for these two, which change places.
 * @throws MappingError for what is no id
 */
export function swapMapping(a: number, b: number): IdMapping {
  for (const id of [a, b]) {
    if (!Number.isInteger(id) || id < 0 || id > MAX_ID)
      throw new MappingError(`swap of ${a} and ${b}: ${id} is no id; ids are 0 to ${MAX_ID}`);
  }
  const [low, high] = [Math.min(a, b), Math.max(a, b)];
  if (low === high) return identityMapping;
  const same = (from: number, to: number): IdExtent => ({ container: from, host: from, size: to - from });
  return [
    same(0, low),
    { container: low, host: high, size: 1 },
    same(low + 1, high),
    { container: high, host: low, size: 1 },
    same(high + 1, MAX_ID + 1),
  ].filter(({ size }) => size > 0);
}

/**
 * What `first` shows, shown again by `second`: an id d on disk is shown as second(first(d)). Ids that one of them does
 * not map are not mapped.
 * @throws MappingError when nothing is left, or more than the kernel takes
 */
export function composeMappings(first: IdMapping, second: IdMapping): IdMapping {
  const parts = first.flatMap((inner) => second.flatMap((outer) => overlapOf(inner, outer)));
  const [a, b] = [formatIdMapping(first), formatIdMapping(second)];
  if (parts.length === 0) {
    throw new MappingError(`${b} maps none of the ids that the source shows (${a}); map those`);
  }
  const composed = mergeExtents(parts);
  expectWithinLimits(composed, `${b} on top of ${a}`);
  return composed;
}

/** The same of users and of groups. @throws MappingError */
export function composeUserMappings(first: UserMapping, second: UserMapping): UserMapping {
  return { uid: composeMappings(first.uid, second.uid), gid: composeMappings(first.gid, second.gid) };
}

/**
 * The same, and root of the host as an id that is not mapped otherwise. Where root is shown as nobody, the kernel does not
 * let it make anything (EOVERFLOW), and kubelet makes the directories of subPaths as root of the host.
 * @throws MappingError
 */
export function withHostRoot({ uid, gid }: UserMapping): UserMapping {
  return { uid: withRoot(uid), gid: withRoot(gid) };
}

function withRoot(mapping: IdMapping): IdMapping {
  if (mapping.some(({ host }) => host === 0)) return mapping;
  const more = [...mapping, { container: largestUnmapped(mapping), host: 0, size: 1 }];
  expectWithinLimits(more, `${formatIdMapping(mapping)} and root of the host`);
  return more;
}

function largestUnmapped(mapping: IdMapping): number {
  let id = MAX_ID;
  for (const { container, size } of mapping.toSorted((a, b) => b.container - a.container)) {
    if (container + size <= id) break;
    id = container - 1;
  }
  if (id < 0) throw new MappingError(`${formatIdMapping(mapping)} maps all ids there are`);
  return id;
}

/** The ids that `inner` shows and `outer` knows, as one extent. */
function overlapOf(inner: IdExtent, outer: IdExtent): IdExtent[] {
  const from = Math.max(inner.host, outer.container);
  const to = Math.min(inner.host + inner.size, outer.container + outer.size);
  if (from >= to) return [];
  const container = inner.container + (from - inner.host);
  return [{ container, host: outer.host + (from - outer.container), size: to - from }];
}
