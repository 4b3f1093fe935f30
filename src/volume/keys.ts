// The keys of a volume context (`volumeAttributes`): one row each says which volume types take it, how its value
// is read and what it means. A new key is a new row, and a line in context.ts that uses it.
import { MountError } from '../mount/errors.ts';
import { type Layer, parseLowerdir } from '../mount/layers.ts';
import { splitOptions } from '../mount/options.ts';
import { formatIdMapping, MappingError, parseIdMapping } from '../userns/mapping.ts';
import { VolumeError } from './errors.ts';
import type { VolumeType } from './volume.ts';

interface KeyRow<T> {
  readonly types: readonly VolumeType[];
  readonly required: readonly VolumeType[];
  /** One sentence for the reference. */
  readonly meaning: string;
  readonly example: string;
  /** @throws VolumeError */
  readonly parse: (text: string, key: string) => T;
}

const ALL = ['bind', 'tmpfs', 'overlay'] as const satisfies readonly VolumeType[];

export const KEYS = {
  type: {
    types: ALL,
    required: [],
    meaning: 'What the volume is: `bind` (the default), `overlay` or `tmpfs`.',
    example: 'overlay',
    parse: parseType,
  } satisfies KeyRow<VolumeType>,
  source: {
    types: ['bind'],
    required: ['bind'],
    meaning: 'Directory or file on the node that the volume shows.',
    example: '/srv/data',
    parse: parsePath,
  } satisfies KeyRow<string>,
  lowerdir: {
    types: ['overlay'],
    required: ['overlay'],
    meaning: 'Read-only layers, top first, separated by `:`; `\\:` stands for a colon in a path.',
    example: '/srv/model/tuned:/srv/model/base',
    parse: parseLayers,
  } satisfies KeyRow<readonly Layer[]>,
  upperdir: {
    types: ['overlay'],
    required: [],
    meaning:
      'Directory that receives what is written; makes the overlay writable. Belongs to one volume only.',
    example: '/srv/scratch/team-a/upper',
    parse: parsePath,
  } satisfies KeyRow<string>,
  workdir: {
    types: ['overlay'],
    required: [],
    meaning: 'Empty directory on the filesystem of `upperdir`, for the kernel; required with it.',
    example: '/srv/scratch/team-a/work',
    parse: parsePath,
  } satisfies KeyRow<string>,
  options: {
    types: ALL,
    required: [],
    meaning: 'Mount options, separated by commas as in fstab(5); which ones are allowed depends on the type.',
    example: 'noatime,size=64Mi',
    parse: parseOptionList,
  } satisfies KeyRow<readonly string[]>,
  uidmap: {
    types: ALL,
    required: [],
    meaning: 'User ids as `onDisk:shown:count[,...]`; needs `gidmap` too.',
    example: '0:100000:65536',
    parse: parseMapping,
  } satisfies KeyRow<string>,
  gidmap: {
    types: ALL,
    required: [],
    meaning: 'Group ids as `onDisk:shown:count[,...]`; needs `uidmap` too.',
    example: '0:100000:65536',
    parse: parseMapping,
  } satisfies KeyRow<string>,
};

export type Key = keyof typeof KEYS;
export type KeyValue<K extends Key> = ReturnType<(typeof KEYS)[K]['parse']>;

function parseType(text: string, key: string): VolumeType {
  const type = ALL.find((known) => known === text);
  if (type === undefined)
    throw new VolumeError(key, `${JSON.stringify(text)} is not one of ${ALL.join(', ')}`);
  return type;
}

function parsePath(text: string, key: string): string {
  const problem = pathProblem(text);
  if (problem !== undefined) throw new VolumeError(key, `${JSON.stringify(text)} ${problem}`);
  return text;
}

function parseLayers(text: string, key: string): readonly Layer[] {
  const layers = invalidAs(key, () => parseLowerdir(text, key));
  for (const { path, dataOnly } of layers) {
    const problem = pathProblem(path);
    if (problem !== undefined) throw new VolumeError(key, `layer ${JSON.stringify(path)} ${problem}`);
    if (dataOnly) {
      throw new VolumeError(
        key,
        `data-only layer ${JSON.stringify(path)}: whoever writes a layer above could read every file of it; list it as an ordinary layer`,
      );
    }
  }
  return layers;
}

function pathProblem(path: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  if (/[\0-\x1f\x7f]/.test(path)) return 'has a control character in it';
  if (!path.startsWith('/')) return 'is not an absolute path';
  if (path.split('/').includes('..')) return 'must not contain ..; write the path that is meant';
  return undefined;
}

function parseOptionList(text: string, key: string): readonly string[] {
  return invalidAs(key, () => splitOptions(text));
}

function parseMapping(text: string, key: string): string {
  return invalidAs(key, () => formatIdMapping(parseIdMapping(text, key)));
}

/** The engine's own parsers name the field in their messages already. */
function invalidAs<T>(key: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof MountError || error instanceof MappingError)) throw error;
    throw new VolumeError(key, error.message.replace(new RegExp(`^${key}:? `), ''));
  }
}
