// Overlays: layers of any number and name, idmapped or not, writable or not.
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { escapeLayer } from '../../../src/mount/layers.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountCommand, mountPlace, ownerOf, writeFiles } from '../../support/fixtures.ts';
import { kernelIsBefore } from '../../support/kernel-version.ts';
import { needKernel, needMappedTmpfs } from '../../support/need.ts';
import {
  codeOf,
  describeEngines,
  failureOf,
  isHostOnly,
  mountAt,
  mountsIn,
  SHIFT_DOWN,
  SHIFT_UP,
  spoken,
} from './engines.ts';

const overlayOf = (...options: string[]): Mount => ({ type: 'overlay', source: 'overlay', options });
const lowerdir = (paths: readonly string[]): string => `lowerdir=${paths.map(escapeLayer).join(':')}`;
const read = (path: string): string => readFileSync(path, 'utf8');

describeEngines('an overlay', (bench) => {
  it('of two layers shows both, the first on top', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/same': 'a', 'a/of-a': 'a', 'b/same': 'b', 'b/of-b': 'b' });
    await bench.mount(overlayOf(lowerdir([place.at('a'), place.at('b')])), place.at('target'));
    expect(readdirSync(place.at('target')).toSorted()).to.deep.equal(['of-a', 'of-b', 'same']);
    expect(read(place.at('target/same'))).to.equal('a');
    expect(codeOf(() => writeFileSync(place.at('target/x'), ''))).to.equal('EROFS');
    await bench.unmount(place.at('target'));
  });

  it('of a single layer shows just that', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/file': 'a' });
    await bench.mount(overlayOf(lowerdir([place.at('a')])), place.at('target'));
    expect(readdirSync(place.at('target'))).to.deep.equal(['file']);
    await bench.unmount(place.at('target'));
  });

  it('with idmapped layers takes those on other mounts, behind links and at any depth', async function () {
    needMappedTmpfs(this);
    using place = mountPlace();
    writeFiles(place.path, { 'a/f': { uid: 1000, gid: 1000 }, 'deep/er/b/g': { uid: 1001, gid: 1001 } });
    writeFiles(place.path, { 'c/': '', 'real/d/i': { uid: 1003, gid: 1003 } });
    symlinkSync('real', place.at('link'));
    await bench.mount({ type: 'tmpfs', source: 'tmpfs', options: [] }, place.at('c'));
    writeFiles(place.path, { 'c/e/h': { uid: 1002, gid: 1002 }, 'c/e2/j': { uid: 1004, gid: 1004 } });
    const layers = ['a', 'deep/er/b', 'c/e', 'link/d', 'c/e2'].map((name) => place.at(name));
    await bench.mount(overlayOf(lowerdir(layers), ...SHIFT_DOWN), place.at('target'));
    const shown = ['f', 'g', 'h', 'i', 'j'].map((name) => ownerOf(place.at('target', name)));
    expect(shown).to.deep.equal(['0:0', '1:1', '2:2', '3:3', '4:4']);
    await bench.unmount(place.at('target'));
    await bench.unmount(place.at('c'));
  });

  it('read-only is so in its superblock too', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/': '', 'b/': '' });
    await bench.mount(overlayOf(lowerdir([place.at('a'), place.at('b')]), 'ro'), place.at('target'));
    expect(mountAt(place.at('target'))).to.include({ type: 'overlay', source: 'overlay' });
    expect(mountAt(place.at('target')).superblockOptions).to.include('ro');
    await bench.unmount(place.at('target'));
  });

  it('with idmapped layers shows their owners mapped, single or several', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/f': { uid: 1000, gid: 1001 }, 'b/g': { uid: 1002, gid: 1003 } });
    for (const layers of [[place.at('a'), place.at('b')], [place.at('b')]]) {
      await bench.mount(overlayOf(lowerdir(layers), ...SHIFT_DOWN), place.at('target'));
      expect(ownerOf(place.at('target/g'))).to.equal('2:3');
      if (layers.length === 2) expect(ownerOf(place.at('target/f'))).to.equal('0:1');
      await bench.unmount(place.at('target'));
    }
    expect(ownerOf(place.at('a/f'))).to.equal('1000:1001');
  });

  const refusesLongNames = async (count: number): Promise<void> => {
    using place = mountPlace();
    const layers = Array.from({ length: count }, (_, i) => place.at(`${i}`.padEnd(200, 'x')));
    const error = await failureOf(bench.mount(overlayOf(lowerdir(layers)), place.at('target')), {
      reason: 'invalid-mount',
      rolledBack: true,
    });
    expect(error.message).to.match(/mount\(2\) takes 4095; use fewer layers or shorter paths/);
  };
  for (const count of [100, 500]) {
    for (const [title, ids] of [
      ['', []],
      [', idmapped', SHIFT_UP],
    ] as const) {
      it(`takes ${count} layers with names of 200 characters${title}`, async () => {
        // Unmapped ones have nothing shorter than their names where only the host is left to put them.
        if (ids.length === 0 && isHostOnly(bench)) return refusesLongNames(count);
        using place = mountPlace();
        const names = Array.from({ length: count }, (_, i) => `${i}`.padEnd(200, 'x'));
        const layers = names.map((name) => place.at('layers', name));
        writeFiles(
          place.at('layers'),
          Object.fromEntries(names.map((name, i) => [`${name}/file${i}`, `${i}`])),
        );
        await bench.mount(overlayOf(lowerdir(layers), ...ids), place.at('target'));
        expect(readdirSync(place.at('target'))).to.have.length(count);
        expect(read(place.at('target', `file${count - 1}`))).to.equal(`${count - 1}`);
        expect(ownerOf(place.at('target/file0'))).to.equal(ids.length ? '100000:100000' : '0:0');
        await bench.unmount(place.at('target'));
      });
    }
  }

  it('leaves the filesystem of its layers as soon as it is gone, however they were named', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'disk/': '', 'target/': '' });
    mountCommand('-t', 'tmpfs', 'disk', place.at('disk'));
    // More than a page of names, and less of names relative to their directory.
    const names = Array.from({ length: 60 }, (_, i) => `${i}`.padEnd(50, 'x'));
    writeFiles(place.at('disk'), Object.fromEntries(names.map((name) => [`${name}/file`, name])));
    await bench.mount(overlayOf(lowerdir(names.map((name) => place.at('disk', name)))), place.at('target'));
    expect(read(place.at('target/file'))).to.equal(names[0]);
    await bench.unmount(place.at('target'));
    expect(await bench.unmount(place.at('disk'))).to.equal(1);
  });

  it('refuses the 501st layer in plain words', async () => {
    using place = mountPlace();
    const layers = Array.from({ length: 501 }, () => place.path);
    const error = await failureOf(bench.mount(overlayOf(lowerdir(layers)), place.at('target')), {
      reason: 'invalid-mount',
      rolledBack: true,
    });
    expect(error.message).to.equal('lowerdir: 501 layers, the kernel takes at most 500; merge some');
  });

  const names = [
    'a:b',
    'a,b',
    'a\\b',
    'a b',
    ' ',
    'a=b',
    '"a"',
    '\\',
    'ä日本',
    'a\nb',
    'x'.repeat(200),
    '-',
    '#',
  ];
  it('takes layers of any name', async () => {
    using place = mountPlace();
    const layers = names.map((name) => place.at('layers', name));
    for (const [i, layer] of layers.entries()) writeFiles(layer, { [`file${i}`]: `${i}` });
    for (const ids of [[], SHIFT_UP]) {
      await bench.mount(overlayOf(lowerdir(layers), ...ids), place.at('target'));
      expect(readdirSync(place.at('target'))).to.have.length(names.length);
      for (const i of names.keys()) expect(read(place.at('target', `file${i}`))).to.equal(`${i}`);
      await bench.unmount(place.at('target'));
    }
  });

  it('takes an upper layer, and a target, of any name', async () => {
    using place = mountPlace();
    for (const name of names) {
      writeFiles(place.path, { 'lower/': '' });
      writeFiles(place.at(name), { 'upper/': '', 'work/': '' });
      const options = [
        lowerdir([place.at('lower')]),
        `upperdir=${escapeLayer(place.at(name, 'upper'))}`,
        `workdir=${escapeLayer(place.at(name, 'work'))}`,
      ];
      const target = place.at(name, 'target');
      await bench.mount(overlayOf(...options), target);
      writeFileSync(`${target}/made`, name);
      expect(read(place.at(name, 'upper/made')), name).to.equal(name);
      const looked = await bench.engine.lookup({ target: { path: target } });
      expect(looked).to.have.nested.property('mount.target', target);
      expect(await bench.unmount(target)).to.equal(1);
    }
  });

  it('takes layers at long paths, many at once, however long they are together', async () => {
    using place = mountPlace();
    const layers = Array.from({ length: 60 }, (_, i) => place.at(`${i}-${'y'.repeat(100)}`, 'z'.repeat(100)));
    for (const [i, layer] of layers.entries()) writeFiles(layer, { [`file${i}`]: '' });
    await bench.mount(overlayOf(lowerdir(layers), ...SHIFT_UP), place.at('target'));
    expect(readdirSync(place.at('target'))).to.have.length(60);
    await bench.unmount(place.at('target'));
  });

  it('writes to the upper layer, and nowhere else', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'lower/old': 'old', 'lower/gone': '', 'upper/': '', 'work/': '' });
    const options = [
      lowerdir([place.at('lower')]),
      `upperdir=${place.at('upper')}`,
      `workdir=${place.at('work')}`,
    ];
    await bench.mount(overlayOf(...options), place.at('target'));
    writeFileSync(place.at('target/old'), 'changed');
    writeFileSync(place.at('target/new'), 'new');
    rmSync(place.at('target/gone'));
    expect(await bench.unmount(place.at('target'))).to.equal(1);
    expect(readdirSync(place.at('upper')).toSorted()).to.deep.equal(['gone', 'new', 'old']);
    expect([read(place.at('upper/old')), read(place.at('lower/old'))]).to.deep.equal(['changed', 'old']);
    expect(readdirSync(place.at('lower'))).to.deep.equal(['gone', 'old']);
    // It goes on where it was.
    await bench.mount(overlayOf(...options), place.at('target'));
    expect(readdirSync(place.at('target')).toSorted()).to.deep.equal(['new', 'old']);
    await bench.unmount(place.at('target'));
  });

  it('writable over idmapped layers copies files up under their mapped owners', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'lower/f': { uid: 1000, gid: 1000 }, 'upper/': '', 'work/': '' });
    const options = [
      lowerdir([place.at('lower')]),
      `upperdir=${place.at('upper')}`,
      `workdir=${place.at('work')}`,
    ];
    await bench.mount(overlayOf(...options, ...SHIFT_DOWN), place.at('target'));
    writeFileSync(place.at('target/f'), 'x');
    expect(ownerOf(place.at('target/f'))).to.equal('0:0');
    await bench.unmount(place.at('target'));
    expect(ownerOf(place.at('upper/f'))).to.equal('0:0');
  });

  it('read-only with an upper layer shows it and takes nothing', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'lower/a': '', 'upper/b': '', 'work/': '' });
    const options = [
      lowerdir([place.at('lower')]),
      `upperdir=${place.at('upper')}`,
      `workdir=${place.at('work')}`,
    ];
    await bench.mount(overlayOf(...options, 'ro'), place.at('target'));
    expect(readdirSync(place.at('target')).toSorted()).to.deep.equal(['a', 'b']);
    expect(codeOf(() => writeFileSync(place.at('target/b'), 'x'))).to.equal('EROFS');
    await bench.unmount(place.at('target'));
  });

  it('does not show data-only layers by themselves', async function () {
    needKernel(this, '6.5', 'overlay has no data-only layers');
    using place = mountPlace();
    writeFiles(place.path, { 'a/file': '', 'data/hidden': '' });
    const options = `${lowerdir([place.at('a')])}::${place.at('data')}`;
    await bench.mount(overlayOf(options, 'metacopy=on', 'redirect_dir=on'), place.at('target'));
    expect(readdirSync(place.at('target'))).to.deep.equal(['file']);
    expect(mountAt(place.at('target')).superblockOptions.join()).to.match(/metacopy=on/);
    await bench.unmount(place.at('target'));
  });

  for (const ids of [[], SHIFT_UP] as const) {
    it(`names the ${ids.length ? 'idmapped ' : ''}layer that is missing, and leaves nothing`, async () => {
      using place = mountPlace();
      writeFiles(place.path, { 'a/': '' });
      const layers = lowerdir([place.at('a'), place.at('missing')]);
      const error = await failureOf(bench.mount(overlayOf(layers, ...ids), place.at('target')), {
        reason: 'source-not-found',
        rolledBack: true,
        errno: 'ENOENT',
      });
      expect(error.message).to.contain(`${place.at('missing')} does not exist`);
      expect(mountsIn(place.path)).to.equal(1);
      expect(readdirSync(place.path)).to.deep.equal(['a']);
    });
  }

  for (const missing of ['upper', 'work']) {
    it(`names the ${missing}dir that is missing`, async () => {
      using place = mountPlace();
      writeFiles(place.path, { 'lower/': '', 'upper/': '', 'work/': '' });
      rmSync(place.at(missing), { recursive: true });
      const options = [
        lowerdir([place.at('lower')]),
        `upperdir=${place.at('upper')}`,
        `workdir=${place.at('work')}`,
      ];
      const error = await failureOf(bench.mount(overlayOf(...options), place.at('target')), {
        reason: 'source-not-found',
        rolledBack: true,
      });
      expect(error.message).to.contain(`${place.at(missing)} does not exist`);
      expect(existsSync(place.at('target'))).to.equal(false);
    });
  }

  it('is refused where a layer is a file', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/': '', file: '' });
    const layers = lowerdir([place.at('a'), place.at('file')]);
    await failureOf(bench.mount(overlayOf(layers), place.at('target')), { rolledBack: true });
    expect(mountsIn(place.path)).to.equal(1);
  });

  it('that comes out read-only is refused: its upper layer is on an idmapped mount', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'disk/upper/': '', 'disk/work/': '', 'lower/': '' });
    await bench.mount({ type: 'bind', source: place.at('disk'), options: [...SHIFT_UP] }, place.at('mapped'));
    const options = [
      lowerdir([place.at('lower')]),
      `upperdir=${place.at('mapped/upper')}`,
      `workdir=${place.at('mapped/work')}`,
    ];
    const error = await failureOf(bench.mount(overlayOf(...options), place.at('target')), {
      reason: 'not-writable',
      rolledBack: true,
    });
    expect(error.message).to.contain('the overlay came out read-only');
    expect(existsSync(place.at('target'))).to.equal(false);
    await bench.unmount(place.at('mapped'));
    expect(mountsIn(place.path)).to.equal(1);
  });

  it('that comes out read-only is refused: its upper layer is on a read-only mount', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'disk/upper/': '', 'disk/work/': '', 'lower/': '' });
    await bench.mount({ type: 'bind', source: place.at('disk'), options: ['ro'] }, place.at('mapped'));
    const options = [
      lowerdir([place.at('lower')]),
      `upperdir=${place.at('mapped/upper')}`,
      `workdir=${place.at('mapped/work')}`,
    ];
    await failureOf(bench.mount(overlayOf(...options), place.at('target')), { rolledBack: true });
    await bench.unmount(place.at('mapped'));
  });

  it("with an option that overlay does not know is refused with the kernel's words", async () => {
    using place = mountPlace();
    const mount = overlayOf(lowerdir([place.path]), 'nonsense=on');
    const error = await failureOf(bench.mount(mount, place.at('target')), {
      reason: 'invalid-mount',
      rolledBack: true,
      errno: 'EINVAL',
    });
    // mount(2) answers with an errno and no words, and so did overlay until it learnt of fsconfig(2).
    const words =
      spoken(bench) && !kernelIsBefore('6.5')
        ? "overlay: Unknown parameter 'nonsense'"
        : 'does not take one of';
    expect(error.message).to.contain(words);
  });

  it('has all of its options, or is refused where mount(2) cannot be told them', async () => {
    using place = mountPlace();
    const layers = Array.from({ length: 60 }, (_, i) => `layers/${i}/`);
    writeFiles(place.path, Object.fromEntries(layers.map((name) => [name, ''])));
    const many = Array.from({ length: 250 }, () => 'redirect_dir=nofollow');
    const options = [lowerdir(layers.map((name) => place.at(name))), ...many, 'userxattr'];
    try {
      await bench.mount(overlayOf(...options), place.at('target'));
    } catch (error) {
      await failureOf(Promise.reject(error), { rolledBack: true });
      expect(String(error)).to.match(/mount\(2\) takes 4095; use fewer/);
      expect(bench.tier === 'fd' && spoken(bench) && !kernelIsBefore('6.15')).to.equal(false);
      return;
    }
    expect(mountAt(place.at('target')).superblockOptions).to.include('userxattr');
    await bench.unmount(place.at('target'));
  });

  it('is refused where upperdir and workdir are on two filesystems', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'lower/': '', 'upper/': '' });
    await bench.mount({ type: 'tmpfs', source: 'x', options: [] }, place.at('work'));
    const options = [
      lowerdir([place.at('lower')]),
      `upperdir=${place.at('upper')}`,
      `workdir=${place.at('work')}`,
    ];
    await failureOf(bench.mount(overlayOf(...options), place.at('target')), {
      reason: 'invalid-mount',
      rolledBack: true,
    });
    await bench.unmount(place.at('work'));
  });

  it('is made twice from the same frozen Mount', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/f': { uid: 1000, gid: 1000 } });
    const options = Object.freeze([lowerdir([place.at('a')]), 'ro', ...SHIFT_DOWN]);
    const mount: Mount = Object.freeze({ type: 'overlay', source: 'o', options });
    await bench.mount(mount, place.at('one'));
    await bench.mount(mount, place.at('two'));
    expect([ownerOf(place.at('one/f')), ownerOf(place.at('two/f'))]).to.deep.equal(['0:0', '0:0']);
    await bench.unmount(place.at('one'));
    await bench.unmount(place.at('two'));
  });
});
