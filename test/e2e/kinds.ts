// The kinds of volumes, each with what its pods must find: for tests that hold for all of them.
import { execFileSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { runInPod } from '../../src/cli/demo/pod.ts';
import { type FileSpec, ownerOf, PLACE_TYPE, writeFiles } from '../support/fixtures.ts';
import { IMAGES, type ImageType } from '../support/images.ts';
import { kernelIsBefore } from '../support/kernel-version.ts';
import { needKernel, needTool } from '../support/need.ts';
import type { TestNode } from './node.ts';
import { type Context, type Volume, volumeOn } from './volume.ts';

/** A pod's mapping: ids on disk, and inside the pod, from 0; on the node from 100000. */
export const MAPPING = '0:100000:65536';
const IDS = { uidmap: MAPPING, gidmap: MAPPING };

/** Path below a volume's own data directory. */
type At = (...names: string[]) => string;

/** How long what a pod writes is there. */
export type Written = 'not' | 'as long as the pod' | 'as long as the stage' | 'for good';

export interface Kind {
  readonly title: string;
  readonly inline?: boolean;
  readonly context: (at: At) => Context;
  /** Makes what is not in DATA. */
  readonly prepare?: (at: At) => void;
  /** Takes away what `prepare` has made beyond files. */
  readonly clean?: (at: At) => void;
  /** Debian's program without which it cannot be. */
  readonly needs?: string;
  /** The Linux before which it cannot be. */
  readonly since?: string;
  /** The filesystem that mountinfo names. */
  readonly type: 'tmpfs' | 'overlay' | 'ext4' | 'xfs' | 'btrfs' | 'squashfs' | 'erofs' | 'fuse';
  /** What is at the staging path: the same as a pod sees, the same with the ids of the disk, or nothing. */
  readonly staged: 'as published' | 'with ids on disk' | 'nothing';
  /** Whether the mount itself is ID-mapped: of an overlay, its layers are. */
  readonly idmapped: boolean;
  /** The user namespace of its pods, whose root writes. The node's own root where there is none. */
  readonly mapping?: string;
  /** By name: `uid:gid content`, as seen through the volume from the node. */
  readonly files: Readonly<Record<string, string>>;
  /** Of the volume's root, as seen; `0:0`, or 100000:100000 where there is a mapping. */
  readonly root?: string;
  readonly written: Written;
  /** Where a file that the pod's root writes ends up on disk, and whose it is there. */
  readonly kept?: { readonly directory: string; readonly owner: string };
  /** Mounts on the node for one publish, beyond the one at the target. */
  readonly besides?: number;
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

const image = (type: ImageType, written: Written, needs: string): Kind => ({
  title: `image of ${type}`,
  context: (at) => ({ type: 'image', source: at('image') }),
  // xfs has no way to make one with files in it.
  prepare: (at) => IMAGES[type].make(at('image'), at('base')),
  needs,
  type,
  staged: 'as published',
  idmapped: false,
  files: type === 'xfs' ? {} : BASE,
  written,
});

/** The file behind a device that is there before the plugin, and stays. */
export const DISK = 'disk';

export const KINDS: readonly Kind[] = [
  {
    title: 'bind',
    context: (at) => ({ source: at('base') }),
    type: PLACE_TYPE,
    staged: 'nothing',
    idmapped: false,
    files: BASE,
    written: 'for good',
    kept: { directory: 'base', owner: '0:0' },
  },
  {
    title: 'bind, idmapped',
    context: (at) => ({ type: 'bind', source: at('base'), ...IDS }),
    type: PLACE_TYPE,
    staged: 'nothing',
    idmapped: true,
    mapping: MAPPING,
    files: BASE_MAPPED,
    written: 'for good',
    kept: { directory: 'base', owner: '0:0' },
  },
  {
    title: 'bind, owned by another',
    context: (at) => ({ source: at('base'), owner: '33:33' }),
    type: PLACE_TYPE,
    staged: 'nothing',
    idmapped: true,
    files: { ...BASE, 'of-root': '33:33 root', 'of-service': '0:0 service', covered: '0:0 below' },
    root: '33:33',
    written: 'for good',
    kept: { directory: 'base', owner: '33:33' },
  },
  {
    title: 'tmpfs',
    context: () => ({ type: 'tmpfs', sizeLimit: '1Mi', options: 'mode=0755' }),
    type: 'tmpfs',
    staged: 'as published',
    idmapped: false,
    files: {},
    written: 'as long as the stage',
  },
  {
    title: 'tmpfs, idmapped',
    context: () => ({ type: 'tmpfs', sizeLimit: '1Mi', options: 'mode=0755', ...IDS }),
    type: 'tmpfs',
    staged: 'with ids on disk',
    idmapped: true,
    since: '6.3',
    mapping: MAPPING,
    files: {},
    written: 'as long as the stage',
  },
  {
    title: 'overlay, read-only',
    context: layers,
    type: 'overlay',
    staged: 'as published',
    idmapped: false,
    files: LAYERS,
    written: 'not',
  },
  {
    title: 'overlay, read-only, idmapped',
    context: (at) => ({ ...layers(at), ...IDS }),
    type: 'overlay',
    staged: 'as published',
    idmapped: false,
    mapping: MAPPING,
    files: LAYERS_MAPPED,
    written: 'not',
  },
  {
    title: 'overlay with upperdir, idmapped',
    context: (at) => ({ ...layers(at), upperdir: at('upper'), workdir: at('work'), ...IDS }),
    type: 'overlay',
    staged: 'as published',
    idmapped: false,
    mapping: MAPPING,
    files: LAYERS_MAPPED,
    written: 'for good',
    kept: { directory: 'upper', owner: '100000:100000' },
  },
  {
    title: 'overlay, ephemeral',
    context: (at) => ({ ...layers(at), writable: 'ephemeral' }),
    type: 'overlay',
    staged: 'nothing',
    idmapped: false,
    files: LAYERS,
    written: 'as long as the pod',
  },
  {
    title: 'overlay, ephemeral, of limited size, idmapped',
    context: (at) => ({ ...layers(at), writable: 'ephemeral', sizeLimit: '16Mi', ...IDS }),
    type: 'overlay',
    staged: 'nothing',
    idmapped: false,
    mapping: MAPPING,
    files: LAYERS_MAPPED,
    written: 'as long as the pod',
    besides: 1,
  },
  {
    title: 'image that is made',
    context: (at) => ({ type: 'image', source: at('image'), mkfs: 'true', size: '16Mi' }),
    needs: 'mkfs.ext4',
    type: 'ext4',
    staged: 'as published',
    idmapped: false,
    files: {},
    written: 'for good',
  },
  image('ext4', 'for good', 'mkfs.ext4'),
  image('xfs', 'for good', 'mkfs.xfs'),
  image('btrfs', 'for good', 'mkfs.btrfs'),
  image('squashfs', 'not', 'mksquashfs'),
  image('erofs', 'not', 'mkfs.erofs'),
  {
    title: 'filesystem on a device',
    context: (at) => ({ type: 'ext4', source: readlinkSync(at('device')) }),
    prepare: (at) => {
      IMAGES.ext4.make(at(DISK), at('base'));
      const device = execFileSync('losetup', ['--find', '--show', at(DISK)], { encoding: 'utf8' }).trim();
      symlinkSync(device, at('device'));
    },
    clean: (at) => execFileSync('losetup', ['--detach', readlinkSync(at('device'))]),
    needs: 'mkfs.ext4',
    type: 'ext4',
    staged: 'as published',
    idmapped: false,
    files: BASE,
    written: 'for good',
  },
  {
    title: 'image of ext4, idmapped',
    context: (at) => ({ type: 'image', source: at('image'), fsType: 'ext4', ...IDS }),
    prepare: (at) => IMAGES.ext4.make(at('image'), at('base')),
    needs: 'mkfs.ext4',
    type: 'ext4',
    staged: 'with ids on disk',
    idmapped: true,
    mapping: MAPPING,
    files: BASE_MAPPED,
    written: 'for good',
  },
  {
    title: 'FUSE',
    context: (at) => ({ type: 'fuse.bindfs', source: at('base') }),
    needs: 'bindfs',
    type: 'fuse',
    staged: 'as published',
    idmapped: false,
    files: BASE,
    written: 'for good',
    kept: { directory: 'base', owner: '0:0' },
  },
  {
    title: 'several mounts',
    context: (at) => ({
      mounts: JSON.stringify([{ source: at('base') }, { source: at('top'), target: 'top' }]),
    }),
    prepare: (at) => mkdirSync(at('base', 'top')),
    type: PLACE_TYPE,
    staged: 'as published',
    idmapped: false,
    files: BASE,
    written: 'for good',
    kept: { directory: 'base', owner: '0:0' },
    besides: 1,
  },
  {
    title: 'tmpfs, inline',
    inline: true,
    context: () => ({ type: 'tmpfs', sizeLimit: '1Mi', options: 'mode=0755' }),
    type: 'tmpfs',
    staged: 'nothing',
    idmapped: false,
    files: {},
    written: 'as long as the pod',
  },
];

/** Those that this kernel can have, for tests of all at once. */
export const KINDS_HERE: readonly Kind[] = KINDS.filter(
  ({ since }) => since === undefined || !kernelIsBefore(since),
);

export function kindNamed(title: string): Kind {
  const kind = KINDS.find((candidate) => candidate.title === title);
  if (kind === undefined) throw new Error(`no kind of volume is called ${title}`);
  return kind;
}

export interface VolumeOfKind extends Volume {
  /** Where its data is on disk. */
  readonly data: string;
}

/** Skips, aloud, what cannot be made here. */
export function needKind(test: Mocha.Context, { needs, since, title }: Kind): void {
  if (since !== undefined) needKernel(test, since, `no volume of kind ${title}`);
  if (needs !== undefined) needTool(test, needs, `volumes of kind ${title}`);
}

/** A new volume of this kind on data of its own. */
export function volumeOfKind(
  node: TestNode,
  { context, prepare, clean, inline = false }: Kind,
): VolumeOfKind {
  mkdirSync(node.at('data'), { recursive: true });
  const data = mkdtempSync(node.at('data', 'volume-'));
  writeFiles(data, DATA);
  // The pod's root is an ordinary user on the node, and has to get through.
  execFileSync('chmod', ['755', data]);
  const at: At = (...names) => join(data, ...names);
  prepare?.(at);
  const volume = volumeOn(node, { context: context(at), inline });
  const dispose = async () => {
    try {
      await volume[Symbol.asyncDispose]();
    } finally {
      clean?.(at);
    }
  };
  return { ...volume, data, [Symbol.asyncDispose]: dispose };
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
