// An ID mapping in the words of a FUSE helper, for filesystems that the kernel cannot map: most servers do not offer it
// (FUSE_ALLOW_IDMAP, Linux 6.12). Pure. Each row was tried with the helper (test/kernel/mount/fuse-mapping.test.ts).
//
//   helper           says it by                         shows                            writes on disk
//   fuse-overlayfs   uidmapping=, gidmapping=           each owner as mapped             as mapped back
//   bindfs           uid-offset=, gid-offset=; map=     each owner as mapped             as mapped back
//   squashfuse       uid=, gid=                         root of the mapping as owner     nothing
//   sshfs            uid=, gid=                         root of the mapping as owner     as the remote user
//
// Ids that the mapping leaves out are shown as nobody by fuse-overlayfs, and by bindfs as ids that are not among those that
// the mapping shows. `allow_other`, without which nobody but the helper's own user gets in, is the caller's to give.
import { type IdMapping, MAX_ID, type UserMapping } from '../../userns/mapping.ts';
import { isIdentity, mappedRoot, mergeExtents } from '../../userns/mapping-algebra.ts';

export interface MappingOptions {
  readonly options: readonly string[];
  /** `owners`: every file has its own, mapped. `root`: all files belong to root of the mapping. */
  readonly shows: 'owners' | 'root';
}

type Row = (mapping: UserMapping) => MappingOptions | undefined;

const ROWS: Readonly<Record<string, Row>> = {
  'fuse-overlayfs': ({ uid, gid }) => ({
    options: [`uidmapping=${joined(uid)}`, `gidmapping=${joined(gid)}`],
    shows: 'owners',
  }),
  bindfs: (mapping) => offsets(mapping) ?? pairs(mapping),
  squashfuse: oneOwner,
  sshfs: oneOwner,
};

/**
 * The options that tell a helper this mapping; undefined for one that has none, or none that say just this.
 * @param helper the program: `bindfs`, of the type `fuse.bindfs`
 */
export function mappingOptionsFor(helper: string, mapping: UserMapping): MappingOptions | undefined {
  return Object.hasOwn(ROWS, helper) ? ROWS[helper]?.(mapping) : undefined;
}

/** Separated by colons all through. */
function joined(mapping: IdMapping): string {
  return mergeExtents(mapping)
    .map(({ container, host, size }) => `${container}:${host}:${size}`)
    .join(':');
}

/** A single extent that leads upwards: what is added to it may be added to all others too, for they stay outside. */
function offsets({ uid, gid }: UserMapping): MappingOptions | undefined {
  const [up, upGroup] = [offsetOf(uid), offsetOf(gid)];
  if (up === undefined || upGroup === undefined) return undefined;
  return { options: [`uid-offset=${up}`, `gid-offset=${upGroup}`], shows: 'owners' };
}

function offsetOf(mapping: IdMapping): number | undefined {
  const [first, ...others] = mergeExtents(mapping);
  if (first === undefined || others.length > 0) return undefined;
  const offset = first.host - first.container;
  // Downwards, the ids below it would wrap round, one of them to what is no id.
  return offset >= 0 ? offset : undefined;
}

/** An option with more would be a page of them. */
const MOST_PAIRS = 64;

/** Every id as itself but for a few: `map=1000/5000:@1001/@6000`. */
function pairs({ uid, gid }: UserMapping): MappingOptions | undefined {
  const [users, groups] = [moved(uid), moved(gid)];
  if (users === undefined || groups === undefined || users.length + groups.length > MOST_PAIRS)
    return undefined;
  const named = [
    ...users.map(([from, to]) => `${from}/${to}`),
    ...groups.map(([from, to]) => `@${from}/@${to}`),
  ];
  return { options: [`map=${named.join(':')}`], shows: 'owners' };
}

/** The ids that are not shown as themselves; undefined where they are many, or some are not shown at all. */
function moved(mapping: IdMapping): [from: number, to: number][] | undefined {
  const all = mapping.reduce((sum, { size }) => sum + size, 0);
  const others = mapping.filter((extent) => !isIdentity([extent]));
  const count = others.reduce((sum, { size }) => sum + size, 0);
  if (all !== MAX_ID + 1 || count > MOST_PAIRS) return undefined;
  return others.flatMap(({ container, host, size }) =>
    Array.from({ length: size }, (_, i): [number, number] => [container + i, host + i]),
  );
}

/** An owner that is shown counts for something only where the kernel looks at permissions by itself. */
function oneOwner(mapping: UserMapping): MappingOptions {
  const { uid, gid } = mappedRoot(mapping);
  return { options: [`uid=${uid}`, `gid=${gid}`, 'default_permissions'], shows: 'root' };
}
