// The mapping that shows a directory, the root of a mount, as owned by somebody else: a swap of two ids, on top of the
// mapping that is asked for besides. Pure.
import type { IdMapping, UserMapping } from '../userns/mapping.ts';
import { formatIdMapping, MappingError, shownId } from '../userns/mapping.ts';
import { composeMappings, identityMapping, invertMapping, swapMapping } from '../userns/mapping-algebra.ts';
import { invalidMount } from './errors.ts';
import type { RootIds } from './idmap-options.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * @param owner whom the root belongs to without the mapping
 * @returns undefined where nothing is to be mapped: the root belongs to them already
 * @throws MountError (invalid-mount) where the mapping leaves the root without an id
 */
export function showRootAs(
  owner: Owner,
  root: RootIds,
  mapping: UserMapping | undefined,
): UserMapping | undefined {
  const uid = swapped('uid', owner.uid, root.uid, mapping?.uid);
  const gid = swapped('gid', owner.gid, root.gid, mapping?.gid);
  if (uid === undefined && gid === undefined) return mapping;
  return { uid: uid ?? mapping?.uid ?? identityMapping, gid: gid ?? mapping?.gid ?? identityMapping };
}

/**
 * Undefined when there is nothing to swap. A root that the mapping leaves without an id changes places before it, with
 * the owner that it shows so: who is shown so is the root, and nobody else, either way.
 */
function swapped(
  kind: 'uid' | 'gid',
  owner: number,
  as: number | undefined,
  mapping: IdMapping = identityMapping,
): IdMapping | undefined {
  if (as === undefined) return undefined;
  const shown = shownId(mapping, owner);
  if (shown === as) return undefined;
  try {
    if (shown !== undefined) return composeMappings(mapping, swapMapping(shown, as));
    const inItsPlace = shownId(invertMapping(mapping), as);
    if (inItsPlace !== undefined) return composeMappings(swapMapping(owner, inItsPlace), mapping);
  } catch (error) {
    throw error instanceof MappingError ? invalidMount(`root${kind}=${as}: ${error.message}`) : error;
  }
  throw invalidMount(
    `root${kind}=${as}: the root of the source has ${kind} ${owner}, which ${kind}map=${formatIdMapping(mapping)} does ` +
      `not map, and nothing is shown as ${as}; map it too, or leave root${kind} out`,
  );
}
