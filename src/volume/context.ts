// A volume context becomes a Volume: keys checked against the table (keys.ts), then against each other. Pure.
import { VolumeError } from './errors.ts';
import { KEYS, type Key, type KeyValue, MOUNTS_KEY } from './keys.ts';
import { nearest } from './nearest.ts';
import { hasControl, parsePath } from './parse.ts';
import { readParts } from './parts.ts';
import type { VolumeType } from './type.ts';
import {
  type Idmap,
  MADE_FILESYSTEMS,
  type MadeFilesystem,
  type PartVolume,
  type PodInfo,
  type Volume,
  type Writable,
} from './volume.ts';

/** Keys of Kubernetes' own, which are not the author's. */
export const FOREIGN_PREFIXES = ['csi.storage.k8s.io/', 'storage.kubernetes.io/'];

export type VolumeContext = Readonly<Record<string, string>>;

/** What the volume capability of the request says of the volume. */
export interface Capability {
  /** Taken as options that come last. */
  readonly mountFlags?: readonly string[];
  /** For images whose context names no `fsType`. */
  readonly fsType?: string;
  /** The pod wants a block device. */
  readonly block?: boolean;
}

/** @throws VolumeError naming key, value and remedy */
export function readVolumeContext(context: VolumeContext, capability: Capability = {}): Volume {
  const own = Object.fromEntries(
    Object.entries(context).filter(([key]) => !FOREIGN_PREFIXES.some((prefix) => key.startsWith(prefix))),
  );
  for (const key of Object.keys(own)) refuseUnknown(key);
  const author = {
    inline: context['csi.storage.k8s.io/ephemeral'] === 'true',
    pod: podOf(context),
  };
  const { block = false, mountFlags = [] } = capability;
  refuseFlags(mountFlags);
  const mounts = own[MOUNTS_KEY.name];
  if (mounts === undefined) {
    const volume = { ...readKeys(own, capability), ...author } as Volume;
    if (block) refuseForBlock(own, volume);
    return volume;
  }
  const other = Object.keys(own).find((key) => key !== MOUNTS_KEY.name);
  if (other !== undefined) {
    throw new VolumeError(
      other,
      `cannot be given beside ${MOUNTS_KEY.name}; put it into the mount that it is for`,
    );
  }
  if (block) throw new VolumeError(MOUNTS_KEY.name, 'has no meaning for volumeMode: Block; use type image');
  if (mountFlags.length > 0) {
    throw new VolumeError(
      'mount_flags',
      `cannot be given beside ${MOUNTS_KEY.name}; put options into the mounts`,
    );
  }
  const parts = readParts(mounts, (keys) => ({ ...readKeys(keys, {}), ...author }));
  return {
    kind: 'mounts',
    type: MOUNTS_KEY.name,
    options: [],
    // The container runtime looks at the top mount alone.
    idmap: parts[0]?.volume.idmap ?? { is: 'none' },
    ...author,
    parts,
  };
}

type Own<V> = V extends PartVolume ? Omit<V, 'inline' | 'pod'> : never;

/** The volume that the author's own keys describe. */
function readKeys(
  own: VolumeContext,
  { mountFlags = [], fsType = '', block = false }: Capability,
): Own<PartVolume> {
  const get = <K extends Key>(key: K): KeyValue<K> | undefined => {
    const text = own[key];
    return text === undefined ? undefined : (KEYS[key].parse(text, key) as KeyValue<K>);
  };
  const type = get('type') ?? { name: 'bind', kind: 'bind' };
  checkKinds(own, type);
  const source = () => parsePath(own.source ?? '', 'source');
  const common = {
    type: type.name,
    options: [...(get('options') ?? []), ...mountFlags],
    idmap: idmapOf(get),
  };
  switch (type.kind) {
    case 'bind':
      return { kind: type.kind, ...common, source: source() };
    case 'tmpfs':
      return { kind: type.kind, ...common, sizeLimit: get('sizeLimit') };
    case 'overlay':
      return { kind: type.kind, ...common, lowerdir: get('lowerdir') ?? [], writable: writableOf(get) };
    case 'image': {
      const filesystem = get('fsType') ?? (fsType === '' ? undefined : KEYS.fsType.parse(fsType, 'fs_type'));
      return {
        kind: type.kind,
        ...common,
        source: source(),
        block,
        filesystem: filesystem ?? 'auto',
        ...makeOf(get, filesystem),
      };
    }
    case 'filesystem':
      return { kind: type.kind, ...common, source: get('source') ?? '' };
    case 'fuse':
      return { kind: type.kind, ...common, helper: type.helper ?? '', source: get('source') ?? '' };
  }
}

type Get = <K extends Key>(key: K) => KeyValue<K> | undefined;

function checkKinds(own: VolumeContext, { name, kind }: VolumeType): void {
  for (const key of Object.keys(KEYS) as Key[]) {
    const { kinds, required } = KEYS[key];
    const given = own[key] !== undefined;
    if (given && !kinds.includes(kind)) {
      throw new VolumeError(
        key,
        `has no meaning for type ${name}, only for ${kinds.map(typesOf).join(', ')}; remove it`,
      );
    }
    if (!given && required.includes(kind)) throw new VolumeError(key, `is required for type ${name}`);
  }
}

/** A kind as an author would write it. */
export function typesOf(kind: VolumeType['kind']): string {
  return { filesystem: 'filesystems such as ext4', fuse: 'fuse.HELPER' }[kind as string] ?? kind;
}

function idmapOf(get: Get): Idmap {
  const [word, owner, nestedDir] = [get('idmap'), get('owner'), get('nestedDir')];
  const maps = both(get, 'uidmap', 'gidmap', 'an ID mapping');
  if (word !== undefined && (maps !== undefined || owner !== undefined)) {
    const other = owner === undefined ? 'uidmap and gidmap' : 'owner';
    const why = word === 'pod' ? 'takes the mapping of the pod' : 'asks for no mapping';
    throw new VolumeError('idmap', `${word} ${why}, which excludes ${other}; remove one of them`);
  }
  if (maps !== undefined && owner !== undefined) {
    throw new VolumeError(
      'owner',
      'is a mapping of its own, which excludes uidmap and gidmap; remove one of them',
    );
  }
  if (nestedDir !== undefined && word !== 'pod') {
    throw new VolumeError('nestedDir', 'has no meaning without idmap: pod; remove it, or add idmap: pod');
  }
  if (word === 'pod') return { is: 'pod', nestedDir };
  if (maps !== undefined) return { is: 'explicit', uidmap: maps[0], gidmap: maps[1] };
  return owner === undefined ? { is: 'none' } : { is: 'owner', ...owner };
}

function writableOf(get: Get): Writable {
  const word = get('writable');
  const upper = both(get, 'upperdir', 'workdir', 'a persistent writable layer');
  const sizeLimit = get('sizeLimit');
  const is = word ?? (upper === undefined ? 'no' : 'persistent');
  if (sizeLimit !== undefined && is !== 'ephemeral') {
    throw new VolumeError(
      'sizeLimit',
      'of an overlay holds for an ephemeral layer; add writable: ephemeral, or remove it',
    );
  }
  if (is === 'persistent') {
    if (upper === undefined)
      throw new VolumeError('upperdir', 'is required with writable: persistent, and workdir too');
    return { is, upperdir: upper[0], workdir: upper[1] };
  }
  if (upper !== undefined) {
    throw new VolumeError(
      'upperdir',
      `cannot be given with writable: ${is}; remove it, or write writable: persistent`,
    );
  }
  return is === 'no' ? { is } : { is, sizeLimit };
}

function makeOf(
  get: Get,
  filesystem: string | undefined,
): Pick<Extract<PartVolume, { kind: 'image' }>, 'make'> & { filesystem?: string } {
  const size = get('size');
  if (get('mkfs') !== true) {
    if (size === undefined) return { make: undefined };
    throw new VolumeError(
      'size',
      'is the size of an image that is to be made; add mkfs: "true", or remove it',
    );
  }
  if (size === undefined)
    throw new VolumeError('size', 'is required with mkfs: "true"; write the size of the image');
  const wanted = filesystem === undefined || filesystem === 'auto' ? 'ext4' : filesystem;
  const made = MADE_FILESYSTEMS.find((known): known is MadeFilesystem => known === wanted);
  if (made === undefined) {
    throw new VolumeError(
      'fsType',
      `${wanted} cannot be made; with mkfs: "true" write one of ${MADE_FILESYSTEMS.join(', ')}`,
    );
  }
  return { make: { filesystem: made, bytes: size }, filesystem: made };
}

/** Only an image can be a block device; and what concerns a filesystem is the pod's affair then. */
function refuseForBlock(own: VolumeContext, volume: Volume): void {
  if (volume.kind !== 'image') {
    throw new VolumeError(
      'type',
      `${volume.type} cannot be a block device; for volumeMode: Block use type image`,
    );
  }
  const other = (Object.keys(own) as Key[]).find((key) => key !== 'type' && key !== 'source');
  if (other !== undefined) {
    throw new VolumeError(
      other,
      "has no meaning for volumeMode: Block, whose filesystem is the pod's affair; remove it",
    );
  }
  const [option] = volume.options;
  if (option !== undefined) {
    throw new VolumeError('mount_flags', `${option}: a block device is not mounted; remove it`);
  }
}

/** Each is one option as it is, commas and quotes included. */
function refuseFlags(mountFlags: readonly string[]): void {
  const wrong = mountFlags.find((flag) => flag === '' || hasControl(flag));
  if (wrong === undefined) return;
  throw new VolumeError(
    'mount_flags',
    `${JSON.stringify(wrong)} is empty or has a control character in it; write one option in each, such as noatime`,
  );
}

function refuseUnknown(key: string): void {
  if (Object.hasOwn(KEYS, key) || key === MOUNTS_KEY.name) return;
  const known = [...Object.keys(KEYS), MOUNTS_KEY.name];
  const meant = nearest(key, known);
  const remedy = meant === undefined ? `the keys are ${known.join(', ')}` : `did you mean ${meant}?`;
  throw new VolumeError(key, `no such key of a volume context; ${remedy}`);
}

/** Two keys of which neither makes sense alone. */
function both(
  get: Get,
  a: 'uidmap' | 'upperdir',
  b: 'gidmap' | 'workdir',
  what: string,
): [string, string] | undefined {
  const [first, second] = [get(a), get(b)];
  if (first === undefined && second === undefined) return undefined;
  const missing = (key: string) => new VolumeError(key, `missing: ${what} needs ${a} and ${b}`);
  if (first === undefined) throw missing(a);
  if (second === undefined) throw missing(b);
  return [first, second];
}

function podOf(context: VolumeContext): PodInfo | undefined {
  const info = (key: string) => context[`csi.storage.k8s.io/${key}`] ?? '';
  const uid = info('pod.uid');
  if (uid === '') return undefined;
  return {
    uid,
    name: info('pod.name'),
    namespace: info('pod.namespace'),
    serviceAccount: info('serviceAccount.name'),
  };
}
