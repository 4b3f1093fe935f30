// The kinds of volumes, each with what its pods must find: for tests that hold for all of them.
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInPod } from '../../src/cli/demo/pod.ts';
import { type FileSpec, ownerOf, writeFiles } from '../support/fixtures.ts';
import type { TestNode } from './node.ts';
import { type Context, type Volume, volumeOn } from './volume.ts';

/** A pod's mapping: ids on disk, and inside the pod, from 0; on the node from 100000. */
export const MAPPING = '0:100000:65536';
const IDS = { uidmap: MAPPING, gidmap: MAPPING };

/** Path below a volume's own data directory. */
type At = (...names: string[]) => string;

export interface Kind {
  readonly title: string;
  readonly inline?: boolean;
  readonly context: (at: At) => Context;
  /** The filesystem that mountinfo names. */
  readonly type: 'tmpfs' | 'overlay';
  /** Whether the mount itself is ID-mapped: of an overlay, its layers are. */
  readonly idmapped: boolean;
  /** The user namespace of its pods, whose root writes. The node's own root where there is none. */
  readonly mapping?: string;
  /** By name: `uid:gid content`, as seen through the volume from the node. */
  readonly files: Readonly<Record<string, string>>;
  readonly writable: boolean;
  /** Where a file that the pod's root writes ends up on disk, and whose it is there. */
  readonly kept?: { readonly directory: string; readonly owner: string };
}

const DATA: Readonly<Record<string, FileSpec>> = {
  'base/of-root': { content: 'root', uid: 0, gid: 0 },
  'base/of-service': { content: 'service', uid: 33, gid: 33 },
  'base/covered': { content: 'below', uid: 33, gid: 33 },
  // An id that the mapping does not have.
  'base/of-stranger': { content: 'stranger', uid: 70_000, gid: 70_000 },
  'top/of-user': { content: 'user', uid: 1000, gid: 1001 },
  'top/covered': { content: 'above', uid: 1000, gid: 1001 },
  'upper/': { uid: 100_000, gid: 100_000 },
  'work/': {},
};

const BASE = {
  'of-root': '0:0 root',
  'of-service': '33:33 service',
  covered: '33:33 below',
  'of-stranger': '70000:70000 stranger',
};
const BASE_MAPPED = {
  'of-root': '100000:100000 root',
  'of-service': '100033:100033 service',
  covered: '100033:100033 below',
  'of-stranger': '65534:65534 stranger',
};
const LAYERS = { ...BASE, 'of-user': '1000:1001 user', covered: '1000:1001 above' };
const LAYERS_MAPPED = {
  ...BASE_MAPPED,
  'of-user': '101000:101001 user',
  covered: '101000:101001 above',
};

const layers = (at: At) => ({ type: 'overlay', lowerdir: `${at('top')}:${at('base')}` });

export const KINDS: readonly Kind[] = [
  {
    title: 'bind',
    context: (at) => ({ source: at('base') }),
    type: 'tmpfs',
    idmapped: false,
    files: BASE,
    writable: true,
    kept: { directory: 'base', owner: '0:0' },
  },
  {
    title: 'bind, idmapped',
    context: (at) => ({ type: 'bind', source: at('base'), ...IDS }),
    type: 'tmpfs',
    idmapped: true,
    mapping: MAPPING,
    files: BASE_MAPPED,
    writable: true,
    kept: { directory: 'base', owner: '0:0' },
  },
  {
    title: 'tmpfs',
    context: () => ({ type: 'tmpfs', options: 'size=1m,mode=0755' }),
    type: 'tmpfs',
    idmapped: false,
    files: {},
    writable: true,
  },
  {
    title: 'tmpfs, idmapped',
    context: () => ({ type: 'tmpfs', options: 'size=1m,mode=0755', ...IDS }),
    type: 'tmpfs',
    idmapped: true,
    mapping: MAPPING,
    files: {},
    writable: true,
  },
  {
    title: 'overlay, read-only',
    context: layers,
    type: 'overlay',
    idmapped: false,
    files: LAYERS,
    writable: false,
  },
  {
    title: 'overlay, read-only, idmapped',
    context: (at) => ({ ...layers(at), ...IDS }),
    type: 'overlay',
    idmapped: false,
    mapping: MAPPING,
    files: LAYERS_MAPPED,
    writable: false,
  },
  {
    title: 'overlay with upperdir, idmapped',
    context: (at) => ({ ...layers(at), upperdir: at('upper'), workdir: at('work'), ...IDS }),
    type: 'overlay',
    idmapped: false,
    mapping: MAPPING,
    files: LAYERS_MAPPED,
    writable: true,
    kept: { directory: 'upper', owner: '100000:100000' },
  },
  {
    title: 'tmpfs, inline',
    inline: true,
    context: () => ({ type: 'tmpfs', options: 'size=1m,mode=0755' }),
    type: 'tmpfs',
    idmapped: false,
    files: {},
    writable: true,
  },
];

export function kindNamed(title: string): Kind {
  const kind = KINDS.find((candidate) => candidate.title === title);
  if (kind === undefined) throw new Error(`no kind of volume is called ${title}`);
  return kind;
}

export interface VolumeOfKind extends Volume {
  /** Where its data is on disk. */
  readonly data: string;
}

/** A new volume of this kind on data of its own. */
export function volumeOfKind(node: TestNode, { context, inline = false }: Kind): VolumeOfKind {
  mkdirSync(node.at('data'), { recursive: true });
  const data = mkdtempSync(node.at('data', 'volume-'));
  writeFiles(data, DATA);
  // The pod's root is an ordinary user on the node, and has to get through.
  execFileSync('chmod', ['755', data]);
  const volume = volumeOn(node, { context: context((...names) => join(data, ...names)), inline });
  return Object.assign(volume, { data });
}

/** All files directly in a directory: `uid:gid content` by name. */
export function filesIn(directory: string): Record<string, string> {
  const names = readdirSync(directory).filter((name) => lstatSync(join(directory, name)).isFile());
  const described = names.map((name) => {
    const path = join(directory, name);
    return [name, `${ownerOf(path)} ${readFileSync(path, 'utf8')}`];
  });
  return Object.fromEntries(described);
}

/** Writes a file `note` as the root of the volume's pods does. 'written', or why not. */
export function writeNote({ mapping }: Kind, directory: string): string {
  const path = join(directory, 'note');
  try {
    if (mapping === undefined) writeFileSync(path, 'note');
    else runInPod(mapping, `printf note > '${path}'`);
    return 'written';
  } catch (error) {
    return /EROFS|Read-only file system/.test(String(error)) ? 'EROFS' : String(error);
  }
}
