// The options about ids, which mean something only together. Pure.
//
//   uidmap, gidmap     every id, as userns/mapping.ts reads them; both or neither
//   rootuid, rootgid   the owner and group of the source's root directory are shown as these, and these as them: a swap,
//                      on top of uidmap and gidmap where those are given; one alone concerns users or groups alone
//   idmapupper         of an overlay: its upperdir and workdir are mapped like its lowerdirs
import { type IdMapping, MAX_ID, MappingError, parseIdMapping, type UserMapping } from '../userns/mapping.ts';
import { invalidMount } from './errors.ts';

/** What the root of a mount is to be shown as. */
export interface RootIds {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface IdmapRequest {
  /** Absent: every id as itself. */
  readonly mapping: UserMapping | undefined;
  readonly root: RootIds | undefined;
  /** Also for the upperdir of an overlay, not only for its lowerdirs. */
  readonly upper: boolean;
}

export interface TakenIdmap {
  readonly idmap: IdmapRequest | undefined;
  /** The options that are not about ids. */
  readonly rest: readonly string[];
}

/** The names of these options. */
export const IDMAP_OPTIONS: ReadonlySet<string> = new Set([
  'uidmap',
  'gidmap',
  'rootuid',
  'rootgid',
  'idmapupper',
]);

/** Later options win over earlier ones. @throws MountError (invalid-mount) */
export function takeIdmap(data: readonly string[]): TakenIdmap {
  const given = new Map<string, string>();
  const rest: string[] = [];
  for (const option of data) {
    const at = option.indexOf('=');
    const key = at === -1 ? option : option.slice(0, at);
    if (IDMAP_OPTIONS.has(key)) given.set(key, at === -1 ? '' : option.slice(at + 1));
    else rest.push(option);
  }
  const mapping = readMapping(given);
  const root = readRoot(given);
  const upper = given.get('idmapupper');
  if (upper) throw invalidMount(`idmapupper=${upper}: takes no value; say idmapupper`);
  if (mapping !== undefined || root !== undefined)
    return { idmap: { mapping, root, upper: upper !== undefined }, rest };
  if (upper === undefined) return { idmap: undefined, rest };
  throw invalidMount(
    'idmapupper maps the upperdir like the lowerdirs, which have no mapping; add uidmap= and gidmap=, or leave it out',
  );
}

function readMapping(given: ReadonlyMap<string, string>): UserMapping | undefined {
  const [uid, gid] = [extentsOf('uidmap', given), extentsOf('gidmap', given)];
  if (uid && gid) return { uid, gid };
  if (uid) throw invalidMount('uidmap without gidmap: an ID-mapped mount needs both; add gidmap=');
  if (gid) throw invalidMount('gidmap without uidmap: an ID-mapped mount needs both; add uidmap=');
  return undefined;
}

function extentsOf(key: string, given: ReadonlyMap<string, string>): IdMapping | undefined {
  const text = given.get(key);
  try {
    return text === undefined ? undefined : parseIdMapping(text, key);
  } catch (error) {
    throw error instanceof MappingError ? invalidMount(error.message) : error;
  }
}

function readRoot(given: ReadonlyMap<string, string>): RootIds | undefined {
  const [uid, gid] = [idOf('rootuid', given), idOf('rootgid', given)];
  return uid === undefined && gid === undefined ? undefined : { uid, gid };
}

function idOf(key: string, given: ReadonlyMap<string, string>): number | undefined {
  const text = given.get(key);
  if (text === undefined) return undefined;
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (id <= MAX_ID) return id;
  throw invalidMount(`${key}=${text}: must be an id, a whole number from 0 to ${MAX_ID}`);
}
