// A volume's way through a node, for every kind of volume: what each call answers, and what the kernel then shows.
import { existsSync, lstatSync, readdirSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { VolumeUsage_Unit as Unit } from '../../src/rpc/generated/csi.ts';
import { ownerOf } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { mountsAt, peersOf, theMountAt } from './kernel.ts';
import { filesIn, KINDS, type Kind, needKind, volumeOfKind, writeNote } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { type AccessMode, capability, type Volume } from './volume.ts';

/** By the CSI specification, NodePublishVolume. */
const SECOND_TARGET: Readonly<Record<AccessMode, 'OK' | 'FAILED_PRECONDITION'>> = {
  SINGLE_NODE_WRITER: 'FAILED_PRECONDITION',
  SINGLE_NODE_READER_ONLY: 'FAILED_PRECONDITION',
  SINGLE_NODE_SINGLE_WRITER: 'FAILED_PRECONDITION',
  SINGLE_NODE_MULTI_WRITER: 'OK',
  MULTI_NODE_READER_ONLY: 'OK',
  MULTI_NODE_SINGLE_WRITER: 'OK',
  MULTI_NODE_MULTI_WRITER: 'OK',
};

type Changes =
  | { volumeContext: Record<string, string> }
  | { volumeCapability: ReturnType<typeof capability> };

const OTHER_ARGUMENTS: readonly (readonly [what: string, changes: (volume: Volume) => Changes])[] = [
  [
    'another volume_context',
    ({ context }) => ({ volumeContext: { ...context, 'storage.kubernetes.io/other': 'x' } }),
  ],
  ['other mount_flags', () => ({ volumeCapability: capability('SINGLE_NODE_WRITER', ['noexec']) })],
  ['another access mode', () => ({ volumeCapability: capability('SINGLE_NODE_SINGLE_WRITER') })],
];

/** A volume of several mounts has no place for mount_flags: each has options of its own. */
const otherArguments = ({ title }: Kind) =>
  OTHER_ARGUMENTS.filter(([what]) => title !== 'several mounts' || what !== 'other mount_flags');

describe('the life of a volume', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  for (const kind of KINDS) {
    describe(kind.title, () => {
      before(function () {
        needKind(this, kind);
      });
      if (!kind.inline) stagedTests(kind, () => node);
      publishedTests(kind, () => node);
    });
  }
});

function stagedTests(kind: Kind, node: () => TestNode): void {
  const staged = mountsOfStage(kind);
  const isStaged = kind.staged !== 'nothing';

  it(`stage mounts ${isStaged ? 'it once, complete' : 'nothing: there is nothing to share'}`, async () => {
    await using volume = volumeOfKind(node(), kind);
    expect(await volume.stage()).to.include({ code: 'OK' });
    if (isStaged) expectStaged(kind, volume.stagingPath);
    expect(node().mounts().length).to.equal(staged);
    expect(recordsOf(node(), volume)).to.have.length(1);
  });

  it('stage again is OK with the same arguments, ALREADY_EXISTS with others, and changes nothing', async () => {
    await using volume = volumeOfKind(node(), kind);
    await volume.stage();
    const ids = mountsAt(volume.stagingPath).map(({ id }) => id);
    expect(await volume.stage()).to.include({ code: 'OK' });
    for (const [what, changes] of otherArguments(kind)) {
      expect(await volume.stage(changes(volume)), what).to.include({ code: 'ALREADY_EXISTS' });
    }
    expect(await volume.stage()).to.include({ code: 'OK' });
    expect(mountsAt(volume.stagingPath).map(({ id }) => id)).to.deep.equal(ids);
    expect(node().mounts().length).to.equal(staged);
  });

  it("unstage leaves the caller's staging directory, empty", async () => {
    await using volume = volumeOfKind(node(), kind);
    await volume.stage();
    expect(await volume.unstage()).to.include({ code: 'OK' });
    expect(mountsAt(volume.stagingPath)).to.deep.equal([]);
    expect(readdirSync(volume.stagingPath)).to.deep.equal([]);
    expect(recordsOf(node(), volume)).to.deep.equal([]);
  });

  it('unstage again is OK, and stage after it mounts it again', async () => {
    await using volume = volumeOfKind(node(), kind);
    await volume.stage();
    await volume.unstage();
    expect(await volume.unstage()).to.include({ code: 'OK' });
    expect(await volume.stage()).to.include({ code: 'OK' });
    if (isStaged) expectStaged(kind, volume.stagingPath);
  });

  it(`what is written is there ${kind.written}`, async () => {
    await using volume = volumeOfKind(node(), kind);
    await readyVolume(volume, kind);
    if (kind.written === 'not') return;
    expect(writeNote(kind, volume.target)).to.equal('written');
    await volume.unpublish();
    await volume.publish();
    expect('note' in filesIn(volume.target)).to.equal(kind.written !== 'as long as the pod');
    await volume.unpublish();
    await volume.unstage();
    await volume.stage();
    await volume.publish();
    expect('note' in filesIn(volume.target)).to.equal(kind.written === 'for good');
  });

  if (!isStaged) return;
  it('publish of what is not staged is FAILED_PRECONDITION and makes no target', async () => {
    await using volume = volumeOfKind(node(), kind);
    expect(await volume.publish()).to.include({ code: 'FAILED_PRECONDITION' });
    expect(existsSync(volume.target)).to.equal(false);
    expect(node().mounts()).to.deep.equal([]);
    await volume.stage();
    const stagingTargetPath = `${volume.stagingPath}2`;
    expect(await volume.publish({ stagingTargetPath })).to.include({ code: 'FAILED_PRECONDITION' });
    expect(existsSync(volume.target)).to.equal(false);
  });
}

function publishedTests(kind: Kind, node: () => TestNode): void {
  const staged = mountsOfStage(kind);
  const each = 1 + (kind.besides ?? 0);
  const isWritable = kind.written !== 'not';
  /** A layer is made for who may write. */
  const eachFor = (readonly: boolean) => (readonly && kind.type === 'overlay' ? 1 : each);
  /** A record of the stage, and one of each publish. */
  const records = kind.inline ? 0 : 1;

  it(`publish makes the target and shows the volume there, ${isWritable ? 'to be written' : 'not to be written'}`, async () => {
    await using volume = volumeOfKind(node(), kind);
    await readyVolume(volume, kind);
    expectView(kind, volume.target);
    expect(node().mounts().length).to.equal(staged + each);
    expect(recordsOf(node(), volume)).to.have.length(records + 1);
    expect(writeNote(kind, volume.target)).to.equal(isWritable ? 'written' : 'EROFS');
    if (kind.kept) expect(ownerOf(join(volume.data, kind.kept.directory, 'note'))).to.equal(kind.kept.owner);
    // Whoever writes, the layers below stay as they are.
    expect(filesIn(join(volume.data, 'top'))).to.deep.equal({
      'of-user': '1000:1001 user',
      covered: '1000:1001 above',
    });
  });

  it('publish read-only: the same files, EROFS for who writes', async () => {
    await using volume = volumeOfKind(node(), kind);
    await readyVolume(volume, kind, { readonly: true });
    expect(theMountAt(volume.target).options).to.include('ro');
    expectView(kind, volume.target);
    expect(writeNote(kind, volume.target)).to.equal('EROFS');
    if (kind.inline) expect(theMountAt(volume.target).superblock).to.include('ro');
    else if (isWritable && kind.staged !== 'nothing') {
      expect(theMountAt(volume.stagingPath).options).to.include('rw');
    }
  });

  it('publish again is OK with the same arguments, ALREADY_EXISTS with others, and changes nothing', async () => {
    await using volume = volumeOfKind(node(), kind);
    await readyVolume(volume, kind);
    const { id } = theMountAt(volume.target);
    expect(await volume.publish()).to.include({ code: 'OK' });
    for (const [what, changes] of [
      ...otherArguments(kind),
      ['readonly', () => ({ readonly: true })] as const,
    ]) {
      expect(await volume.publish(changes(volume)), what).to.include({ code: 'ALREADY_EXISTS' });
    }
    // What is renewed from call to call makes no difference.
    const tokens = { 'csi.storage.k8s.io/serviceAccount.tokens': '{"":{"token":"renewed"}}' };
    const renewed = await volume.publish({
      volumeContext: { ...volume.context, ...tokens },
      secrets: { key: 'renewed' },
      publishContext: { anything: 'else' },
    });
    expect(renewed).to.include({ code: 'OK' });
    expect(theMountAt(volume.target).id).to.equal(id);
    expect(node().mounts().length).to.equal(staged + each);
  });

  for (const [mode, code] of Object.entries(SECOND_TARGET) as [AccessMode, string][]) {
    it(`publish at a second target, ${mode}: ${code}`, async () => {
      await using volume = volumeOfKind(node(), kind);
      const volumeCapability = capability(mode);
      // Of readers only: what the container's mount is made read-only by.
      const request = { volumeCapability, readonly: mode.endsWith('READER_ONLY') };
      if (!kind.inline) await volume.stage({ volumeCapability });
      expect(await volume.publish(request)).to.include({ code: 'OK' });
      const second = volume.targetOf('second-pod');
      expect(await volume.publish({ ...request, targetPath: second })).to.include({ code });
      if (code === 'OK') expectView(kind, second);
      else expect(existsSync(second), 'a second target').to.equal(false);
      expectView(kind, volume.target);
      expect(node().mounts().length).to.equal(staged + eachFor(request.readonly) * (code === 'OK' ? 2 : 1));
      await volume.unpublish();
      expect(existsSync(volume.target)).to.equal(false);
      // Whichever was refused before is served when the first is gone; the other has stayed.
      expect(await volume.publish({ ...request, targetPath: second })).to.include({ code: 'OK' });
      expectView(kind, second);
    });
  }

  it('stats: what the filesystem says, in bytes and inodes', async () => {
    await using volume = volumeOfKind(node(), kind);
    await readyVolume(volume, kind);
    if (isWritable && kind.mapping === undefined) {
      writeFileSync(join(volume.target, 'note'), Buffer.alloc(100_000));
    }
    const { code, response } = await volume.stats(volume.target);
    expect(code).to.equal('OK');
    const fs = statfsSync(volume.target, { bigint: true });
    const [bytes, inodes, ...more] = response?.usage ?? [];
    expect(more).to.deep.equal([]);
    expect(bytes).to.include({ unit: Unit.BYTES, total: fs.blocks * fs.bsize });
    // erofs says 2^64 - 1, which no field of CSI holds: as many as there are.
    const total = kind.type === 'erofs' ? inodes?.used : fs.files;
    expect(inodes).to.include({ unit: Unit.INODES, total });
    if (bytes === undefined || inodes === undefined) throw new Error('no usage');
    for (const { total, used, available } of [bytes, inodes]) {
      expect(used >= 0n && available >= 0n && used + available <= total, `${used}+${available} of ${total}`)
        .to.be.true;
    }
    // A filesystem of its own says exactly what is in it.
    if (kind.title === 'tmpfs') expect(bytes).to.include({ total: 1_048_576n, used: 102_400n });
  });

  it('stats where it is not published is NOT_FOUND', async () => {
    await using volume = volumeOfKind(node(), kind);
    await readyVolume(volume, kind);
    const tooLong = volume.targetOf('x'.repeat(300));
    for (const path of [volume.targetOf('no-pod'), `${volume.target}/below`, tooLong, 'some/path', '/']) {
      expect(await volume.stats(path), path).to.include({ code: 'NOT_FOUND' });
    }
    await volume.unpublish();
    expect(await volume.stats(volume.target)).to.include({ code: 'NOT_FOUND' });
  });

  it('unpublish takes away mount, target and record, and no data; again is OK', async () => {
    await using volume = volumeOfKind(node(), kind);
    await readyVolume(volume, kind);
    if (isWritable) writeNote(kind, volume.target);
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(await volume.unpublish(), 'again').to.include({ code: 'OK' });
    expect(existsSync(volume.target)).to.equal(false);
    expect(node().mounts().length).to.equal(staged);
    expect(recordsOf(node(), volume)).to.have.length(records);
    expect(Object.keys(filesIn(join(volume.data, 'base')))).to.include.members(['of-root', 'covered']);
    if (kind.kept) expect(existsSync(join(volume.data, kind.kept.directory, 'note'))).to.equal(true);
    if (kind.staged !== 'nothing') expectStaged(kind, volume.stagingPath, ['note']);
  });
}

async function readyVolume(volume: Volume, kind: Kind, changes = {}): Promise<void> {
  if (!kind.inline) expect(await volume.stage()).to.include({ code: 'OK' });
  expect(await volume.publish(changes)).to.include({ code: 'OK' });
}

/** The mounts at the staging path, and below it. */
function mountsOfStage({ staged, type, besides = 0 }: Kind): number {
  return staged === 'nothing' ? 0 : 1 + (type === 'overlay' ? 0 : besides);
}

/** What is staged with the ids of the disk is the same, not mapped. */
function expectStaged(kind: Kind, path: string, more: readonly string[] = []): void {
  if (kind.staged === 'as published') {
    expectView(kind, path, more);
    return;
  }
  const { type, options } = theMountAt(path);
  expect(type).to.equal(kind.type);
  expect(options).to.not.include('idmapped');
  expect(Object.keys(filesIn(path)).filter((name) => !more.includes(name))).to.have.members(
    Object.keys(kind.files),
  );
  expect(ownerOf(path)).to.equal('0:0');
}

/** The right filesystem, flags and files at this path, through one mount. */
function expectView(kind: Kind, path: string, more: readonly string[] = []): void {
  const { type, options, propagation, superblock } = theMountAt(path);
  expect(type).to.equal(kind.type);
  // In a user namespace no container starts with them on what is read-only by itself (src/volume/publish.ts).
  const isBare = superblock.includes('ro') && !options.includes('ro') && !/^(overlay|fuse)/.test(type);
  if (isBare) expect(options).to.include('rw').and.not.include('nosuid').and.not.include('nodev');
  else expect(options).to.include.members(['nosuid', 'nodev']);
  expect(options.includes('idmapped'), 'the mount is ID-mapped').to.equal(kind.idmapped);
  // As the place makes it: in a peer group of its own. A runtime refuses HostToContainer on a private mount.
  expect(propagation.join(' '), 'propagation of the mount').to.match(/^shared:\d+$/);
  expect(peersOf(path), 'peers of the mount').to.deep.equal([]);
  if (kind.written === 'not') expect(superblock, 'the filesystem').to.include('ro');
  expect(lstatSync(path).isDirectory()).to.equal(true);
  const files = filesIn(path);
  for (const name of more) delete files[name];
  expect(files).to.deep.equal(kind.files);
  expect(ownerOf(path)).to.equal(kind.root ?? (kind.mapping === undefined ? '0:0' : '100000:100000'));
}

function recordsOf(node: TestNode, { id }: Volume): string[] {
  return node
    .records()
    .map(({ text }) => text)
    .filter((text) => text.includes(`"${id}"`));
}
