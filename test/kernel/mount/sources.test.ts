// Sources that must lie below roots: found there by whatever leads there, refused where anything leads out, by every kind
// of mount and operation that names one; and whoever exchanges names during the call wins nothing.
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { expect } from 'chai';
import type { MountReason } from '../../../src/mount/errors.ts';
import { attachLoop, detachLoop, loopDevicesOf } from '../../../src/mount/loop.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import type { SourceRoot } from '../../../src/mount/source.ts';
import {
  mountCommand,
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { expectNoLoops, makeImage, makeTinyImage } from '../../support/images.ts';
import { needTool } from '../../support/need.ts';
import { type Bench, describeEngines, failureOf, mountAt, mountsIn, SHIFT_UP } from './engines.ts';
import { squashfs } from './helpers.ts';

const MIB = 2 ** 20;
const IDS = [
  ['', []],
  [', mapped', SHIFT_UP],
] as const;

const identityOf = (path: string): string => {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
};

/** `root` with directories, a file and images in it, `outside` with the same. */
function twoTrees(): TemporaryDirectory {
  const place = mountPlace();
  for (const tree of ['root', 'outside']) {
    writeFiles(place.at(tree), {
      'dir/file': tree,
      'other/of-other': tree,
      file: tree,
      'w/upper/': '',
      'w/work/': '',
    });
  }
  return place;
}

const bind = (source: string, ...options: string[]): Mount => ({ type: 'bind', source, options });
const overlay = (...options: string[]): Mount => ({ type: 'overlay', source: 'overlay', options });

function mountFrom(
  bench: Bench,
  place: TemporaryDirectory,
  mount: Mount,
  {
    sourceRoots = [{ path: place.at('root') }],
    create = 'directory',
  }: { sourceRoots?: readonly SourceRoot[]; create?: 'directory' | 'file' } = {},
): Promise<void> {
  const target = { path: place.at('target') };
  return bench.engine.mountAll({ mounts: [mount], target, create, sourceRoots }).then(() => undefined);
}

const unmountFrom = (bench: Bench, place: TemporaryDirectory) =>
  bench.engine.unmount({ target: { path: place.at('target') }, remove: 'directory' });

describeEngines('a source below a root', (bench) => {
  it('is bound, a directory or a file, and the root itself', async () => {
    using place = twoTrees();
    for (const source of ['root/dir', 'root', 'root/', 'root//.//dir/.', 'root/dir/']) {
      for (const type of ['bind', 'rbind']) {
        await mountFrom(bench, place, { type, source: `${place.path}/${source}`, options: [] });
        expect(identityOf(place.at('target')), source).to.equal(identityOf(place.at(source)));
        await unmountFrom(bench, place);
      }
    }
    await mountFrom(bench, place, bind(place.at('root/file'), 'ro'), { create: 'file' });
    expect(identityOf(place.at('target'))).to.equal(identityOf(place.at('root/file')));
    await bench.engine.unmount({ target: { path: place.at('target') }, remove: 'file' });
  });

  it('is found by relative links that stay inside, and by one that goes up and comes down again', async () => {
    using place = twoTrees();
    symlinkSync('dir', place.at('root/link'));
    symlinkSync('../other/../link', place.at('root/dir/link'));
    for (const name of ['root/link', 'root/dir/link', 'root/link/link']) {
      await mountFrom(bench, place, bind(place.at(name)));
      expect(identityOf(place.at('target')), name).to.equal(identityOf(place.at('root/dir')));
      await unmountFrom(bench, place);
    }
  });

  it('is found in a root that is a symbolic link, or lies behind one', async () => {
    using place = twoTrees();
    symlinkSync('root', place.at('alias'));
    symlinkSync('.', place.at('here'));
    for (const root of ['alias', 'here/root', 'alias/']) {
      const sourceRoots = [{ path: `${place.path}/${root}` }];
      await mountFrom(bench, place, bind(place.at(root, 'dir')), { sourceRoots });
      expect(identityOf(place.at('target')), root).to.equal(identityOf(place.at('root/dir')));
      await unmountFrom(bench, place);
    }
  });

  it('is found in the longest root that fits', async () => {
    using place = twoTrees();
    symlinkSync('../other', place.at('root/dir/up'));
    const wide = { path: place.at('root') };
    const narrow = { path: place.at('root/dir') };
    for (const sourceRoots of [
      [wide, narrow],
      [narrow, wide],
    ]) {
      const mounting = mountFrom(bench, place, bind(place.at('root/dir/up')), { sourceRoots });
      await failureOf(mounting, { reason: 'source-outside-roots' });
    }
  });

  it('is mapped', async () => {
    using place = twoTrees();
    await mountFrom(bench, place, bind(place.at('root/dir'), ...SHIFT_UP));
    expect(ownerOf(place.at('target/file'))).to.equal('100000:100000');
    await unmountFrom(bench, place);
  });

  for (const [title, ids] of IDS) {
    it(`is a layer, one or two${title}`, async () => {
      using place = twoTrees();
      symlinkSync('dir', place.at('root/link'));
      for (const [layers, names] of [
        [
          [place.at('root/link'), place.at('root/other')],
          ['file', 'of-other'],
        ],
        [[place.at('root/link')], ['file']],
      ] as const) {
        await mountFrom(bench, place, overlay(`lowerdir=${layers.join(':')}`, ...ids));
        expect(readdirSync(place.at('target')).toSorted()).to.deep.equal(names);
        expect(readFileSync(place.at('target/file'), 'utf8')).to.equal('root');
        expect(ownerOf(place.at('target/file'))).to.equal(ids.length > 0 ? '100000:100000' : '0:0');
        await unmountFrom(bench, place);
      }
    });

    it(`is the upper layer of an overlay${title}, which no other overlay gets`, async () => {
      using place = twoTrees();
      symlinkSync('w', place.at('root/link'));
      const lowerdir = `lowerdir=${place.at('root/dir')}:${place.at('root/other')}`;
      const upper = [`upperdir=${place.at('root/link/upper')}`, `workdir=${place.at('root/w/work')}`];
      await mountFrom(bench, place, overlay(lowerdir, ...upper, ...ids));
      writeFileSync(place.at('target/made'), 'made');
      expect(readFileSync(place.at('root/w/upper/made'), 'utf8')).to.equal('made');
      for (const second of [{}, { sourceRoots: [{ path: place.at('root') }] }]) {
        const request = {
          mounts: [overlay(lowerdir, ...upper)],
          target: { path: place.at('two') },
          ...second,
        };
        const mounting = bench.engine.mountAll({ ...request, create: 'directory' });
        await failureOf(mounting, { reason: 'upperdir-in-use', rolledBack: true });
      }
      await unmountFrom(bench, place);
    });
  }

  it('is one of three hundred layers with long names', async () => {
    using place = twoTrees();
    const names = Array.from({ length: 300 }, (_, i) => `${i}`.padEnd(100, 'x'));
    writeFiles(place.at('root'), Object.fromEntries(names.map((name, i) => [`${name}/file${i}`, ''])));
    await mountFrom(
      bench,
      place,
      overlay(`lowerdir=${names.map((name) => place.at('root', name)).join(':')}`),
    );
    expect(readdirSync(place.at('target'))).to.have.length(300);
    await unmountFrom(bench, place);
  });

  it('is an image: on a loop device, of a type to be found out, and erofs', async function () {
    using place = twoTrees();
    const ext4 = makeTinyImage(this, place.at('root/ext4'));
    const erofs = makeImage(this, 'erofs', place.at('root/erofs'), place.at('root/dir'));
    symlinkSync('ext4', place.at('root/link'));
    needTool(this, 'blkid', 'finds out the type');
    const mounts: readonly [Mount, type: string][] = [
      [{ type: 'ext4', source: ext4, options: ['loop'] }, 'ext4'],
      [{ type: 'ext4', source: place.at('root/link'), options: ['loop', 'ro'] }, 'ext4'],
      [{ type: 'auto', source: place.at('root/link'), options: [] }, 'ext4'],
      [{ type: 'erofs', source: erofs, options: ['loop'] }, 'erofs'],
      [{ type: 'auto', source: erofs, options: [] }, 'erofs'],
    ];
    for (const [mount, type] of mounts) {
      await mountFrom(bench, place, mount);
      expect(mountAt(place.at('target')).type).to.equal(type);
      if (type === 'erofs') expect(readFileSync(place.at('target/file'), 'utf8')).to.equal('root');
      await bench.engine.unmount({
        target: { path: place.at('target') },
        image: mount.source,
        sourceRoots: [{ path: place.at('root') }],
      });
      expectNoLoops(mount.source);
    }
  });

  it('is made, checked, shown as a device, grown and let go as an image', async function () {
    needTool(this, 'mkfs.ext4', 'makes the image');
    using place = twoTrees();
    symlinkSync('dir', place.at('root/link'));
    const sourceRoots = [{ path: place.at('root') }];
    const image = place.at('root/link/image');
    const made = { path: image, bytes: 2 * MIB, filesystem: 'ext4' } as const;
    expect(await bench.engine.makeImage({ ...made, sourceRoots })).to.deep.equal({ made: true });
    expect(statSync(place.at('root/dir/image')).size).to.equal(2 * MIB);
    expect(await bench.engine.checkImage({ path: image, sourceRoots })).to.deep.equal({ is: 'clean' });
    const target = { path: place.at('device') };
    await bench.engine.attachDevice({ image, target, readOnly: false, create: true, sourceRoots });
    expect(await bench.engine.grow({ target, bytes: 4 * MIB, image, sourceRoots })).to.deep.equal({
      bytes: 4 * MIB,
    });
    await bench.engine.unmount({ target, image, sourceRoots, remove: 'file' });
    expectNoLoops(image);
  });

  it('is served by a helper', async function () {
    needTool(this, 'bindfs', 'serves a directory');
    needTool(this, 'squashfuse', 'serves an image');
    needTool(this, 'mksquashfs', 'makes the image');
    using place = mountPlace();
    writeFiles(place.path, { 'dir/file': 'plain' });
    symlinkSync('dir', place.at('link'));
    const sourceRoots = [{ path: place.path }];
    const target = { path: place.at('target') };
    for (const [type, source, shows] of [
      ['fuse.bindfs', place.at('link'), 'plain'],
      ['fuse3.squashfuse', squashfs(place), 'squashed'],
    ] as const) {
      for (const mountFuse of ['never', 'always'] as const) {
        const mounts = [{ type, source, options: [] }];
        const request = { mounts, target, sourceRoots, programs: { mountFuse } };
        await bench.engine.mountAll({ ...request, create: 'directory' });
        expect(readFileSync(place.at('target/file'), 'utf8')).to.equal(shows);
        await unmountFrom(bench, place);
      }
    }
  });

  it('may be a name that is no path', async () => {
    using place = twoTrees();
    await mountFrom(bench, place, { type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] });
    expect(mountAt(place.at('target'))).to.include({ type: 'tmpfs', source: 'tmpfs' });
    await unmountFrom(bench, place);
  });
});

interface Wrong {
  readonly title: string;
  /** Below the directory of the test. */
  readonly name: string;
  readonly why: RegExp;
  readonly errno?: string;
}

const WRONG: readonly Wrong[] = [
  { title: 'elsewhere', name: 'outside/dir', why: /below none of the roots .*\/root\).*move it there/ },
  { title: 'of a name that begins like the root', name: 'rooted/dir', why: /below none of the roots/ },
  { title: 'outside by ..', name: 'root/../outside/dir', why: /has "\.\." in it/ },
  { title: 'inside by ..', name: 'root/other/../dir', why: /has "\.\." in it/ },
  { title: 'behind an absolute link', name: 'root/absolute', why: /out of .*\/root;/, errno: 'EXDEV' },
  { title: 'behind an absolute link inside', name: 'root/absolute-in', why: /absolute/, errno: 'EXDEV' },
  { title: 'behind a link that leads out', name: 'root/up/dir', why: /out of .*\/root;/, errno: 'EXDEV' },
  { title: 'behind a link that leads out and in', name: 'root/out-in', why: /leads out/, errno: 'EXDEV' },
  { title: 'behind two links', name: 'root/chain/dir', why: /leads out/, errno: 'EXDEV' },
  { title: 'behind links in a circle', name: 'root/circle', why: /too many symbolic links/, errno: 'ELOOP' },
];

function withLinks(): TemporaryDirectory {
  const place = twoTrees();
  writeFiles(place.at('rooted'), { 'dir/': '' });
  symlinkSync(place.at('outside/dir'), place.at('root/absolute'));
  symlinkSync(place.at('root/dir'), place.at('root/absolute-in'));
  symlinkSync('../outside', place.at('root/up'));
  symlinkSync('../root/dir', place.at('root/out-in'));
  symlinkSync('other/chain', place.at('root/chain'));
  symlinkSync('../up', place.at('root/other/chain'));
  symlinkSync('circle', place.at('root/circle'));
  return place;
}

describeEngines('a source that is not below a root', (bench) => {
  type Uses = Readonly<Record<string, (place: TemporaryDirectory, wrong: string) => Promise<unknown>>>;
  const mappedUses: Uses = {
    canIdmap: (place, wrong) =>
      bench.engine.canIdmap({ source: wrong, sourceRoots: [{ path: place.at('root') }] }),
    'mapped bind': (place, wrong) => mountFrom(bench, place, bind(wrong, ...SHIFT_UP)),
    'mapped lowerdir': (place, wrong) =>
      mountFrom(bench, place, overlay(`lowerdir=${wrong}:${place.at('root/dir')}`, ...SHIFT_UP)),
  };
  /** Every place in which a request can name a source, called with a wrong one. */
  const uses: Uses = {
    bind: (place, wrong) => mountFrom(bench, place, bind(wrong)),
    lowerdir: (place, wrong) => mountFrom(bench, place, overlay(`lowerdir=${place.at('root/dir')}:${wrong}`)),
    upperdir: (place, wrong) =>
      mountFrom(
        bench,
        place,
        overlay(
          `lowerdir=${place.at('root/dir')}`,
          `upperdir=${wrong}`,
          `workdir=${place.at('root/w/work')}`,
        ),
      ),
    workdir: (place, wrong) =>
      mountFrom(
        bench,
        place,
        overlay(
          `lowerdir=${place.at('root/dir')}`,
          `upperdir=${place.at('root/w/upper')}`,
          `workdir=${wrong}`,
        ),
      ),
    'image with loop': (place, wrong) =>
      mountFrom(bench, place, { type: 'ext4', source: wrong, options: ['loop'] }),
    image: (place, wrong) => mountFrom(bench, place, { type: 'erofs', source: wrong, options: [] }),
    'auto image': (place, wrong) => mountFrom(bench, place, { type: 'auto', source: wrong, options: [] }),
    'helper source': (place, wrong) =>
      mountFrom(bench, place, { type: 'fuse.bindfs', source: wrong, options: [] }),
    rootOf: (place, wrong) =>
      bench.engine.rootOf({ source: wrong, sourceRoots: [{ path: place.at('root') }] }),
    makeImage: (place, wrong) =>
      bench.engine.makeImage({
        ...{ path: `${wrong}/image`, bytes: 2 * MIB, filesystem: 'ext4' },
        sourceRoots: [{ path: place.at('root') }],
      }),
    checkImage: (place, wrong) =>
      bench.engine.checkImage({ path: wrong, sourceRoots: [{ path: place.at('root') }] }),
    attachDevice: (place, wrong) =>
      bench.engine.attachDevice({
        ...{ image: wrong, target: { path: place.at('target') }, readOnly: false, create: true },
        sourceRoots: [{ path: place.at('root') }],
      }),
  };

  for (const [title, named] of [
    ['', uses],
    [', mapped', mappedUses],
  ] as const) {
    it(`is refused as whatever it is named${title}, and nothing is left`, async () => {
      using place = withLinks();
      const refuseAll = async ({ title, name, why, errno }: Wrong) => {
        for (const [use, call] of Object.entries(named)) {
          const error = await failureOf(call(place, `${place.path}/${name}`), {
            reason: 'source-outside-roots',
            rolledBack: true,
            errno,
          });
          expect(error.message, `${use} ${title}`).to.match(why).and.include(name);
          expect(existsSync(place.at('target')), `${use} ${title}`).to.equal(false);
          expect(mountsIn(place.path), `${use} ${title}`).to.equal(1);
        }
      };
      const [first, ...others] = WRONG;
      // What is started and opened for good by then.
      await refuseAll(first as Wrong);
      const before = bench.openDescriptors();
      for (const wrong of others) await refuseAll(wrong);
      expect(bench.openDescriptors()).to.deep.equal(before);
      expect(readdirSync(place.at('outside/dir'))).to.deep.equal(['file']);
    });
  }

  it('is refused where there are no roots, and where it is no absolute path', async () => {
    using place = twoTrees();
    await failureOf(mountFrom(bench, place, bind(place.at('root/dir')), { sourceRoots: [] }), {
      reason: 'source-outside-roots',
    });
    const relative = mountFrom(bench, place, bind('tmp'), { sourceRoots: [{ path: '/' }] });
    await failureOf(relative, { reason: 'source-outside-roots' });
  });

  it('is refused behind a magic link, and so is one', async () => {
    using place = twoTrees();
    const sourceRoots = [{ path: '/proc' }];
    for (const source of ['/proc/self/root/etc', '/proc/self/cwd', `/proc/${process.pid}/root`]) {
      const error = await failureOf(mountFrom(bench, place, bind(source), { sourceRoots }), {
        reason: 'source-outside-roots',
        rolledBack: true,
      });
      // Without openat2(2) it is read like any other link.
      expect(error.message).to.match(/one of \/proc|leads out of \/proc/);
    }
  });

  it('is not found where there is none', async () => {
    using place = twoTrees();
    for (const [name, reason] of [
      ['root/missing', 'source-not-found'],
      ['root/file/below', 'source-not-found'],
      [`root/${'x'.repeat(256)}`, 'source-not-found'],
      [`root${'/x'.repeat(2_048)}`, 'source-not-found'],
    ] satisfies [string, MountReason][]) {
      const mounting = mountFrom(bench, place, bind(`${place.path}/${name}`));
      const error = await failureOf(mounting, { reason, rolledBack: true });
      expect(error.message).to.include(name);
    }
    const sourceRoots = [{ path: place.at('none') }];
    const error = await failureOf(mountFrom(bench, place, bind(place.at('none/dir')), { sourceRoots }), {
      reason: 'source-not-found',
    });
    expect(error.message).to.include(`the directory ${place.at('none')}, in which sources are looked for`);
  });

  it('does not keep anybody waiting: a FIFO', async () => {
    using place = twoTrees();
    execFileSync('mkfifo', [place.at('root/fifo')]);
    const fifo = place.at('root/fifo');
    for (const [use, call] of Object.entries(uses)) {
      // These look at nothing in it.
      if (use === 'bind' || use === 'rootOf') continue;
      await failureOf(call(place, fifo), { rolledBack: true });
    }
  });
});

describeEngines('a disk among the sources', (bench) => {
  const DEV = [{ path: '/dev' }];

  it('is known by its node in /dev, and shown as that', async function () {
    using place = twoTrees();
    using device = attachLoop(makeTinyImage(this, place.at('root/image')));
    writeFiles(place.path, { 'root/bound': '' });
    mountCommand('--bind', device.path, place.at('root/bound'));
    for (const [source, sourceRoots] of [
      [device.path, DEV],
      [place.at('root/bound'), undefined],
    ] as const) {
      const roots = sourceRoots === undefined ? {} : { sourceRoots };
      for (const type of ['ext4', 'auto']) {
        await mountFrom(bench, place, { type, source, options: [] }, roots);
        expect(mountAt(place.at('target'))).to.include({ type: 'ext4', source: device.path });
        await unmountFrom(bench, place);
      }
    }
    const target = { path: place.at('device') };
    await bench.engine.attachDevice({
      ...{ image: device.path, target, readOnly: false, create: true },
      sourceRoots: DEV,
    });
    expect(statSync(target.path).rdev).to.equal(statSync(device.path).rdev);
    await bench.engine.unmount({ target, remove: 'file' });
    unmountCommand(place.at('root/bound'));
  });

  it('is not known by a node that somebody made', async function () {
    using place = twoTrees();
    using device = attachLoop(makeTinyImage(this, place.at('outside/image')));
    const node = place.at('root/node');
    const [major = '', minor = ''] = readFileSync(`/sys/block/loop${device.number}/dev`, 'utf8')
      .trim()
      .split(':');
    execFileSync('mknod', [node, 'b', major, minor]);
    symlinkSync('node', place.at('root/link'));
    const refused = { reason: 'source-outside-roots', rolledBack: true } as const;
    for (const source of [node, place.at('root/link')]) {
      for (const type of ['ext4', 'auto', 'erofs', 'fuse.bindfs']) {
        const error = await failureOf(mountFrom(bench, place, { type, source, options: [] }), refused);
        expect(error.message).to.include(`name the disk by ${device.path}`);
      }
      const sourceRoots = [{ path: place.at('root') }];
      const target = { path: place.at('target') };
      const attaching = bench.engine.attachDevice({
        ...{ image: source, target, readOnly: false, create: true, sourceRoots },
      });
      await failureOf(attaching, refused);
      await failureOf(bench.engine.checkImage({ path: source, sourceRoots }), refused);
    }
    expect(existsSync(place.at('target'))).to.equal(false);
  });
});

describeEngines('an image that has become a link out of the root', (bench) => {
  it('does not let go of what that leads to', async function () {
    using place = twoTrees();
    const image = makeTinyImage(this, place.at('outside/image'));
    const device = attachLoop(image, { autoclear: false });
    symlinkSync('../outside/image', place.at('root/image'));
    await bench.engine.unmount({
      target: { path: place.at('target') },
      image: place.at('root/image'),
      sourceRoots: [{ path: place.at('root') }],
    });
    expect(loopDevicesOf(image)).to.deep.equal([device.path]);
    detachLoop(device.number, device.image);
    device[Symbol.dispose]();
  });
});

describeEngines('a root that must be a mount point', (bench) => {
  it('has sources only while something is mounted there', async () => {
    using place = twoTrees();
    const sourceRoots = [{ path: place.at('disk'), requireMountpoint: true }];
    const mounting = () => mountFrom(bench, place, bind(place.at('disk/data')), { sourceRoots });
    const refused = { reason: 'source-not-mounted', rolledBack: true } as const;
    await failureOf(mounting(), refused);
    writeFiles(place.at('disk'), { 'data/': '' });
    const error = await failureOf(mounting(), refused);
    expect(error.message).to.match(/disk, .* must be a mount point, and nothing is mounted there; mount/);
    const image = { path: place.at('disk/data/image'), bytes: 2 * MIB, filesystem: 'ext4' } as const;
    await failureOf(bench.engine.makeImage({ ...image, sourceRoots }), refused);
    expect(readdirSync(place.at('disk/data'))).to.deep.equal([]);
    mountCommand('-t', 'tmpfs', 'disk', place.at('disk'));
    writeFiles(place.at('disk'), { 'data/of-the-disk': '' });
    await mounting();
    expect(readdirSync(place.at('target'))).to.deep.equal(['of-the-disk']);
    await unmountFrom(bench, place);
    unmountCommand(place.at('disk'));
    await failureOf(mounting(), refused);
  });
});

describeEngines('a root in a root', (bench) => {
  it('is its own as a layer beside others too: it must be a mount point, and has exceptions', async () => {
    using place = twoTrees();
    const wide = { path: place.at('root') };
    const disk = { path: place.at('root/other'), requireMountpoint: true };
    const layers = ['root/dir', 'root/other', 'root/w'].map((name) => place.at(name));
    for (const [, ids] of IDS) {
      const mount = overlay(`lowerdir=${layers.join(':')}`, ...ids);
      await failureOf(mountFrom(bench, place, mount, { sourceRoots: [wide, disk] }), {
        reason: 'source-not-mounted',
        rolledBack: true,
      });
      const kept = { path: place.at('root/other'), except: [place.at('root/other')] };
      await failureOf(mountFrom(bench, place, mount, { sourceRoots: [wide, kept] }), {
        reason: 'source-outside-roots',
        rolledBack: true,
      });
      await mountFrom(bench, place, mount, { sourceRoots: [wide] });
      await unmountFrom(bench, place);
    }
  });
});

describeEngines('a place that is excepted from a root', (bench) => {
  const refused = { reason: 'source-outside-roots', rolledBack: true } as const;

  it('is not shown, nor what lies in it, by whatever name, nor what holds it', async () => {
    using place = twoTrees();
    writeFiles(place.at('root'), { 'kept/pods/a/file': 'kept', 'beside/kept/': '', 'bound/': '' });
    symlinkSync('../kept/pods', place.at('root/dir/link'));
    symlinkSync('root/kept', place.at('alias'));
    mountCommand('--bind', place.at('root/kept'), place.at('root/bound'));
    for (const except of [place.at('root/kept'), place.at('alias')]) {
      const sourceRoots = [{ path: place.at('root'), except: [place.at('none'), except] }];
      for (const name of ['', 'kept', 'kept/pods/a', 'dir/link', 'dir/link/a', 'bound', 'bound/pods']) {
        const error = await failureOf(
          mountFrom(bench, place, bind(place.at('root', name)), { sourceRoots }),
          refused,
        );
        expect(error.message).to.contain(`leads into ${except}, or holds it, which is never shown`);
        for (const [, ids] of IDS) {
          // Beside others, and by itself.
          const beside = ['root/dir', 'root/other', 'root/w'].map((other) => place.at(other));
          for (const layers of [[...beside, place.at('root', name)], [place.at('root', name)]]) {
            const layer = overlay(`lowerdir=${layers.join(':')}`, ...ids);
            await failureOf(mountFrom(bench, place, layer, { sourceRoots }), refused);
          }
        }
      }
      for (const name of ['dir', 'beside', 'beside/kept']) {
        await mountFrom(bench, place, bind(place.at('root', name)), { sourceRoots });
        expect(identityOf(place.at('target'))).to.equal(identityOf(place.at('root', name)));
        await unmountFrom(bench, place);
      }
    }
    unmountCommand(place.at('root/bound'));
  });

  it('is not shown where another lies in it, beside that', async () => {
    using place = twoTrees();
    writeFiles(place.at('root'), { 'kept/pods/': '', 'kept/beside/': '' });
    const both = [place.at('root/kept/pods'), place.at('root/kept')];
    for (const except of [both, both.toReversed()]) {
      const sourceRoots = [{ path: place.at('root'), except }];
      for (const name of ['kept', 'kept/beside', 'kept/pods']) {
        await failureOf(mountFrom(bench, place, bind(place.at('root', name)), { sourceRoots }), refused);
      }
      await mountFrom(bench, place, bind(place.at('root/dir')), { sourceRoots });
      await unmountFrom(bench, place);
    }
  });

  it('has no file that is shown: bound, or an image', async function () {
    using place = twoTrees();
    makeTinyImage(this, place.at('root/dir/image'));
    symlinkSync('dir/image', place.at('root/link'));
    const sourceRoots = [{ path: place.at('root'), except: [place.at('root/dir')] }];
    for (const name of ['dir/image', 'link']) {
      const mount = { type: 'ext4', source: place.at('root', name), options: ['loop', 'ro'] };
      await failureOf(mountFrom(bench, place, mount, { sourceRoots }), refused);
      const file = bind(place.at('root', name));
      await failureOf(mountFrom(bench, place, file, { sourceRoots, create: 'file' }), refused);
    }
    await mountFrom(bench, place, bind(place.at('root/file')), { sourceRoots, create: 'file' });
    await bench.engine.unmount({ target: { path: place.at('target') }, remove: 'file' });
  });

  it('can lie beside an image that is made, not around it', async () => {
    using place = twoTrees();
    writeFiles(place.at('root'), { 'kept/pods/': '' });
    const sourceRoots = [{ path: place.at('root'), except: [place.at('root/kept')] }];
    const image = { bytes: 2 * MIB, filesystem: 'ext4', sourceRoots } as const;
    for (const name of ['kept/image', 'kept/pods/image']) {
      await failureOf(bench.engine.makeImage({ ...image, path: place.at('root', name) }), refused);
    }
    expect(await bench.engine.makeImage({ ...image, path: place.at('root/image') })).to.deep.equal({
      made: true,
    });
  });

  it('leaves a root alone that has nothing to do with it', async () => {
    using place = twoTrees();
    const sourceRoots = [{ path: place.at('root'), except: [place.at('outside'), '/proc', '/sys'] }];
    await mountFrom(bench, place, bind(place.at('root')), { sourceRoots });
    await unmountFrom(bench, place);
    const anywhere = [{ path: '/', except: ['/proc'] }];
    for (const source of ['/proc/sys', '/proc']) {
      await failureOf(mountFrom(bench, place, bind(source), { sourceRoots: anywhere }), refused);
    }
    await mountFrom(bench, place, bind(place.at('root/dir')), { sourceRoots: anywhere });
    await unmountFrom(bench, place);
  });
});

describeEngines('what has several names', (bench) => {
  it('has one loop device: an image named through two roots, a hard link and a bind', async function () {
    using place = twoTrees();
    const image = makeTinyImage(this, place.at('root/image'));
    linkSync(image, place.at('outside/link'));
    writeFiles(place.path, { 'bound/': '', 'more/': '' });
    mountCommand('--bind', place.at('root'), place.at('bound'));
    const sourceRoots = ['root', 'outside', 'bound'].map((name) => ({ path: place.at(name) }));
    const names = [image, place.at('outside/link'), place.at('bound/image')];
    for (const [i, source] of names.entries()) {
      const mount = { type: 'ext4', source, options: ['loop'] };
      const target = { path: place.at('more', `${i}`) };
      await bench.engine.mountAll({ mounts: [mount], target, create: 'directory', sourceRoots });
      expect(loopDevicesOf(image)).to.have.length(1);
      expect(mountAt(target.path).source).to.equal(loopDevicesOf(image)[0]);
    }
    const mount = { type: 'ext4', source: names[2] ?? '', options: ['loop', 'ro'] };
    await failureOf(mountFrom(bench, place, mount, { sourceRoots }), { reason: 'image-in-use' });
    for (const [i, name] of names.entries()) {
      await bench.engine.unmount({ target: { path: place.at('more', `${i}`) }, image: name, sourceRoots });
    }
    expectNoLoops(image);
    unmountCommand(place.at('bound'));
  });

  it('is the upperdir of one overlay: named through two roots and a bind', async () => {
    using place = twoTrees();
    writeFiles(place.path, { 'bound/': '', 'root/w/work2/': '' });
    mountCommand('--bind', place.at('root/w'), place.at('bound'));
    const sourceRoots = [{ path: place.at('root') }, { path: place.at('bound') }];
    const writable = (root: string, work: string) =>
      overlay(
        `lowerdir=${place.at('root/dir')}:${place.at('root/other')}`,
        `upperdir=${place.at(root, 'upper')}`,
        `workdir=${place.at(root, work)}`,
      );
    for (const [first, second] of [
      ['root/w', 'bound'],
      ['bound', 'root/w'],
    ] as const) {
      await mountFrom(bench, place, writable(first, 'work'), { sourceRoots });
      const target = { path: place.at('two') };
      const request = { mounts: [writable(second, 'work2')], target, sourceRoots };
      await failureOf(bench.engine.mountAll({ ...request, create: 'directory' }), {
        reason: 'upperdir-in-use',
        rolledBack: true,
      });
      await unmountFrom(bench, place);
    }
    unmountCommand(place.at('bound'));
  });
});
