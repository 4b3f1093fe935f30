// A volume context becomes a Volume: keys checked against the table (keys.ts), then against each other. Pure.
import { VolumeError } from './errors.ts';
import { KEYS, type Key, type KeyValue } from './keys.ts';
import { nearest } from './nearest.ts';
import type { PodInfo, Volume } from './volume.ts';

/** Keys of Kubernetes' own, which are not the author's. */
const FOREIGN_PREFIXES = ['csi.storage.k8s.io/', 'storage.kubernetes.io/'];

export type VolumeContext = Readonly<Record<string, string>>;

/**
 * @param mountFlags the capability's mount_flags, taken as options that come last
 * @throws VolumeError naming key, value and remedy
 */
export function readVolumeContext(context: VolumeContext, mountFlags: readonly string[]): Volume {
  for (const key of Object.keys(context)) refuseUnknown(key);
  const get = <K extends Key>(key: K): KeyValue<K> | undefined => {
    const text = context[key];
    return text === undefined ? undefined : (KEYS[key].parse(text, key) as KeyValue<K>);
  };

  const type = get('type') ?? 'bind';
  for (const [key, row] of Object.entries(KEYS) as [
    Key,
    { types: readonly string[]; required: readonly string[] },
  ][]) {
    const given = context[key] !== undefined;
    if (given && !row.types.includes(type)) {
      throw new VolumeError(
        key,
        `has no meaning for type ${type}, only for ${row.types.join(', ')}; remove it`,
      );
    }
    if (!given && row.required.includes(type)) throw new VolumeError(key, `is required for type ${type}`);
  }

  const common = {
    options: [...(get('options') ?? []), ...mountFlags],
    idmap: both('uidmap', get('uidmap'), 'gidmap', get('gidmap'), 'an ID mapping', (uidmap, gidmap) => ({
      uidmap,
      gidmap,
    })),
    inline: context['csi.storage.k8s.io/ephemeral'] === 'true',
    pod: podOf(context),
  };
  switch (type) {
    case 'bind':
      return { type, ...common, source: get('source') ?? '' };
    case 'tmpfs':
      return { type, ...common };
    case 'overlay':
      return {
        type,
        ...common,
        lowerdir: get('lowerdir') ?? [],
        upper: both(
          'upperdir',
          get('upperdir'),
          'workdir',
          get('workdir'),
          'a writable overlay',
          (upperdir, workdir) => ({
            upperdir,
            workdir,
          }),
        ),
      };
  }
}

function refuseUnknown(key: string): void {
  if (Object.hasOwn(KEYS, key) || FOREIGN_PREFIXES.some((prefix) => key.startsWith(prefix))) return;
  const meant = nearest(key, Object.keys(KEYS));
  const remedy =
    meant === undefined ? `the keys are ${Object.keys(KEYS).join(', ')}` : `did you mean ${meant}?`;
  throw new VolumeError(key, `no such key of a volume context; ${remedy}`);
}

/** Two keys of which neither makes sense alone. */
function both<A, R>(
  nameA: string,
  a: A | undefined,
  nameB: string,
  b: A | undefined,
  what: string,
  join: (a: A, b: A) => R,
): R | undefined {
  if (a === undefined && b === undefined) return undefined;
  if (a === undefined) throw new VolumeError(nameA, `missing: ${what} needs ${nameA} and ${nameB}`);
  if (b === undefined) throw new VolumeError(nameB, `missing: ${what} needs ${nameA} and ${nameB}`);
  return join(a, b);
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
