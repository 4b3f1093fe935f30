// Bind mounts.
import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountCommand, mountPlace, ownerOf, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { maskedCalls } from '../../support/need.ts';
import {
  type Bench,
  codeOf,
  describeWithoutLayers,
  failureOf,
  mountAt,
  mountsIn,
  SHIFT_DOWN,
  SHIFT_UP,
} from './engines.ts';

const bindOf = (source: string, ...options: string[]): Mount => ({ type: 'bind', source, options });

/** Binds are not made detached here. */
const isByMountCall = ({ tier }: Bench): boolean =>
  tier === 'classic' ||
  tier === 'host' ||
  ['open_tree', 'move_mount', 'mount_setattr'].some((call) => maskedCalls.includes(call));

describeWithoutLayers('a bind mount', (bench) => {
  it('shows the source, and what is written in one is in the other', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { file: 'old' });
    await bench.mount(bindOf(place.at('source')), place.at('target'));
    expect(readFileSync(place.at('target/file'), 'utf8')).to.equal('old');
    writeFileSync(place.at('target/new'), 'new');
    expect(readFileSync(place.at('source/new'), 'utf8')).to.equal('new');
    expect(await bench.unmount(place.at('target'))).to.equal(1);
    expect(readdirSync(place.at('target'))).to.deep.equal([]);
  });

  it('shows a file', async () => {
    using place = mountPlace();
    writeFiles(place.path, { source: 'of a file' });
    const target = { path: place.at('target') };
    await bench.engine.mountAll({ mounts: [bindOf(place.at('source'))], target, create: 'file' });
    expect(readFileSync(place.at('target'), 'utf8')).to.equal('of a file');
    expect(await bench.engine.unmount({ target, remove: 'file' })).to.equal(1);
    expect(readdirSync(place.path)).to.deep.equal(['source']);
  });

  it('leaves mounts below the source out, rbind takes them along', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { 'sub/below': 'hidden' });
    mountCommand('-t', 'tmpfs', 'sub', place.at('source/sub'));
    writeFiles(place.at('source/sub'), { above: '' });
    await bench.mount(bindOf(place.at('source')), place.at('flat'));
    expect(readdirSync(place.at('flat/sub'))).to.deep.equal(['below']);
    await bench.mount({ type: 'rbind', source: place.at('source'), options: [] }, place.at('deep'));
    expect(readdirSync(place.at('deep/sub'))).to.deep.equal(['above']);
    expect(mountsIn(place.at('deep'))).to.equal(2);
    await bench.engine.unmount({ target: { path: place.at('deep') }, lazy: true });
    expect(mountsIn(place.at('deep'))).to.equal(0);
    await bench.unmount(place.at('flat'));
    unmountCommand(place.at('source/sub'));
  });

  it('is read-only where asked for, and only there', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { file: '' });
    await bench.mount(bindOf(place.at('source'), 'ro'), place.at('target'));
    expect(codeOf(() => writeFileSync(place.at('target/file'), 'x'))).to.equal('EROFS');
    expect(codeOf(() => writeFileSync(place.at('target/new'), 'x'))).to.equal('EROFS');
    writeFileSync(place.at('source/file'), 'x');
    await bench.unmount(place.at('target'));
  });

  const trees: readonly [options: string, top: string | undefined, below: string | undefined][] = [
    ['ro', 'EROFS', undefined],
    ['rro', 'EROFS', 'EROFS'],
    ['rro,rw', undefined, 'EROFS'],
    ['rw,rro', 'EROFS', 'EROFS'],
    ['ro,rprivate', 'EROFS', undefined],
    ['rro,rprivate', 'EROFS', 'EROFS'],
  ];
  for (const [options, top, below] of trees) {
    it(`of a tree with ${options} is ${top ? 'read-only' : 'writable'} at the top and ${below ? 'read-only' : 'writable'} below`, async () => {
      using place = mountPlace();
      writeFiles(place.at('source'), { 'sub/': '' });
      mountCommand('-t', 'tmpfs', 'sub', place.at('source/sub'));
      const mount: Mount = { type: 'rbind', source: place.at('source'), options: options.split(',') };
      await bench.mount(mount, place.at('target'));
      const codes = ['target', 'target/sub'].map((directory) =>
        codeOf(() => writeFileSync(place.at(directory, 'x'), '')),
      );
      expect(codes).to.deep.equal([top, below]);
      await bench.engine.unmount({ target: { path: place.at('target') }, lazy: true });
      unmountCommand(place.at('source/sub'));
    });
  }

  for (const option of ['nosuid', 'nodev', 'noexec', 'noatime', 'nosymfollow', 'nodiratime', 'ro']) {
    it(`shows ${option} in its own line of mountinfo, not in the source's`, async () => {
      using place = mountPlace();
      writeFiles(place.at('source'), { 'x/': '' });
      await bench.mount(bindOf(place.at('source'), option), place.at('target'));
      expect(mountAt(place.at('target')).options).to.include(option);
      expect(mountAt(place.path).options).to.not.include(option);
      await bench.unmount(place.at('target'));
    });
  }

  it('is without access times of any kind, or with all, or relative, whatever the source is', async () => {
    using place = mountPlace();
    mountCommand('-o', 'remount,bind,noatime', place.path);
    const shown: Record<string, readonly string[]> = {};
    for (const option of ['noatime', 'strictatime', 'relatime', 'defaults']) {
      await bench.mount(bindOf(place.path, option), place.at('target'));
      shown[option] = mountAt(place.at('target')).options.filter((name) => name.includes('atime'));
      await bench.unmount(place.at('target'));
    }
    expect(shown).to.deep.equal({
      noatime: ['noatime'],
      strictatime: [],
      relatime: ['relatime'],
      defaults: ['noatime'],
    });
  });

  it('does not follow symbolic links under nosymfollow', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { file: 'x' });
    symlinkSync('file', place.at('source/link'));
    await bench.mount(bindOf(place.at('source'), 'nosymfollow'), place.at('target'));
    expect(codeOf(() => readFileSync(place.at('target/link')))).to.equal('ELOOP');
    expect(readFileSync(place.at('target/file'), 'utf8')).to.equal('x');
    await bench.unmount(place.at('target'));
  });

  it('can be made any number of times from the same frozen Mount', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { file: '' });
    const mount: Mount = Object.freeze({
      type: 'bind',
      source: place.at('source'),
      options: Object.freeze(['ro', 'nosuid', ...SHIFT_UP]),
    });
    for (const target of ['a', 'b', 'a']) {
      await bench.mount(mount, place.at(target));
      expect(ownerOf(place.at(target, 'file'))).to.equal('100000:100000');
    }
    expect([await bench.unmount(place.at('a')), await bench.unmount(place.at('b'))]).to.deep.equal([2, 1]);
  });

  it('of what is not there fails by the name of it, and leaves nothing', async () => {
    using place = mountPlace();
    const error = await failureOf(bench.mount(bindOf(place.at('missing')), place.at('target')), {
      reason: 'source-not-found',
      rolledBack: true,
      errno: 'ENOENT',
    });
    expect(error.message).to.contain(`the source ${place.at('missing')} does not exist`);
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('of a file on a directory, or the other way round, is a bad target', async () => {
    using place = mountPlace();
    writeFiles(place.path, { file: '', 'directory/': '' });
    const target = (name: string) => ({ path: place.at(name) });
    for (const [source, onto] of [
      ['file', 'directory'],
      ['directory', 'file'],
    ] as const) {
      await failureOf(bench.engine.mountAll({ mounts: [bindOf(place.at(source))], target: target(onto) }), {
        reason: 'bad-target',
        rolledBack: true,
      });
    }
    expect(mountsIn(place.path)).to.equal(1);
  });
});

describeWithoutLayers('the propagation of a bind mount', (bench) => {
  const rows: readonly [option: string, shows: (fields: readonly string[]) => boolean][] = [
    ['private', (fields) => fields.length === 0],
    ['shared', (fields) => fields.some((field) => field.startsWith('shared:'))],
    ['slave', (fields) => fields.some((field) => field.startsWith('master:'))],
    ['unbindable', (fields) => fields.includes('unbindable')],
  ];
  for (const below of ['private', 'shared'] as const) {
    for (const [option, shows] of rows) {
      for (const name of [option, `r${option}`]) {
        it(`is ${name} below a ${below} parent`, async () => {
          using place = mountPlace();
          writeFiles(place.path, { 'source/': '', 'parent/': '' });
          mountCommand('-t', 'tmpfs', 'source', place.at('source'));
          mountCommand('--make-shared', place.at('source'));
          mountCommand('-t', 'tmpfs', 'parent', place.at('parent'));
          mountCommand(`--make-${below}`, place.at('parent'));
          const target = place.at('parent/target');
          await bench.mount({ type: 'rbind', source: place.at('source'), options: [name] }, target);
          const { propagation } = mountAt(target);
          expect(propagation, propagation.join(' ')).to.satisfy(shows);
          await bench.unmount(target);
          unmountCommand(place.at('parent'), place.at('source'));
        });
      }
    }
  }

  it('private cuts it off from its shared source: what is mounted below one is not below the other', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/': '' });
    mountCommand('-t', 'tmpfs', 'source', place.at('source'));
    mountCommand('--make-shared', place.at('source'));
    writeFiles(place.at('source'), { 'sub/': '' });
    for (const option of ['private', 'rprivate']) {
      await bench.mount({ type: 'rbind', source: place.at('source'), options: [option] }, place.at('target'));
      mountCommand('-t', 'tmpfs', 'sub', place.at('source/sub'));
      expect(mountsIn(place.at('target')), option).to.equal(1);
      unmountCommand(place.at('source/sub'));
      mountCommand('-t', 'tmpfs', 'sub', place.at('target/sub'));
      expect(mountsIn(place.at('source')), option).to.equal(1);
      unmountCommand(place.at('target/sub'));
      await bench.unmount(place.at('target'));
    }
    unmountCommand(place.at('source'));
  });

  for (const name of ['unpeered', 'runpeered']) {
    it(`${name}: below a shared parent it is shared, and no peer of its source; by mount(2), private`, async () => {
      using place = mountPlace();
      writeFiles(place.path, { 'source/': '', 'parent/': '' });
      for (const at of ['source', 'parent']) {
        mountCommand('-t', 'tmpfs', at, place.at(at));
        mountCommand('--make-shared', place.at(at));
      }
      writeFiles(place.at('source'), { 'sub/': '' });
      const target = place.at('parent/target');
      await bench.mount({ type: 'rbind', source: place.at('source'), options: [name] }, target);
      const { propagation } = mountAt(target);
      if (isByMountCall(bench)) expect(propagation).to.deep.equal([]);
      else {
        expect(propagation.join(' ')).to.match(/^shared:\d+$/);
        expect(propagation).to.not.deep.equal(mountAt(place.at('source')).propagation);
      }
      mountCommand('-t', 'tmpfs', 'sub', place.at('source/sub'));
      expect(mountsIn(target)).to.equal(1);
      unmountCommand(place.at('source/sub'));
      mountCommand('-t', 'tmpfs', 'sub', `${target}/sub`);
      expect(mountsIn(place.at('source'))).to.equal(1);
      unmountCommand(`${target}/sub`);
      await bench.unmount(target);
      unmountCommand(place.at('parent'), place.at('source'));
    });
  }

  it('slave takes from the source and gives nothing back', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/': '' });
    mountCommand('-t', 'tmpfs', 'source', place.at('source'));
    mountCommand('--make-shared', place.at('source'));
    writeFiles(place.at('source'), { 'sub/': '' });
    await bench.mount(bindOf(place.at('source'), 'slave'), place.at('target'));
    mountCommand('-t', 'tmpfs', 'sub', place.at('source/sub'));
    expect(mountsIn(place.at('target'))).to.equal(2);
    unmountCommand(place.at('source/sub'));
    expect(mountsIn(place.at('target'))).to.equal(1);
    mountCommand('-t', 'tmpfs', 'sub', place.at('target/sub'));
    expect(mountsIn(place.at('source'))).to.equal(1);
    unmountCommand(place.at('target/sub'), place.at('target'), place.at('source'));
  });
});

describeWithoutLayers('an idmapped bind mount', (bench) => {
  it('shows the owners mapped, unmapped ones as nobody, and writes back to the ids on disk', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/': { uid: 1000, gid: 1000 } });
    writeFiles(place.at('source'), {
      mine: { uid: 1000, gid: 1000 },
      next: { uid: 1005, gid: 1010 },
      other: { uid: 5000, gid: 0 },
    });
    await bench.mount(bindOf(place.at('source'), ...SHIFT_DOWN), place.at('target'));
    expect(['mine', 'next', 'other'].map((name) => ownerOf(place.at('target', name)))).to.deep.equal([
      '0:0',
      '5:10',
      '65534:65534',
    ]);
    writeFileSync(place.at('target/made'), '');
    expect(ownerOf(place.at('source/made'))).to.equal('1000:1000');
    await bench.unmount(place.at('target'));
    expect(ownerOf(place.at('source/mine'))).to.equal('1000:1000');
  });

  it('maps users and groups apart, and several extents', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { a: { uid: 1, gid: 1 }, b: { uid: 2, gid: 2 } });
    const ids = ['uidmap=1:2:1,2:1:1', 'gidmap=0:500:3'];
    await bench.mount(bindOf(place.at('source'), ...ids), place.at('target'));
    expect([ownerOf(place.at('target/a')), ownerOf(place.at('target/b'))]).to.deep.equal(['2:501', '1:502']);
    await bench.unmount(place.at('target'));
  });

  it('is read-only and idmapped together', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { file: { uid: 1000, gid: 1000 } });
    await bench.mount(bindOf(place.at('source'), 'ro', 'nosuid', ...SHIFT_DOWN), place.at('target'));
    expect(ownerOf(place.at('target/file'))).to.equal('0:0');
    expect(codeOf(() => writeFileSync(place.at('target/file'), 'x'))).to.equal('EROFS');
    expect(mountAt(place.at('target')).options).to.include.members(['ro', 'nosuid', 'idmapped']);
    await bench.unmount(place.at('target'));
  });

  it('maps all of a tree', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { 'sub/': '', top: { uid: 1000, gid: 1000 } });
    writeFiles(place.at('other'), { below: { uid: 1001, gid: 1001 } });
    mountCommand('--bind', place.at('other'), place.at('source/sub'));
    const mount: Mount = { type: 'rbind', source: place.at('source'), options: ['ro', ...SHIFT_DOWN] };
    await bench.mount(mount, place.at('target'));
    expect(ownerOf(place.at('target/top'))).to.equal('0:0');
    expect(ownerOf(place.at('target/sub/below'))).to.equal('1:1');
    expect(mountAt(place.at('target/sub')).options).to.include('idmapped');
    await bench.engine.unmount({ target: { path: place.at('target') }, lazy: true });
    unmountCommand(place.at('source/sub'));
  });

  it('works on a single file', async () => {
    using place = mountPlace();
    writeFiles(place.path, { file: { uid: 1000, gid: 1000, content: 'x' } });
    const target = { path: place.at('target') };
    const mounts = [bindOf(place.at('file'), ...SHIFT_DOWN)];
    await bench.engine.mountAll({ mounts, target, create: 'file' });
    expect(ownerOf(place.at('target'))).to.equal('0:0');
    await bench.engine.unmount({ target, remove: 'file' });
  });

  interface Unsupported {
    readonly title: string;
    /** Returns the source. */
    readonly prepare: (at: (...names: string[]) => string) => string | Promise<string>;
  }
  const unsupported: readonly Unsupported[] = [
    {
      title: 'an overlay',
      prepare: (at) => {
        writeFiles(at('layers'), { 'a/': '', 'b/': '', 'merged/': '' });
        const options = `lowerdir=${at('layers/a')}:${at('layers/b')}`;
        mountCommand('-t', 'overlay', '-o', options, 'overlay', at('layers/merged'));
        return at('layers/merged');
      },
    },
    { title: 'proc', prepare: () => '/proc' },
  ];
  for (const { title, prepare } of unsupported) {
    it(`of ${title} is refused as such, and leaves nothing`, async () => {
      using place = mountPlace();
      const source = await prepare(place.at);
      const before = mountsIn(place.path);
      const error = await failureOf(bench.mount(bindOf(source, ...SHIFT_UP), place.at('target')), {
        reason: 'idmap-unsupported',
        rolledBack: true,
      });
      expect(error.message).to.match(/mount_setattr\(\d+<.*\) = (EINVAL|EPERM): .*ID-mapped/);
      expect(mountsIn(place.path)).to.equal(before);
      expect(codeOf(() => statSync(place.at('target')))).to.equal('ENOENT');
      if (source !== '/proc') unmountCommand(source);
    });
  }

  it('with a mapping that cannot be is refused by its field', async () => {
    using place = mountPlace();
    const ids = ['uidmap=0:0:1,0:5:1', 'gidmap=0:0:1'];
    const error = await failureOf(bench.mount(bindOf(place.path, ...ids), place.at('target')), {
      reason: 'invalid-mount',
      rolledBack: true,
    });
    expect(error.message).to.contain('uidmap: 0:0:1 and 0:5:1 overlap in their container ids');
  });
});
