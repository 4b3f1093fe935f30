// Ephemeral writable layers: made, filled, removed, deleted.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { expect } from 'chai';
import { loopDevicesOf } from '../../../src/mount/loop.ts';
import {
  eventually,
  mountCommand,
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  temporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';
import { scaled } from '../../support/time-scale.ts';
import { codeOf, describeEngines, failureOf, mountAt, mountsIn } from './engines.ts';

const MIB = 2 ** 20;
const ROOT = { uid: 1000, gid: 2000, mode: 0o2775 };
const BOUNDS: readonly (readonly [title: string, bytes: number | undefined])[] = [
  ['without a size', undefined],
  ['with a size', 16 * MIB],
];

describeEngines('a writable layer', (bench) => {
  before(function () {
    needTool(this, 'mkfs.ext4', 'layers with a size are made with it');
  });

  const make = (path: string, bytes: number | undefined) =>
    bench.engine.makeLayer({ path, root: ROOT, ...(bytes !== undefined && { bytes }) });
  const remove = (path: string) => bench.engine.removeLayer({ path });
  const purge = (directory: string) => bench.engine.purgeLayers({ directory, atMostMs: scaled(30_000) });

  /** An overlay on it, at `target`. */
  async function overlay(place: TemporaryDirectory, bytes: number | undefined): Promise<string> {
    writeFiles(place.path, { 'lower/base': 'base' });
    const { upperdir, workdir } = await make(place.at('layers/one'), bytes);
    const options = [`lowerdir=${place.at('lower')}`, `upperdir=${upperdir}`, `workdir=${workdir}`];
    await bench.mount({ type: 'overlay', source: 'overlay', options }, place.at('target'));
    return place.at('target');
  }

  for (const [title, bytes] of BOUNDS) {
    it(`${title} is written by an overlay, kept, found again, and removed`, async () => {
      using place = temporaryDirectory();
      const layer = place.at('layers/one');
      const target = await overlay(place, bytes);
      expect(ownerOf(target)).to.equal('1000:2000');
      expect(statSync(target).mode & 0o7777).to.equal(0o2775);
      writeFileSync(`${target}/file`, 'written');
      await bench.unmount(target);
      const again = await make(layer, bytes);
      expect(again.made).to.equal(false);
      expect(readFileSync(`${again.upperdir}/file`, 'utf8')).to.equal('written');
      expect(mountsIn(layer)).to.equal(bytes === undefined ? 0 : 1);
      const { removedTo = '' } = await remove(layer);
      expect([existsSync(layer), existsSync(removedTo), mountsIn(place.path)]).to.deep.equal([
        false,
        true,
        0,
      ]);
      expect(await remove(layer)).to.deep.equal({});
      expect(await purge(place.at('layers'))).to.deep.equal({ finished: true, problems: [] });
      expect(readdirSync(place.at('layers'))).to.deep.equal([]);
    });

    it(`${title}: what a killed maker left becomes whole`, async () => {
      using place = temporaryDirectory();
      const layer = place.at('layers/one');
      mkdirSync(place.at('layers/one/upper.new'), { recursive: true });
      if (bytes !== undefined) writeFiles(layer, { 'fs/': '', '.image.0123456789ab.new': '' });
      const { upperdir } = await make(layer, bytes);
      expect(ownerOf(upperdir)).to.equal('1000:2000');
      await remove(layer);
    });

    it(`${title} is not removed under an overlay`, async () => {
      using place = temporaryDirectory();
      const layer = place.at('layers/one');
      const target = await overlay(place, bytes);
      const { message } = await failureOf(remove(layer), { reason: 'busy', rolledBack: true });
      expect(message).to.include(`the overlay at ${target} writes to it`);
      writeFileSync(`${target}/file`, 'written');
      expect(mountsIn(layer)).to.equal(bytes === undefined ? 0 : 1);
      await bench.unmount(target);
      await remove(layer);
    });

    it(`${title} leaves nothing when it cannot be made`, async () => {
      using place = mountPlace();
      const inTheWay = bytes === undefined ? 'upper.new' : 'fs';
      writeFiles(place.at('layers/one'), { [inTheWay]: 'no directory' });
      await failureOf(make(place.at('layers/one'), bytes), { rolledBack: true });
      expect(readdirSync(place.at('layers/one'))).to.deep.equal([inTheWay]);
    });
  }

  it('with a size cannot grow beyond it', async () => {
    using place = temporaryDirectory();
    const target = await overlay(place, 16 * MIB);
    const chunk = Buffer.alloc(MIB, 'x');
    let written = 0;
    const fill = () => {
      for (; written < 64; written++) writeFileSync(`${target}/file-${written}`, chunk);
    };
    expect(codeOf(fill)).to.equal('ENOSPC');
    expect(written).to.be.within(8, 16);
    expect(statSync(place.at('layers/one/image')).blocks * 512).to.be.at.most(16 * MIB);
    expect(mountAt(place.at('layers/one/fs')).options).to.include.members(['nosuid', 'nodev']);
    await bench.unmount(target);
    await remove(place.at('layers/one'));
    expect(await purge(place.at('layers'))).to.deep.equal({ finished: true, problems: [] });
  });

  it('is refused: a size below the smallest, another kind than it is, an owner that is none', async () => {
    using place = temporaryDirectory();
    const small = await failureOf(make(place.at('one'), MIB), { reason: 'invalid-mount', rolledBack: true });
    expect(small.message).to.include('too small for ext4; give it 2097152 (2 MiB) or more');
    expect(readdirSync(place.path)).to.deep.equal([]);
    await make(place.at('one'), undefined);
    const other = await failureOf(make(place.at('one'), 16 * MIB), { reason: 'invalid-mount' });
    expect(other.message).to.include('was made without a size');
    const root = { ...ROOT, uid: -1 };
    await failureOf(bench.engine.makeLayer({ path: place.at('two'), root }), { reason: 'invalid-mount' });
  });

  it('with a size is not removed while another mount namespace has it', async () => {
    using place = temporaryDirectory();
    const layer = place.at('one');
    await make(layer, 16 * MIB);
    const holder = spawn(
      'unshare',
      ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; exec cat'],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    try {
      await once(holder.stdout, 'data');
      const { message } = await failureOf(remove(layer), { reason: 'busy', rolledBack: false });
      expect(message).to.match(/stays on \/dev\/loop\d+: it is kept by the mount namespace of process \d+/);
      expect(readdirSync(layer)).to.have.members(['image', 'fs']);
      expect(loopDevicesOf(`${layer}/image`)).to.have.length(1);
    } finally {
      const ended = once(holder, 'close');
      holder.stdin.end();
      await ended;
    }
    await eventually('the device is free', () => loopDevicesOf(`${layer}/image`).length === 0);
    expect(await remove(layer)).to.have.property('removedTo');
  });

  it('with a size is not removed while somebody has its device, mounted in a namespace that is gone', async () => {
    using place = mountPlace();
    mountCommand('--make-shared', place.path);
    const [image, fs] = [place.at('one/image'), place.at('one/fs')];
    await make(place.at('one'), 16 * MIB);
    unmountCommand(fs);
    execFileSync('unshare', ['--mount', '--propagation', 'unchanged', 'mount', '-o', 'loop', image, fs]);
    const [device = ''] = loopDevicesOf(image);
    const held = openSync(device, 'r');
    try {
      const { message } = await failureOf(remove(place.at('one')), { reason: 'busy' });
      expect(message).to.include(`stays on ${device}`);
    } finally {
      closeSync(held);
    }
    await remove(place.at('one'));
    expect(readdirSync(place.path)).to.have.length(1);
  });

  it('is not removed with something else mounted in it', async () => {
    using place = mountPlace();
    const { upperdir } = await make(place.at('one'), undefined);
    mkdirSync(`${upperdir}/data`);
    mountCommand('-t', 'tmpfs', 'test', `${upperdir}/data`);
    const { message } = await failureOf(remove(place.at('one')), { reason: 'busy', rolledBack: true });
    expect(message).to.include(`tmpfs is mounted at ${upperdir}/data`);
    unmountCommand(`${upperdir}/data`);
    await remove(place.at('one'));
  });
});

describeEngines('removed layers', (bench) => {
  const purge = (directory: string, atMostMs = scaled(30_000)) =>
    bench.engine.purgeLayers({ directory, atMostMs });

  it('are deleted, whatever is in them, and nothing else', async () => {
    using place = mountPlace();
    writeFiles(place.path, {
      'layers/living/upper/file': '',
      'layers/file': '',
      'precious/file': 'precious',
    });
    writeFiles(place.at('layers/removed-one'), {
      'upper/a/b/c': '',
      'upper/read-only/x': { mode: 0 },
      image: '',
    });
    symlinkSync(place.at('precious'), place.at('layers/removed-one/link'));
    symlinkSync(place.at('precious'), place.at('layers/removed-one/upper/a/link'));
    const strange = Buffer.concat([
      Buffer.from(place.at('layers/removed-one/upper/')),
      Buffer.from([0xff, 0xfe]),
    ]);
    mkdirSync(strange);
    writeFileSync(Buffer.concat([strange, Buffer.from('/'), Buffer.from([0x80])]), '');
    // Deeper than a walk with a descriptor for each level gets.
    execFileSync('mkdir', ['-p', 'd/'.repeat(2000)], { cwd: place.at('layers/removed-one') });
    execFileSync('mkdir', ['-p', 'd/'.repeat(2000)], { cwd: place.at('layers/removed-one/upper') });
    symlinkSync(place.at('precious'), place.at('layers/removed-link'));
    const { finished, problems } = await purge(place.at('layers'));
    expect(finished).to.equal(true);
    expect(problems).to.have.length(1);
    expect(problems[0]).to.include('removed-link cannot be deleted');
    expect(readdirSync(place.at('layers'))).to.have.members(['living', 'file', 'removed-link']);
    expect(readFileSync(place.at('precious/file'), 'utf8')).to.equal('precious');
  });

  it('are deleted a while at a time', async () => {
    using place = mountPlace();
    const files = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`d${i % 7}/f${i}`, '']));
    writeFiles(place.at('removed-one'), files);
    expect(await purge(place.path, 0)).to.deep.equal({ finished: false, problems: [] });
    expect(readdirSync(place.path)).to.deep.equal(['removed-one']);
    let calls = 0;
    while (!(await purge(place.path, 0)).finished) calls++;
    expect(calls).to.be.greaterThan(10);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('with something mounted in them stay, and are reported; others are deleted all the same', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'removed-a/x/data/': '', 'removed-a/y': '', 'removed-b/z': '' });
    mountCommand('-t', 'tmpfs', 'test', place.at('removed-a/x/data'));
    writeFiles(place.at('removed-a/x/data'), { precious: '' });
    const { finished, problems } = await purge(place.path);
    expect(finished).to.equal(true);
    expect(problems).to.have.length(1);
    expect(problems[0]).to.include(`tmpfs is mounted at ${place.at('removed-a/x/data')}; unmount it`);
    expect(readdirSync(place.path)).to.deep.equal(['removed-a']);
    expect(readdirSync(place.at('removed-a'))).to.have.members(['x', 'y']);
    unmountCommand(place.at('removed-a/x/data'));
    await purge(place.path);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('of a directory that is not there are none', async () => {
    expect(await purge('/nowhere/layers')).to.deep.equal({ finished: true, problems: [] });
  });
});

describeEngines('what is in the way of a mount', (bench) => {
  const move = (place: TemporaryDirectory, name?: string) =>
    bench.engine.moveAside({
      target: { path: place.at('pod/mount'), beneath: place.path },
      into: place.at('state/set-aside'),
      ...(name !== undefined && { name }),
    });

  it('is moved aside whole, and an empty directory of the same owner takes its place', async () => {
    using place = temporaryDirectory();
    writeFiles(place.path, { 'pod/mount/data/file': 'of a pod' });
    execFileSync('sh', ['-c', 'chown 1000:2000 mount && chmod 2770 mount'], { cwd: place.at('pod') });
    const { movedTo = '' } = await move(place, 'a/volume');
    expect(movedTo).to.match(/\/state\/set-aside\/\d{8}T\d{6}\.\d{3}Z-a-volume-[0-9a-f]{6}$/);
    expect(readFileSync(`${movedTo}/data/file`, 'utf8')).to.equal('of a pod');
    expect(readdirSync(place.at('pod/mount'))).to.deep.equal([]);
    expect(ownerOf(place.at('pod/mount'))).to.equal('1000:2000');
    expect(statSync(place.at('pod/mount')).mode & 0o7777).to.equal(0o2770);
    expect(statSync(place.at('state/set-aside')).mode & 0o777).to.equal(0o700);
  });

  it('is nothing: an empty directory, a file, a link, a mount, no directory at all', async () => {
    using place = mountPlace();
    expect(await move(place)).to.deep.equal({});
    writeFiles(place.path, { 'pod/mount/': '', 'elsewhere/file': '' });
    expect(await move(place)).to.deep.equal({});
    mountCommand('-t', 'tmpfs', 'test', place.at('pod/mount'));
    writeFiles(place.at('pod/mount'), { file: '' });
    expect(await move(place)).to.deep.equal({});
    expect(readdirSync(place.at('pod/mount'))).to.deep.equal(['file']);
    unmountCommand(place.at('pod/mount'));
    execFileSync('sh', ['-c', 'rmdir mount && ln -s ../elsewhere mount'], { cwd: place.at('pod') });
    expect(await move(place)).to.deep.equal({});
    execFileSync('sh', ['-c', 'rm mount && echo x > mount'], { cwd: place.at('pod') });
    expect(await move(place)).to.deep.equal({});
    expect(existsSync(place.at('state'))).to.equal(false);
  });

  it('stays where something is mounted in it', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'pod/mount/data/': '' });
    mountCommand('-t', 'tmpfs', 'test', place.at('pod/mount/data'));
    const { message } = await failureOf(move(place), { reason: 'busy', rolledBack: true });
    expect(message).to.include(`tmpfs is mounted below it, at ${place.at('pod/mount/data')}`);
    unmountCommand(place.at('pod/mount/data'));
  });

  it('stays where it cannot be moved', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'pod/mount/file': '', 'state/': '' });
    mountCommand('-t', 'tmpfs', 'test', place.at('state'));
    await failureOf(move(place), { reason: 'target-not-empty', rolledBack: true, errno: 'EXDEV' });
    expect(readdirSync(place.at('pod/mount'))).to.deep.equal(['file']);
    unmountCommand(place.at('state'));
  });
});
