// A volume of each kind there is, as kubelet handles one, for tests of what becomes of it: those of kinds.ts, block
// devices, and what waits for its pod.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { eventually } from '../support/fixtures.ts';
import { sparseFile } from '../support/images.ts';
import { mountsAt, theMountAt } from './kernel.ts';
import { DISK, filesIn, KINDS_HERE, type Kind, type VolumeOfKind, volumeOfKind, writeNote } from './kinds.ts';
import { type Answer, retried, type TestNode } from './node.ts';
import { blockCapability, podInfo, type Volume, volumeOn } from './volume.ts';

export type Call = 'stage' | 'publish' | 'unpublish' | 'unstage';

export interface Specimen {
  readonly title: string;
  readonly needs?: string | undefined;
  /** In this order. */
  readonly calls: readonly Call[];
  readonly make: (node: TestNode) => Living;
}

export interface Living {
  readonly volume: Volume;
  call(name: Call): Promise<Answer>;
  /** What kubelet does when all volumes of the pod are published. */
  makePod?(): void | Promise<void>;
  /** That, and what the pod does then. */
  run(): Promise<void>;
  /** The pod finds what it is to find. */
  expectPublished(): void;
  /** After a reboot, of what `run` wrote. */
  expectKept(): void;
  /** Whether what `run` wrote is seen; undefined: nothing can be written. */
  hasNote?(): boolean;
}

const ALL: readonly Call[] = ['stage', 'publish', 'unpublish', 'unstage'];
const INLINE: readonly Call[] = ['publish', 'unpublish'];

const EVERY: readonly Specimen[] = [
  ...KINDS_HERE.map(ofKind),
  { title: 'image as a block device', calls: ALL, make: blockDevice },
  { title: 'overlay that waits for its pod', calls: ALL, make: nested },
];

/** One for each way in which a volume is made: these, or with CRASH_TEST=all every kind there is (npm run test:crash). */
export const ALL_KINDS = process.env.CRASH_TEST === 'all';
const WAYS = [
  'bind, owned by another',
  'tmpfs',
  'overlay with upperdir, idmapped',
  'overlay, ephemeral',
  'overlay, ephemeral, of limited size, idmapped',
  'image that is made',
  'FUSE',
  'several mounts',
  'tmpfs, inline',
  'image as a block device',
  'overlay that waits for its pod',
];
export const SPECIMENS = EVERY.filter(({ title }) => ALL_KINDS || WAYS.includes(title));

/** As few, and as many, for tests that choose by a variable of their own. */
export const specimens = (which: 'ways' | 'every'): readonly Specimen[] =>
  EVERY.filter(({ title }) => which === 'every' || WAYS.includes(title));

export function specimenNamed(title: string): Specimen {
  return specimenOf(title, SPECIMENS);
}

export function specimenOf(title: string, among: readonly Specimen[] = EVERY): Specimen {
  const specimen = among.find((one) => one.title === title);
  if (specimen === undefined) throw new Error(`no kind of volume is called ${title}`);
  return specimen;
}

function ofKind(kind: Kind): Specimen {
  const { title, needs, inline } = kind;
  return {
    title,
    needs,
    calls: inline ? INLINE : ALL,
    make: (node) => living(kind, volumeOfKind(node, kind)),
  };
}

function living(kind: Kind, volume: VolumeOfKind): Living {
  return {
    volume,
    call: (name) => volume[name](),
    async run() {
      if (kind.written !== 'not') expect(writeNote(kind, volume.target), kind.title).to.equal('written');
    },
    expectPublished() {
      expect(theMountAt(volume.target)).to.include({ type: kind.type });
      if (kind.staged !== 'nothing') theMountAt(volume.stagingPath);
      expect(filesIn(volume.target)).to.include(kind.files);
    },
    ...(kind.written !== 'not' && { hasNote: () => existsSync(join(volume.target, 'note')) }),
    expectKept() {
      const isKept = kind.written === 'for good' || kind.written === 'as long as the pod';
      // What is in memory ends with the boot.
      if (kind.type !== 'tmpfs' || kind.kept)
        expect(existsSync(join(volume.target, 'note'))).to.equal(isKept);
    },
  };
}

const SIZE = 8 * 2 ** 20;

function blockDevice(node: TestNode): Living {
  mkdirSync(node.at('data'), { recursive: true });
  const image = node.at('data', `image-${randomUUID()}`);
  sparseFile(image, SIZE);
  const volume = volumeOn(node, { context: { type: 'image', source: image } });
  const block = { volumeCapability: blockCapability() };
  return {
    volume,
    call: (name) => (name === 'stage' || name === 'publish' ? volume[name](block) : volume[name]()),
    run: async () => undefined,
    expectPublished() {
      expect(mountsAt(volume.target)).to.have.length(1);
      expect(statSync(volume.target).isBlockDevice()).to.equal(true);
    },
    expectKept: () => undefined,
  };
}

const LOWER = { 'lower/file': 'below' };

/** Its pod has a user namespace of its own, which kubelet records after the publish. */
function nested(node: TestNode): Living {
  const uid = randomUUID();
  const data = node.at('data', uid);
  mkdirSync(join(data, 'lower'), { recursive: true });
  for (const [name, text] of Object.entries(LOWER)) writeFileSync(join(data, name), text);
  const context = { type: 'overlay', lowerdir: join(data, 'lower'), writable: 'ephemeral', idmap: 'pod' };
  const volume = volumeOn(node, { context });
  const pod = join(node.kubeletDir, 'pods', uid);
  const target = join(pod, 'volumes/kubernetes.io~csi/data/mount');
  const volumeContext = { ...volume.context, ...podInfo(uid), 'csi.storage.k8s.io/pod.uid': uid };
  const ofPod = { ...volume, target };
  return {
    volume: ofPod,
    call(name) {
      if (name === 'stage') return volume.stage({ volumeContext });
      if (name === 'unstage') return volume.unstage();
      if (name === 'unpublish') return retried(() => volume.unpublish({ targetPath: target }));
      mkdirSync(dirname(target), { recursive: true });
      return retried(() => volume.publish({ targetPath: target, volumeContext }));
    },
    makePod() {
      const range = [{ hostId: 655_360, containerId: 0, length: 65_536 }];
      // As kubelet does, so that nobody reads half of it.
      writeFileSync(join(pod, 'userns.tmp'), JSON.stringify({ uidMappings: range, gidMappings: range }));
      renameSync(join(pod, 'userns.tmp'), join(pod, 'userns'));
    },
    async run() {
      this.makePod?.();
      await eventually('the volume is complete', () => mountsAt(join(target, 'data')).length === 1);
      writeFileSync(join(target, 'data/note'), 'note');
    },
    expectPublished() {
      expect(theMountAt(target)).to.include({ type: 'tmpfs' });
      expect(readdirSync(target)).to.deep.equal(['data']);
    },
    expectKept() {
      expect(readdirSync(join(target, 'data'))).to.have.members(['file', 'note']);
    },
    hasNote: () => existsSync(join(target, 'data/note')),
  };
}

/** Nothing of any volume is on this node: mounts, records, layers, devices. */
export async function expectNothingLeft(node: TestNode): Promise<void> {
  expect(node.mounts()).to.deep.equal([]);
  expect(node.records()).to.deep.equal([]);
  await eventually('no loop devices', () => devicesOf(node).length === 0);
  await eventually('no layers', () => layersOf(node).length === 0);
}

export const layersOf = ({ stateDir }: TestNode): string[] =>
  existsSync(join(stateDir, 'layers')) ? readdirSync(join(stateDir, 'layers')) : [];

/** The plugin's loop devices: of files on the node's own filesystem, whose names end elsewhere once their opener is gone. */
export function devicesOf({ directory }: TestNode): string[] {
  const own = mountsAt(directory)[0]?.device;
  const bound = boundLoops();
  // Asked often, and most of the time there are none but others'.
  if (bound.every(({ attachment }) => foreign.has(`${own} ${attachment}`))) return [];
  const listed = execFileSync('losetup', ['--list', '--json', '--output', 'NAME,BACK-MAJ:MIN,BACK-FILE'], {
    encoding: 'utf8',
  });
  const { loopdevices }: { loopdevices: Record<string, string>[] } = JSON.parse(
    listed || '{"loopdevices":[]}',
  );
  const ours = loopdevices
    .filter((device) => device['back-maj:min']?.trim() === own && !device['back-file']?.endsWith(`/${DISK}`))
    .map(({ name = '' }) => name);
  const after = new Set(boundLoops().map(({ attachment }) => attachment));
  for (const { path, attachment } of bound) {
    if (!ours.includes(path) && after.has(attachment)) foreign.add(`${own} ${attachment}`);
  }
  return ours;
}

/** What is attached to files of others, or of the tests, by the device of the node that asked. */
const foreign = new Set<string>();

/** With a number that never comes again (Linux 5.15). */
function boundLoops(): { path: string; attachment: string }[] {
  return readdirSync('/sys/block').flatMap((name) => {
    if (!existsSync(`/sys/block/${name}/loop/backing_file`)) return [];
    return [{ path: `/dev/${name}`, attachment: readFileSync(`/sys/block/${name}/diskseq`, 'utf8') }];
  });
}

export function removePod({ target }: Volume): void {
  rmSync(dirname(dirname(dirname(dirname(target)))), { recursive: true });
}
