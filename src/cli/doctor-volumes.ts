// The volumes of a node, for `doctor`: what the driver's records say, beside what is mounted. Nothing is asked of a volume
// itself, whose server may hang, and nothing is written: the driver may be at work.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { recordsDirectory } from '../journal/journal.ts';
import { currentIn, parseRecord, type VolumeRecord } from '../journal/record.ts';
import { messageOf } from '../mount/errors.ts';
import { readMountinfo } from '../mount/mountinfo.ts';
import { layerPathOf } from '../node/dependencies.ts';
import { hasErrno } from '../sys/errors.ts';

export interface VolumeFinding extends Pick<VolumeRecord, 'kind' | 'volumeId' | 'path' | 'state'> {
  /** Whether anything is mounted at the path. */
  readonly mounted: boolean;
  readonly type: string;
  readonly sources: readonly string[];
  /** `namespace/name`. */
  readonly pod?: string;
  /** The directory of its ephemeral writable layer. */
  readonly layer?: string;
  /** The image behind its loop device. */
  readonly image?: string;
}

export interface VolumesFinding {
  readonly volumes: readonly VolumeFinding[];
  /** By file, why. */
  readonly unreadable: Readonly<Record<string, string>>;
}

/** Undefined where no driver has been; a text: why they cannot be looked at. */
export function volumesAt(stateDir: string): VolumesFinding | string | undefined {
  const directory = recordsDirectory(stateDir);
  const names = namesIn(directory);
  if (!Array.isArray(names)) return names;
  const mounted = new Set(readMountinfo().map(({ target }) => target));
  const volumes: VolumeFinding[] = [];
  const unreadable: Record<string, string> = {};
  for (const name of names.filter((each) => each.endsWith('.json'))) {
    try {
      const record = parseRecord(currentIn(readFileSync(path.join(directory, name), 'utf8')));
      volumes.push(findingOf(record, stateDir, mounted));
    } catch (error) {
      // One that has just been removed is none.
      if (!hasErrno(error, 'ENOENT')) unreadable[name] = messageOf(error);
    }
  }
  volumes.sort((a, b) => a.volumeId.localeCompare(b.volumeId) || a.path.localeCompare(b.path));
  return { volumes, unreadable };
}

function namesIn(directory: string): string[] | string | undefined {
  try {
    return readdirSync(directory);
  } catch (error) {
    return hasErrno(error, 'ENOENT') ? undefined : messageOf(error);
  }
}

function findingOf(record: VolumeRecord, stateDir: string, mounted: ReadonlySet<string>): VolumeFinding {
  const { kind, volumeId, path: at, state, volume, pod, layer, device } = record;
  return {
    ...{ kind, volumeId, path: at, state, mounted: mounted.has(at) },
    ...{ type: volume?.type ?? '', sources: volume?.sources ?? [] },
    ...(pod && { pod: `${pod.namespace}/${pod.name}` }),
    ...(layer && { layer: layerPathOf(record, { stateDir }) }),
    ...(device && { image: device.image }),
  };
}

export function describeVolumes(found: VolumesFinding | string): string {
  if (typeof found === 'string') return `\n  ${found}`;
  const { volumes, unreadable } = found;
  const lines = [
    ...volumes.map(describeVolume),
    ...Object.entries(unreadable).map(([name, problem]) => `${name}\n    cannot be read: ${problem}`),
  ];
  return lines.length === 0 ? ': none' : lines.map((line) => `\n  ${line}`).join('');
}

function describeVolume({
  kind,
  volumeId,
  path: at,
  state,
  mounted,
  type,
  sources,
  ...more
}: VolumeFinding): string {
  const is = mounted ? state : `${state}, nothing is mounted`;
  const facts = [
    ...(more.pod === undefined ? [] : [`pod ${more.pod}`]),
    ...(sources.length === 0 ? [] : [`of ${sources.join(', ')}`]),
    ...(more.image === undefined ? [] : [`image ${more.image}`]),
    ...(more.layer === undefined ? [] : [`writable layer ${more.layer}`]),
  ];
  return `${volumeId}: ${type} ${kind}, ${is}\n    ${[at, ...facts].join('\n    ')}`;
}
