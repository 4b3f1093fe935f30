// Whose files a pod sees, as mount options and as the owner of what is made fresh. Pure.
//
//   idmap      fsGroup G   options                                          root of what is made fresh
//   none       no          none                                             0:0, as made
//   none       yes         rootgid=G                                        0:G, mode 2775
//   explicit   no, yes     uidmap, gidmap, (rootgid=G)                      as made, (mode 2775)
//   owner u:g  no, yes     rootuid=u, (rootgid=g, or G)                     as made, (mode 2775)
//   pod        no, yes     the pod's own mapping, (rootgid=G in it)         0:G, mode 2775, as the pod counts ids
//   pod        no, yes     on the host: as none                             0:G, mode 2775
//
// An ephemeral writable layer has ids as they are shown: layerRoot.
// Where a root has that group already, `rootgid` makes no map (mount/options.ts).

import { formatIdMapping, type IdMapping, parseIdMapping, type UserMapping } from '../userns/mapping.ts';
import { mapId } from '../userns/mapping-algebra.ts';
import type { Idmap } from './volume.ts';

/** What is known of the pod when a volume is made for it. */
export interface Ownership {
  readonly idmap: Idmap;
  /** fsGroup. */
  readonly group: number | undefined;
  /** False for a pod with a user namespace of its own, whose runtime maps: a group is then only given to what is fresh. */
  readonly mayMap: boolean;
  /** Of the pod's user namespace, for `idmap: pod`; undefined where the runtime maps, and for a pod on the host. */
  readonly podMapping?: UserMapping | undefined;
}

export function idmapOptions({ idmap, group, mayMap, podMapping }: Ownership): string[] {
  if (!mayMap) return [];
  const rootgid = (gid: number | undefined) => (gid === undefined ? [] : [`rootgid=${gid}`]);
  switch (idmap.is) {
    case 'none':
      return rootgid(group);
    case 'explicit':
      return [`uidmap=${idmap.uidmap}`, `gidmap=${idmap.gidmap}`, ...rootgid(group)];
    case 'owner':
      return [`rootuid=${idmap.uid}`, ...rootgid(group ?? idmap.gid)];
    case 'pod': {
      if (podMapping === undefined) return rootgid(group);
      const { uid, gid } = podMapping;
      const maps = [`uidmap=${formatIdMapping(uid)}`, `gidmap=${formatIdMapping(gid)}`];
      return [...maps, ...rootgid(group === undefined ? undefined : mapId(gid, group))];
    }
  }
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

function shownOwner({ idmap, group, podMapping }: Ownership, lower: RootOwner): { uid: number; gid: number } {
  switch (idmap.is) {
    case 'none':
      return { uid: lower.uid, gid: group ?? lower.gid };
    case 'owner':
      return { uid: idmap.uid, gid: group ?? idmap.gid ?? lower.gid };
    case 'explicit': {
      const [uids, gids] = [parseIdMapping(idmap.uidmap, 'uidmap'), parseIdMapping(idmap.gidmap, 'gidmap')];
      return { uid: mapped(uids, lower.uid), gid: group ?? mapped(gids, lower.gid) };
    }
    case 'pod':
      if (podMapping === undefined) return { uid: lower.uid, gid: group ?? lower.gid };
      return { uid: mapped(podMapping.uid, lower.uid), gid: mapped(podMapping.gid, group ?? lower.gid) };
  }
}

/** An owner that the mapping does not have would be nobody, who cannot own a directory to write in: root instead. */
function mapped(mapping: IdMapping, id: number): number {
  return mapId(mapping, id) ?? mapId(mapping, 0) ?? mapping[0]?.host ?? id;
}
