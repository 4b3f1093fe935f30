// Whose files a pod sees, as mount options and as the owner of what is made fresh. Pure.
//
//   idmap      fsGroup G   options                                          root of what is made fresh
//   none, pod  no          none                                             0:0, as made
//   none, pod  yes         rootgid=G                                        0:G, mode 2775
//   explicit   no, yes     uidmap, gidmap, (rootgid=G)                      as made, (mode 2775)
//   owner u:g  no, yes     rootuid=u, (rootgid=g, or G)                     as made, (mode 2775)
//
// For a pod with a user namespace of its own there are two ways:
//
//   the runtime maps     no options: what was mapped once cannot be mapped again (mayMap: false)
//   the driver maps      what the table says, and what that shows mapped again by the pod's mapping: uidmap and gidmap are
//                        composed, the ids of rootuid and rootgid are those that the pod's ids are on the node
//
// An ephemeral writable layer has ids as they are shown: layerRoot.
// Where a root has that group already, `rootgid` makes no map (mount/options.ts).

import {
  formatIdMapping,
  type IdMapping,
  MappingError,
  parseIdMapping,
  shownId,
  type UserMapping,
} from '../userns/mapping.ts';
import { composeUserMappings, withHostRoot } from '../userns/mapping-algebra.ts';
import { VolumeError } from './errors.ts';
import type { Idmap } from './volume.ts';

/** What is known of the pod when a volume is made for it. */
export interface Ownership {
  readonly idmap: Idmap;
  /** fsGroup. */
  readonly group: number | undefined;
  /** False for a pod with a user namespace of its own, whose runtime maps: a group is then only given to what is fresh. */
  readonly mayMap: boolean;
  /** Of the pod's user namespace, where the driver maps; undefined where the runtime does, and for a pod on the host. */
  readonly podMapping?: UserMapping | undefined;
}

/** @throws VolumeError where the pod has none of the ids that the volume is to be shown with */
export function idmapOptions({ idmap, group, mayMap, podMapping }: Ownership): string[] {
  if (!mayMap) return [];
  const owner = idmap.is === 'owner' ? idmap : undefined;
  return [
    ...mapsOf(idmap, podMapping),
    ...option('rootuid', shownAs(owner?.uid, podMapping?.uid, 'owner')),
    ...option(
      'rootgid',
      group === undefined
        ? shownAs(owner?.gid, podMapping?.gid, 'owner')
        : // One that the pod does not have cannot be shown to it.
          idOf(podMapping?.gid, group),
    ),
  ];
}

const option = (name: string, id: number | undefined): string[] =>
  id === undefined ? [] : [`${name}=${id}`];

const idOf = (mapping: IdMapping | undefined, id: number): number | undefined =>
  mapping === undefined ? id : shownId(mapping, id);

function mapsOf(idmap: Idmap, podMapping: UserMapping | undefined): string[] {
  if (podMapping === undefined) {
    return idmap.is === 'explicit' ? [`uidmap=${idmap.uidmap}`, `gidmap=${idmap.gidmap}`] : [];
  }
  const { uid, gid } = withHostRoot(idmap.is === 'explicit' ? composed(idmap, podMapping) : podMapping);
  return [`uidmap=${formatIdMapping(uid)}`, `gidmap=${formatIdMapping(gid)}`];
}

type Explicit = Extract<Idmap, { is: 'explicit' }>;

const mappingOf = ({ uidmap, gidmap }: Explicit): UserMapping => ({
  uid: parseIdMapping(uidmap, 'uidmap'),
  gid: parseIdMapping(gidmap, 'gidmap'),
});

function composed(idmap: Explicit, podMapping: UserMapping): UserMapping {
  try {
    return composeUserMappings(mappingOf(idmap), podMapping);
  } catch (error) {
    if (!(error instanceof MappingError)) throw error;
    throw new VolumeError(
      'uidmap',
      `and gidmap show none of the ids that the pod has, which count from 0 in its user namespace: ${error.message}`,
    );
  }
}

function shownAs(id: number | undefined, mapping: IdMapping | undefined, field: string): number | undefined {
  if (id === undefined) return undefined;
  const shown = idOf(mapping, id);
  if (shown !== undefined) return shown;
  throw new VolumeError(
    field,
    `${id} is none of the ids that the pod has in its user namespace; choose one of them`,
  );
}

export interface RootOwner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Of a group that shares a directory: new files get the group, and it may write. */
export const SHARED_MODE = 0o2775;

/** The root of a filesystem that is made for this group; undefined: as it comes. */
export function freshRoot({ idmap, group }: Pick<Ownership, 'idmap' | 'group'>): RootOwner | undefined {
  if (group === undefined) return undefined;
  const isKept = idmap.is === 'none' || idmap.is === 'pod';
  return { uid: 0, gid: isKept ? group : 0, mode: SHARED_MODE };
}

/**
 * The root of an ephemeral writable layer, which holds ids as they are shown: what the top lowerdir's root is shown as.
 * @param lower the root of the top lowerdir, on disk
 */
export function layerRoot(ownership: Ownership, lower: RootOwner): RootOwner {
  const { group } = ownership;
  const mode = group === undefined ? lower.mode : SHARED_MODE;
  const { uid, gid } = shownOwner(ownership, lower);
  return { uid, gid, mode };
}

function shownOwner(ownership: Ownership, lower: RootOwner): { uid: number; gid: number } {
  const { group, podMapping } = ownership;
  const own = ownerOf(ownership.idmap, lower);
  const gid = group ?? own.gid;
  if (podMapping === undefined) return { uid: own.uid, gid };
  return { uid: mapped(podMapping.uid, own.uid), gid: mapped(podMapping.gid, gid) };
}

/** Without what the pod's mapping makes of it. */
function ownerOf(idmap: Idmap, lower: RootOwner): { uid: number; gid: number } {
  switch (idmap.is) {
    case 'none':
    case 'pod':
      return lower;
    case 'owner':
      return { uid: idmap.uid, gid: idmap.gid ?? lower.gid };
    case 'explicit': {
      const { uid, gid } = mappingOf(idmap);
      return { uid: mapped(uid, lower.uid), gid: mapped(gid, lower.gid) };
    }
  }
}

/** An owner that the mapping does not have would be nobody, who cannot own a directory to write in: root instead. */
function mapped(mapping: IdMapping, id: number): number {
  return shownId(mapping, id) ?? shownId(mapping, 0) ?? mapping[0]?.host ?? id;
}
