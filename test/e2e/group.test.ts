// fsGroup as the driver applies it (VOLUME_MOUNT_GROUP): what is made fresh gets the group; of all else the root's group is
// shown as the pod's, in one mount however many files there are, and nothing changes on disk.
import { existsSync, lstatSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { fuseMount, writeFiles } from '../support/fixtures.ts';
import { IMAGES } from '../support/images.ts';
import { kernelIsBefore } from '../support/kernel-version.ts';
import { needRoot, needTool } from '../support/need.ts';
import { theMountAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { expectRefused } from './refusal.ts';
import { startPluginBelow } from './serve.ts';
import { type Context, capability, groupCapability, volumeOn } from './volume.ts';

const GROUP = 2000;
const OTHER = 3000;

type At = (...names: string[]) => string;

interface Row {
  readonly title: string;
  readonly context: (at: At) => Context;
  readonly prepare?: (at: At) => void;
  readonly inline?: boolean;
  readonly needs?: string;
  /** Made for the pod: the group may write. */
  readonly fresh: boolean;
  /** One for all pods, which cannot be ID-mapped: the group of the first is everybody's. */
  readonly shared?: boolean;
}

const ROWS: readonly Row[] = [
  { title: 'bind', context: (at) => ({ source: at('base') }), fresh: false },
  { title: 'overlay, read-only', context: (at) => ({ type: 'overlay', lowerdir: at('base') }), fresh: false },
  {
    title: 'image that was there',
    context: (at) => ({ type: 'image', source: at('image') }),
    prepare: (at) => IMAGES.ext4.make(at('image'), at('base')),
    needs: 'mkfs.ext4',
    fresh: false,
  },
  {
    title: 'bind, owned by another',
    context: (at) => ({ source: at('base'), owner: '33:33' }),
    fresh: false,
  },
  { title: 'tmpfs', context: () => ({ type: 'tmpfs' }), fresh: true, shared: kernelIsBefore('6.3') },
  { title: 'tmpfs, inline', context: () => ({ type: 'tmpfs' }), inline: true, fresh: true },
  {
    title: 'image that is made',
    context: (at) => ({ type: 'image', source: at('new'), mkfs: 'true', size: '16Mi' }),
    needs: 'mkfs.ext4',
    fresh: true,
  },
  {
    title: 'overlay, ephemeral',
    context: (at) => ({ type: 'overlay', lowerdir: at('base'), writable: 'ephemeral' }),
    fresh: true,
  },
  {
    title: 'overlay, persistent and new',
    context: (at) => ({ type: 'overlay', lowerdir: at('base'), upperdir: at('upper'), workdir: at('work') }),
    fresh: true,
    shared: true,
  },
];

describe('fsGroup', () => {
  let node: TestNode;
  let count = 0;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  function makeVolume({ context, prepare, inline = false }: Row) {
    const data = node.at(`group-${++count}`);
    const at: At = (...names) => join(data, ...names);
    writeFiles(data, {
      'base/of-root': { content: 'root', uid: 0, gid: 0 },
      'base/of-group': { content: 'group', uid: 33, gid: GROUP },
      'upper/': {},
      'work/': {},
    });
    prepare?.(at);
    return Object.assign(volumeOn(node, { context: context(at), inline }), { data });
  }

  const request = (group: number) => ({
    volumeCapability: groupCapability(String(group), 'MULTI_NODE_MULTI_WRITER'),
  });

  for (const row of ROWS) {
    it(`${row.title}: the root has the group${row.fresh ? ', which may write and hands it on' : '; on disk nothing changes'}`, async function () {
      if (row.needs !== undefined) needTool(this, row.needs, row.title);
      await using volume = makeVolume(row);
      if (!row.inline) expect(await volume.stage(request(GROUP))).to.include({ message: '', code: 'OK' });
      expect(await volume.publish(request(GROUP))).to.include({ code: 'OK' });
      const root = statSync(volume.target);
      expect(root.gid).to.equal(GROUP);
      if (row.fresh) {
        expect((root.mode & 0o7777).toString(8)).to.equal('2775');
        writeFileSync(join(volume.target, 'note'), '');
        expect(lstatSync(join(volume.target, 'note')).gid).to.equal(GROUP);
      }
      expect(lstatSync(join(volume.data, 'base')).gid, 'on disk').to.equal(0);
      expect(lstatSync(join(volume.data, 'base/of-root')).gid, 'on disk').to.equal(0);
      if (row.inline) return;
      expect(await volume.stage(request(OTHER)), 'staged for another').to.include({
        message: '',
        code: 'OK',
      });
      if (row.shared) return;
      const targetPath = volume.targetOf('second');
      expect(await volume.publish({ ...request(OTHER), targetPath })).to.include({ code: 'OK' });
      expect(statSync(targetPath).gid, 'a second pod, with another group').to.equal(OTHER);
      expect(statSync(volume.target).gid, 'the first').to.equal(GROUP);
    });
  }

  it('of a source that has the group already makes no map', async () => {
    const data = node.at('of-the-group');
    writeFiles(data, { './': { gid: GROUP } });
    await using volume = volumeOn(node, { context: { source: data } });
    await volume.stage(request(GROUP));
    expect(await volume.publish(request(GROUP))).to.include({ code: 'OK' });
    expect(theMountAt(volume.target).options).to.not.include('idmapped');
    expect(statSync(volume.target).gid).to.equal(GROUP);
  });

  it('of what cannot be mapped is left out, and the volume is had', async function () {
    needTool(this, 'bindfs', 'a FUSE filesystem as the source of a bind');
    writeFiles(node.directory, { 'of-fuse/': '', 'fuse/': '' });
    await using fuse = await fuseMount(node.at('of-fuse'), node.at('fuse'));
    await using volume = volumeOn(node, { context: { source: fuse.path } });
    expect(await volume.stage(request(GROUP))).to.include({ code: 'OK' });
    expect(await volume.publish(request(GROUP))).to.include({ code: 'OK' });
    expect(statSync(volume.target).gid).to.equal(0);
  });

  it('of an overlay that cannot be mapped is left out as well, where that is staged', async function () {
    needTool(this, 'bindfs', 'a FUSE filesystem as a layer');
    writeFiles(node.directory, { 'layer-of-fuse/file': 'file', 'fuse-layer/': '' });
    await using fuse = await fuseMount(node.at('layer-of-fuse'), node.at('fuse-layer'));
    await using volume = volumeOn(node, { context: { type: 'overlay', lowerdir: fuse.path } });
    mkdirSync(volume.stagingPath, { recursive: true });
    expect(await volume.publish(request(GROUP)), 'not staged').to.include({ code: 'FAILED_PRECONDITION' });
    expect([existsSync(volume.target), node.records()]).to.deep.equal([false, []]);
    expect(await volume.stage(request(GROUP))).to.include({ code: 'OK' });
    expect(await volume.publish(request(GROUP))).to.include({ code: 'OK' });
    expect(readFileSync(join(volume.target, 'file'), 'utf8')).to.equal('file');
  });

  it('an upper layer that was written to keeps its group', async () => {
    const row = ROWS.find(({ title }) => title === 'overlay, persistent and new');
    if (row === undefined) throw new Error('no row');
    await using volume = makeVolume(row);
    writeFileSync(join(volume.data, 'upper/old'), 'old');
    await volume.stage(request(GROUP));
    expect(await volume.publish(request(GROUP))).to.include({ code: 'OK' });
    expect(statSync(volume.target).gid).to.equal(0);
  });

  it('of a running pod makes no other request of it when kubelet sees to it from now on, or the driver again', async () => {
    let settings: string[] = [];
    await using other = await startNode({
      start: (directory) => startPluginBelow(['env', ...settings], directory),
    });
    const switchTo = async (fsgroup: string) => {
      await other.kill();
      settings = [`CSI_IDMAP_FSGROUP=${fsgroup}`];
      await other.start();
    };
    await using volume = volumeOn(other, { context: { type: 'tmpfs' } });
    expect(await volume.stage(request(GROUP))).to.include({ code: 'OK' });
    expect(await volume.publish(request(GROUP))).to.include({ code: 'OK' });
    const { id } = theMountAt(volume.target);
    const withoutGroup = { volumeCapability: capability('MULTI_NODE_MULTI_WRITER') };
    await switchTo('kubelet');
    expect(await volume.stage(withoutGroup)).to.include({ code: 'OK' });
    expect(await volume.publish(withoutGroup)).to.include({ code: 'OK' });
    await switchTo('idmap');
    expect(await volume.publish(request(GROUP))).to.include({ code: 'OK' });
    expect(await volume.publish(request(OTHER))).to.include({ code: 'ALREADY_EXISTS' });
    expect(theMountAt(volume.target).id).to.equal(id);
  });

  it('with --fsgroup kubelet is not advertised, and refused', async () => {
    await using other = await startNode({
      start: (directory) => startPluginBelow(['env', 'CSI_IDMAP_FSGROUP=kubelet'], directory),
    });
    const { response } = await other.ask((rpc) => rpc.nodeGetCapabilities({}));
    expect(response?.capabilities.map(({ type }) => type?.value.type)).to.not.include(6);
    await using volume = volumeOn(other, { context: { type: 'tmpfs' } });
    const message = /volume_mount_group is not supported/;
    await expectRefused(other, () => volume.stage(request(GROUP)), { code: 'INVALID_ARGUMENT', message });
    expect(await volume.stage({ volumeCapability: capability() })).to.include({ code: 'OK' });
  });
});
