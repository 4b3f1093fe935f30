// What a node must have for the manifests of examples/, and what the pod of each finds then: for the tests that publish
// them, and those that apply them on a real node.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';
import { type FileSpec, writeFiles } from './fixtures.ts';
import { IMAGES, sparseFile } from './images.ts';
import { needTool } from './need.ts';

const owned = (uid: number, gid: number, mode?: number): FileSpec => ({
  ...{ uid, gid },
  ...(mode !== undefined && { mode }),
});
const file = (content: string, uid: number, gid: number, mode = 0o644): FileSpec => ({
  ...{ content, uid, gid, mode },
});

const FILES: Readonly<Record<string, FileSpec>> = {
  'srv/data/': owned(1234, 1234, 0o700),
  'srv/data/greeting': file('hello', 1234, 1234, 0o600),
  'srv/dataset/sample': file('of all', 33, 33),
  'srv/model/base/vocabulary': file('words', 0, 0),
  'srv/model/base/weights': file('base', 0, 0),
  'srv/model/tuned/weights': file('tuned', 1000, 1001),
  'srv/rootless/': owned(100_000, 100_000),
  'srv/rootless/of-root': file('root', 100_000, 100_000, 0o600),
  'srv/rootless/of-user': file('user', 101_000, 101_000),
  'srv/rootless/of-stranger': file('stranger', 5, 5),
  'srv/scratch/team-a/upper/': owned(0, 0),
  'srv/scratch/team-a/work/': owned(0, 0),
  'srv/shared/': owned(0, 33, 0o2775),
  'srv/shared/report': file('for the group', 0, 33, 0o660),
  'srv/site/cache/': owned(0, 0),
  'srv/site/theme/': owned(0, 0),
  'srv/site/index': file('site', 0, 0),
  'srv/theme/base/font': file('base', 0, 0),
  'srv/theme/base/style': file('base', 0, 0),
  'srv/theme/custom/style': file('custom', 0, 0),
  'var/lib/csi-driver-idmap/volumes/default/dataset/sample': file('of the namespace', 0, 0),
  'srv/images/': owned(0, 0),
};

/** All that is made lies in these. */
export const PREPARED_DIRECTORIES = [
  ...new Set(
    Object.keys(FILES).map(
      (path) => /^srv\/[^/]+|^var\/lib\/[^/]+\/volumes\/[^/]+\/[^/]+/.exec(path)?.[0] ?? path,
    ),
  ),
];

const MIB = 2 ** 20;
const GIB = 2 ** 30;
export const RAW_BYTES = 64 * MIB;
const DISK_FILE = 'srv/images/disk.img';

export interface Found {
  /** The directory of the container where it is found. */
  readonly at?: string;
  /** By path there: `uid:gid content`, as the pod sees it. */
  readonly files: Readonly<Record<string, string>>;
  /** Where a file that the pod makes is on the node, and whose: nowhere that stays; `refused`: it cannot make one. */
  readonly writes: 'refused' | 'nowhere' | { readonly in: string; readonly owner: string };
  /** Size of its filesystem. */
  readonly bytes?: readonly [least: number, most: number];
}

const VOLUME = '/data';
const DATA_OF_1234 = { greeting: '1234:1234 hello' };
const LAYERS = { vocabulary: '0:0 words', weights: '1000:1001 tuned' };

/** By the file of the example. That of the block device has no files. */
export const FOUND: Readonly<Record<string, Found>> = {
  'bind.yaml': { files: DATA_OF_1234, writes: { in: 'srv/data', owner: '0:0' } },
  'bind-read-only.yaml': { files: DATA_OF_1234, writes: 'refused' },
  'device-filesystem.yaml': { files: { sample: '33:33 of all' }, writes: 'nowhere' },
  'fsgroup.yaml': {
    files: { report: '0:2000 for the group' },
    writes: { in: 'srv/shared', owner: '1000:33' },
  },
  'fuse.yaml': { files: DATA_OF_1234, writes: { in: 'srv/data', owner: '0:0' } },
  'id-mapping.yaml': {
    files: { 'of-root': '0:0 root', 'of-user': '1000:1000 user', 'of-stranger': '65534:65534 stranger' },
    writes: { in: 'srv/rootless', owner: '100000:100000' },
  },
  'image.yaml': { files: {}, writes: 'nowhere', bytes: [9 * GIB, 10 * GIB] },
  'image-squashfs.yaml': { files: { vocabulary: '0:0 words', weights: '0:0 base' }, writes: 'refused' },
  'inline-ephemeral.yaml': { files: { sample: '0:0 of the namespace' }, writes: 'refused' },
  'mounts.yaml': {
    files: { index: '0:0 site', 'theme/style': '0:0 custom', 'theme/font': '0:0 base' },
    writes: { in: 'srv/site', owner: '0:0' },
  },
  'overlay-ephemeral.yaml': {
    files: { sample: '33:33 of all' },
    writes: 'nowhere',
    bytes: [0.8 * GIB, GIB],
  },
  'overlay-persistent.yaml': {
    files: { sample: '33:33 of all' },
    writes: { in: 'srv/scratch/team-a/upper', owner: '0:0' },
  },
  'overlay-read-only.yaml': { files: LAYERS, writes: 'refused' },
  'owner.yaml': {
    files: { greeting: '1000:1000 hello' },
    writes: { in: 'srv/data', owner: '1234:1234' },
  },
  'tmpfs.yaml': { files: {}, writes: 'nowhere', bytes: [64 * MIB, 64 * MIB] },
  'user-namespace.yaml': { at: `${VOLUME}/model`, files: LAYERS, writes: 'nowhere' },
};

/** Programs without which it cannot be prepared, or be had. */
export function needExample(context: Mocha.Context, example: string): void {
  const tools: Readonly<Record<string, string>> = {
    'device-filesystem.yaml': 'mkfs.ext4',
    'fuse.yaml': 'bindfs',
    'image-squashfs.yaml': 'mksquashfs',
    'image.yaml': 'mkfs.xfs',
    'overlay-ephemeral.yaml': 'mkfs.ext4',
  };
  const tool = tools[example];
  if (tool !== undefined) needTool(context, tool, `the example ${example}`);
}

export interface PreparedNode extends Disposable {
  /** The disk of device-filesystem.yaml. */
  readonly disk: string;
}

/** Makes all that the examples name, below a directory that stands for the root of the node. */
export function prepareNode(root: string): PreparedNode {
  writeFiles(root, FILES);
  const at = (path: string) => join(root, path);
  IMAGES.squashfs.make(at('srv/images/model.squashfs'), at('srv/model/base'));
  sparseFile(at('srv/images/raw.img'), RAW_BYTES);
  IMAGES.ext4.make(at(DISK_FILE), at('srv/dataset'));
  const losetup = (...args: string[]) => execFileSync('losetup', args, { encoding: 'utf8' }).trim();
  const disk = losetup('--find', '--show', at(DISK_FILE));
  return { disk, [Symbol.dispose]: () => void losetup('--detach', disk) };
}

/** For the shell of its pod: the files, a line each as FOUND has them, and after `---` what comes of writing there. */
export function lookScript(directory: string, name: string): string {
  return [
    `cd ${directory} || exit 1`,
    'find * -type f | while read -r path; do echo "$path $(stat -c %u:%g "$path") $(cat "$path")"; done',
    `echo "--- $(($(stat -f -c '%b * %S' .)))"`,
    `(echo mine >${name}) 2>&1 && cat ${name} || true`,
  ].join('\n');
}

interface Seen {
  readonly files: Readonly<Record<string, string>>;
  readonly bytes: number;
  /** `mine`, or why not. */
  readonly written: string;
}

export function readLook(output: string): Seen {
  const [, files = '', bytes = '', written = ''] = /^(.*)^--- (\d+)\n(.*)$/ms.exec(output) ?? [];
  const lines = files.split('\n').filter(Boolean);
  return {
    files: Object.fromEntries(lines.map((line) => [line.split(' ', 1)[0], line.replace(/^\S+ /, '')])),
    bytes: Number(bytes),
    written: written.trim(),
  };
}

export function expectFound({ files, writes, bytes }: Found, seen: Seen): void {
  expect(seen.files).to.include(files);
  if (writes === 'refused') expect(seen.written).to.match(/Read-only file system/);
  else expect(seen.written).to.equal('mine');
  if (bytes) expect(seen.bytes).to.be.within(...bytes);
}
