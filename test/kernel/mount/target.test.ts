// Where a mount goes: targets that are made and removed again, targets that must lie below a directory, and sets
// of mounts.
import { existsSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountCommand, mountPlace, ownerOf, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { describeEngines, failureOf, mountAt, mountsIn, SHIFT_UP } from './engines.ts';

const TMPFS: Mount = { type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] };

describeEngines('a target', (bench) => {
  it('is made where it is missing, for its owner and group alone, and kept', async () => {
    using place = mountPlace();
    await bench.mount(TMPFS, place.at('target'));
    await bench.unmount(place.at('target'));
    expect(statSync(place.at('target')).mode & 0o7777).to.equal(0o750);
  });

  it('that was made is removed when the mount fails, one that was there is kept', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'there/': '' });
    const broken: Mount = { ...TMPFS, options: ['nonsense'] };
    for (const name of ['there', 'new']) {
      await failureOf(bench.mount(broken, place.at(name)), { reason: 'invalid-mount', rolledBack: true });
    }
    expect(readdirSync(place.path)).to.deep.equal(['there']);
  });

  it('that is missing and not to be made is a bad target', async () => {
    using place = mountPlace();
    const target = { path: place.at('missing') };
    const error = await failureOf(bench.engine.mountAll({ mounts: [TMPFS], target }), {
      reason: 'bad-target',
      rolledBack: true,
    });
    expect(error.message).to.equal(`target ${place.at('missing')}: does not exist`);
  });

  it('is not made together with its parent', async () => {
    using place = mountPlace();
    const error = await failureOf(bench.mount(TMPFS, place.at('missing/target')), {
      reason: 'bad-target',
      rolledBack: true,
    });
    expect(error.message).to.contain('its parent directory does not exist');
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  it('that should be a directory and is a file is a bad target, and the other way round', async () => {
    using place = mountPlace();
    writeFiles(place.path, { file: '', 'directory/': '' });
    for (const [name, create] of [
      ['file', 'directory'],
      ['directory', 'file'],
    ] as const) {
      const request = { mounts: [TMPFS], target: { path: place.at(name) }, create };
      const error = await failureOf(bench.engine.mountAll(request), {
        reason: 'bad-target',
        rolledBack: true,
      });
      expect(error.message).to.contain(`exists and is not a ${create}`);
    }
    expect(mountsIn(place.path)).to.equal(1);
  });

  for (const path of ['', '/', '.', '..', '/tmp/..']) {
    it(`named ${JSON.stringify(path)} is no place to mount at`, async () => {
      await failureOf(bench.engine.mountAll({ mounts: [TMPFS], target: { path } }), { reason: 'bad-target' });
    });
  }

  it('may be reached by links where nothing says that it must not', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'real/target/': '' });
    symlinkSync('real', place.at('link'));
    await bench.mount(TMPFS, place.at('link/target'));
    expect(mountAt(place.at('real/target')).type).to.equal('tmpfs');
    await bench.unmount(place.at('link/target'));
  });

  for (const create of [undefined, 'directory', 'file'] as const) {
    for (const kind of ['directory', 'file'] as const) {
      it(`that is itself a symbolic link is a bad target for a ${kind}, ${create ? `to be made as a ${create}` : 'not to be made'}`, async () => {
        using place = mountPlace();
        writeFiles(place.path, { 'real/': '', file: '', source: '' });
        const mount: Mount =
          kind === 'file' ? { type: 'bind', source: place.at('source'), options: [] } : TMPFS;
        for (const to of ['real', 'file', 'missing']) {
          symlinkSync(to, place.at(`link-to-${to}`));
          const target = { path: place.at(`link-to-${to}`) };
          const request = { mounts: [mount], target, ...(create && { create }) };
          await failureOf(bench.engine.mountAll(request), { reason: 'bad-target', rolledBack: true });
        }
        expect(mountsIn(place.path)).to.equal(1);
        expect(existsSync(place.at('missing'))).to.equal(false);
      });
    }
  }
});

describeEngines('a target beneath a directory', (bench) => {
  const mountBeneath = (path: string, beneath: string) =>
    bench.engine.mountAll({ mounts: [TMPFS], target: { path, beneath }, create: 'directory' });

  it('is mounted at, looked up and unmounted there', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'root/a/b/': '' });
    const target = { path: place.at('root/a/b/target'), beneath: place.at('root') };
    await bench.engine.mountAll({ mounts: [TMPFS], target, create: 'directory' });
    expect(await bench.engine.lookup({ target }))
      .to.have.property('mount')
      .that.includes({ type: 'tmpfs', target: target.path });
    expect(await bench.engine.unmount({ target, remove: 'directory' })).to.equal(1);
    expect(readdirSync(place.at('root/a/b'))).to.deep.equal([]);
  });

  it('may be right below it, and have any name', async () => {
    using place = mountPlace();
    for (const name of ['target', '..data', '...', 'a b', '-', 'ä\\:,']) {
      const target = { path: place.at(name), beneath: place.path };
      await bench.engine.mountAll({ mounts: [TMPFS], target, create: 'directory' });
      expect(await bench.engine.unmount({ target, remove: 'directory' }), name).to.equal(1);
    }
  });

  it('may lie below a directory whose name begins with two dots', async () => {
    using place = mountPlace();
    writeFiles(place.path, { '..data/': '' });
    const target = { path: place.at('..data/target'), beneath: place.path };
    await bench.engine.mountAll({ mounts: [TMPFS], target, create: 'directory' });
    expect(await bench.engine.unmount({ target })).to.equal(1);
  });

  const outside: readonly [title: string, path: string, why: RegExp][] = [
    ['outside of it', 'other/target', /must lie below/],
    ['outside of it, by ..', 'root/../other/target', /must lie below/],
    ['outside of it, by .. further down', 'root/a/../../other/target', /must lie below/],
    ['of a name that begins like it', 'rooted/target', /must lie below/],
    ['behind a symbolic link', 'root/link/target', /without symbolic links/],
    ['behind a symbolic link that stays inside', 'root/inner/target', /without symbolic links/],
    ['behind an absolute symbolic link', 'root/absolute/target', /without symbolic links/],
    ['behind a file', 'root/file/target', /not a directory/],
    ['behind nothing', 'root/missing/target', /parent directory does not exist/],
    ['that is the directory itself', 'root', /must lie below/],
  ];
  for (const [title, path, why] of outside) {
    it(`is a bad target ${title}`, async () => {
      using place = mountPlace();
      writeFiles(place.path, { 'root/a/': '', 'other/': '', 'rooted/': '', 'root/file': '' });
      symlinkSync('../other', place.at('root/link'));
      symlinkSync('a', place.at('root/inner'));
      symlinkSync(place.at('root/a'), place.at('root/absolute'));
      // By hand, since join() would take the dots away.
      const error = await failureOf(mountBeneath(`${place.path}/${path}`, place.at('root')), {
        reason: 'bad-target',
        rolledBack: true,
      });
      expect(error.message).to.match(why);
      expect(mountsIn(place.path)).to.equal(1);
      expect([readdirSync(place.at('other')), readdirSync(place.at('root/a'))]).to.deep.equal([[], []]);
    });
  }

  it('is a bad target behind a magic link', async () => {
    await failureOf(mountBeneath('/proc/self/cwd/target', '/proc'), {
      reason: 'bad-target',
      rolledBack: true,
    });
    await failureOf(mountBeneath(`/proc/${process.pid}/root/tmp/target`, '/proc'), {
      reason: 'bad-target',
      rolledBack: true,
    });
  });

  it('is not unmounted, looked up or asked for its usage through a link either', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'root/': '', 'other/target/': '' });
    symlinkSync('../other', place.at('root/link'));
    await bench.mount(TMPFS, place.at('other/target'));
    const target = { path: place.at('root/link/target'), beneath: place.at('root') };
    for (const call of ['unmount', 'lookup', 'usage'] as const) {
      await failureOf(bench.engine[call]({ target }), { reason: 'bad-target' });
    }
    expect(mountAt(place.at('other/target')).type).to.equal('tmpfs');
    await bench.unmount(place.at('other/target'));
  });

  it('may have links above the directory that it lies beneath', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'real/root/': '' });
    symlinkSync('real', place.at('link'));
    await mountBeneath(place.at('link/root/target'), place.at('link/root'));
    expect(await bench.unmount(place.at('real/root/target'))).to.equal(1);
  });
});

describeEngines('a set of mounts', (bench) => {
  const setAt = (root: string, mounts: readonly Mount[]) =>
    bench.engine.mountAll({ mounts, target: { path: root }, create: 'directory' });

  it('is mounted in order: one at the same place comes over those before it', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'a/of-a': '', 'b/of-b': '' });
    await setAt(place.at('root'), [
      { type: 'bind', source: place.at('a'), options: [...SHIFT_UP] },
      { type: 'bind', source: place.at('b'), target: '', options: ['ro'] },
    ]);
    expect(readdirSync(place.at('root'))).to.deep.equal(['of-b']);
    expect(await bench.engine.unmount({ target: { path: place.at('root') } })).to.equal(1);
    expect(ownerOf(place.at('root/of-a'))).to.equal('100000:100000');
    expect(await bench.engine.unmount({ target: { path: place.at('root') } })).to.equal(1);
  });

  it('has its parts below what was mounted before them', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/a/b/': '', 'source/c/': '' });
    await setAt(place.at('root'), [
      { type: 'bind', source: place.at('source'), options: ['ro'] },
      { ...TMPFS, target: 'a/b' },
      { ...TMPFS, target: '/c' },
    ]);
    writeFileSync(place.at('root/a/b/x'), '');
    writeFileSync(place.at('root/c/x'), '');
    expect(readdirSync(place.at('source/a/b'))).to.deep.equal([]);
    expect(mountsIn(place.at('root'))).to.equal(3);
    expect(await bench.engine.unmount({ target: { path: place.at('root') }, lazy: true })).to.equal(1);
    expect(mountsIn(place.at('root'))).to.equal(0);
  });

  it('is undone, whole, when its last mount fails', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'source/a/': '', 'source/b/': '' });
    const mounts: readonly Mount[] = [
      { type: 'bind', source: place.at('source'), options: [...SHIFT_UP] },
      { ...TMPFS, target: 'a' },
      { type: 'bind', source: place.at('missing'), target: 'b', options: [] },
    ];
    await failureOf(setAt(place.at('root'), mounts), { reason: 'source-not-found', rolledBack: true });
    expect(mountsIn(place.path)).to.equal(1);
    expect(readdirSync(place.path)).to.deep.equal(['source']);
  });

  it('is undone where others are mounted already, and these stay', async () => {
    using place = mountPlace();
    await bench.mount(TMPFS, place.at('root'));
    const { id } = mountAt(place.at('root'));
    await failureOf(setAt(place.at('root'), [TMPFS, { ...TMPFS, options: ['nonsense'] }]), {
      rolledBack: true,
    });
    expect(mountAt(place.at('root')).id).to.equal(id);
    expect(await bench.unmount(place.at('root'))).to.equal(1);
  });

  it('is refused before anything is done when any of its mounts cannot be', async () => {
    using place = mountPlace();
    const mounts = [TMPFS, { ...TMPFS, options: ['uidmap=0:1:1'] }];
    await failureOf(setAt(place.at('root'), mounts), { reason: 'invalid-mount', rolledBack: true });
    expect(readdirSync(place.path)).to.deep.equal([]);
  });

  const outside: readonly [title: string, target: string][] = [
    ['..', '../elsewhere'],
    ['.. further on', 'a/../../elsewhere'],
    ['a symbolic link on the way', 'link/elsewhere'],
    ['a symbolic link at the end', 'link'],
    ['a missing directory on the way', 'missing/x'],
    ['a missing directory at the end', 'missing'],
  ];
  for (const [title, target] of outside) {
    it(`is undone when a part would lie behind ${title}`, async () => {
      using place = mountPlace();
      writeFiles(place.path, { 'source/a/': '', 'elsewhere/elsewhere/': '' });
      symlinkSync(place.at('elsewhere'), place.at('source/link'));
      const mounts: readonly Mount[] = [
        { type: 'bind', source: place.at('source'), options: [] },
        { ...TMPFS, target },
      ];
      await failureOf(setAt(place.at('root'), mounts), { reason: 'bad-target', rolledBack: true });
      expect(mountsIn(place.path)).to.equal(1);
      expect(existsSync(place.at('root'))).to.equal(false);
    });
  }

  it('leaves no file descriptor behind, however it fails, 200 times', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'layer/': '', 'disk/upper/': '', 'disk/work/': '', file: '', 'mapped/': '' });
    await bench.mount({ type: 'bind', source: place.at('disk'), options: [...SHIFT_UP] }, place.at('mapped'));
    const overlay = (...options: string[]): Mount => ({
      type: 'overlay',
      source: 'o',
      options: [`lowerdir=${place.at('layer')}`, ...options, ...SHIFT_UP],
    });
    const upper = (at: string) => [`upperdir=${join(at, 'upper')}`, `workdir=${join(at, 'work')}`];
    const failing: readonly Mount[] = [
      { type: 'bind', source: place.at('missing'), options: [...SHIFT_UP] },
      { type: 'bind', source: '/proc', options: [...SHIFT_UP] },
      { type: 'bind', source: place.at('file'), options: [...SHIFT_UP] },
      { ...TMPFS, options: ['nonsense', ...SHIFT_UP] },
      overlay(...upper(place.at('missing'))),
      overlay(...upper(place.at('mapped'))),
      overlay('nonsense'),
      { ...TMPFS, target: 'missing' },
    ];
    const tryAll = async (times: number) => {
      for (let i = 0; i < times; i++) {
        const mount = failing[i % failing.length] ?? TMPFS;
        await failureOf(setAt(place.at('target'), [TMPFS, mount]), { rolledBack: true });
      }
    };
    await tryAll(failing.length);
    const before = bench.openDescriptors();
    await tryAll(200);
    expect(bench.openDescriptors()).to.deep.equal(before);
    await bench.unmount(place.at('mapped'));
    expect(mountsIn(place.path)).to.equal(1);
  });

  it('does not take part in what others mount at the same place meanwhile', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'root/': '' });
    mountCommand('-t', 'tmpfs', 'other', place.at('root'));
    await setAt(place.at('root'), [TMPFS]);
    expect(mountAt(place.at('root')).source).to.equal('tmpfs');
    unmountCommand(place.at('root'));
    expect(mountAt(place.at('root')).source).to.equal('other');
    unmountCommand(place.at('root'));
  });
});
