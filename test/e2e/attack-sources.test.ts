// Attacks by what a volume names as its sources: whatever the way, nothing is reached that is not the author's. The tests
// of options, of images and of names that are exchanged meanwhile stand beside this one.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { mountCommand, unmountCommand } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { type AttackedNode, attackedNode, expectHeld, expectShows, FINAL, identityOf } from './attack.ts';
import { mountsAt } from './kernel.ts';
import { expectRefused } from './refusal.ts';
import { type Context, volumeOn } from './volume.ts';

/** Every key that a path comes in by, each in a volume that would be had with a path of one's own. */
const WAYS: Readonly<Record<string, (node: AttackedNode, path: string) => Context>> = {
  'source of a bind': (_, path) => ({ source: path }),
  'only layer': (_, path) => ({ type: 'overlay', lowerdir: path.replaceAll(':', '\\:') }),
  'one layer of two': (node, path) => ({
    type: 'overlay',
    lowerdir: `${node.of('team-a', 'dir')}:${path.replaceAll(':', '\\:')}`,
  }),
  'layer of an ephemeral overlay': (_, path) => ({
    ...{ type: 'overlay', writable: 'ephemeral', lowerdir: path.replaceAll(':', '\\:') },
  }),
  upperdir: (node, path) => ({
    ...{ type: 'overlay', lowerdir: node.of('team-a', 'dir'), upperdir: path },
    workdir: node.of('team-a', 'work'),
  }),
  workdir: (node, path) => ({
    ...{ type: 'overlay', lowerdir: node.of('team-a', 'dir'), upperdir: node.of('team-a', 'upper') },
    workdir: path,
  }),
  image: (_, path) => ({ type: 'image', source: path, fsType: 'ext4', options: 'ro' }),
  'image of any filesystem': (_, path) => ({ type: 'image', source: path, options: 'ro' }),
  'new image': (_, path) => ({ type: 'image', source: join(path, 'new'), mkfs: 'true', size: '4Mi' }),
  'filesystem on a disk': (_, path) => ({ type: 'ext4', source: path, options: 'ro' }),
  'source of a helper': (_, path) => ({ type: 'fuse.bindfs', source: path }),
  'source of one mount of two': (node, path) => ({
    mounts: JSON.stringify([{ source: node.of('team-a', 'dir') }, { source: path, target: 'x' }]),
  }),
  'layer of one mount of one': (_, path) => ({
    mounts: JSON.stringify([{ type: 'overlay', lowerdir: path.replaceAll(':', '\\:') }]),
  }),
};

const TEXTS: Readonly<Record<string, (node: AttackedNode) => readonly string[]>> = {
  'of others': (node) => [
    ...[node.of('team-b'), node.of('team-b', 'dir'), node.of('team-b', 'upper'), node.of('team-b', 'file')],
    ...[
      node.at('secret'),
      node.at('secret/dir'),
      node.at('volumes'),
      node.directory,
      `${node.of('team-a')}-b`,
    ],
    ...['/', '/etc', '/etc/shadow', '/root', '/var/lib', '/tmp', '/var/lib/kubelet', '/run'],
  ],
  'of the kernel': () => [
    ...['/proc', '/proc/1/root/etc', '/proc/self/root', '/proc/self/cwd', '/proc/self/fd/0', '/proc/kcore'],
    ...[
      '/sys',
      '/sys/fs/cgroup',
      '/sys/kernel/security',
      '/dev',
      '/dev/shm',
      '/dev/mem',
      '/dev/loop0',
      '/dev/sda',
    ],
  ],
  'of kubelet and of the driver': (node) => [
    ...[
      node.kubeletDir,
      node.at('kubelet/pods/another/volumes/token'),
      node.stateDir,
      node.at('state/records'),
    ],
    ...[node.at('csi.sock'), node.at('policy.yaml')],
  ],
  'with a way up': (node) => [
    ...['..', '../team-b', '../../secret', 'dir/../../team-b/dir', './../team-b', 'dir/../..'].map((way) =>
      join(node.of('team-a'), 'dir', '.').replace(/dir$/, way),
    ),
    ...[
      `${node.of('team-a')}/../team-b/dir`,
      `${node.of('team-a')}/dir/../../../secret`,
      `${node.of('team-a')}/..`,
    ],
    ...[
      `${node.of('team-a')}/%2e%2e/team-b`,
      `${node.of('team-a')}/..%2fteam-b`,
      `${node.of('team-a')}/.. /team-b`,
    ],
    ...['/../etc', '//../etc', '/./../etc', '../etc', '..'],
  ],
  'that are none': (node) => [
    ...['', ' ', '.', '-', '--', '-o', '--help', '~', '$HOME', 'dir', './dir', 'file:///etc', 'C:\\', '*'],
    ...[
      '${namespace}',
      '/srv/${namespace}',
      '$(id)',
      '`id`',
      ';id',
      '|id',
      '\\',
      '"',
      "'",
      '\u202e/etc',
      'é',
    ],
    ...[
      `${node.of('team-a', 'dir')}\0`,
      `${node.of('team-a')}\0/../../secret`,
      `${node.of('team-a', 'dir')}\n`,
    ],
    ...[
      `${node.of('team-a', 'dir')}\r`,
      `${node.of('team-a', 'dir')}\u001b[2J`,
      `${node.of('team-a', 'dir')}\u007f`,
    ],
    ...[
      `${node.of('team-a')}/${'x'.repeat(300)}`,
      `${node.of('team-a')}${'/x'.repeat(2_100)}`,
      `/${'x'.repeat(9_000)}`,
    ],
    ...[
      `${node.of('team-a', 'dir')},upperdir=/etc`,
      `${node.of('team-a', 'dir')} /etc`,
      `${node.of('team-a', 'none')}`,
    ],
  ],
};

/** What a team can make in its own directory, by name: what the link says. */
const LINKS: Readonly<Record<string, (node: AttackedNode) => string>> = {
  absolute: (node) => node.at('secret/dir'),
  'absolute, to one’s own': (node) => node.of('team-a', 'dir'),
  relative: () => '../../secret/dir',
  'to another team': () => '../team-b/dir',
  'to the directory above': () => '..',
  'by way of one’s own': () => 'dir/../../team-b/dir',
  'to the root': () => '/',
  'far up': () => '../'.repeat(60).concat('etc'),
  'to itself': () => 'link',
  'to the driver': () => '/proc/self/root',
  'to the first process': () => '/proc/1/root/etc',
  'to a descriptor': () => '/proc/self/fd/3',
  'to a pod': () => '../../kubelet/pods/another/volumes/token',
  'to nothing': () => 'none',
};

describe('an attack by sources', () => {
  let node: AttackedNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'bindfs', 'one of the ways is a FUSE filesystem');
    node = await attackedNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  /** All that is out of bounds, with all that is in it. */
  const outside = () =>
    ['secret', 'volumes/team-b', 'kubelet/pods/another'].map((name) =>
      readdirSync(node.at(name), { recursive: true, withFileTypes: true })
        .map((entry) => join(entry.parentPath, entry.name))
        .toSorted(),
    );

  it('would be served with what is one’s own', async () => {
    await expectShows(node, { source: node.of('team-a', 'dir') }, node.of('team-a', 'dir'));
    for (const [way, contextOf] of Object.entries(WAYS)) {
      if (/image|disk/.test(way)) continue;
      const names = { upperdir: 'upper', workdir: 'work' } as Readonly<Record<string, string>>;
      await using volume = node.volume(contextOf(node, node.of('team-a', names[way] ?? 'other')));
      expect(await volume.publish(), way).to.include({ code: 'OK' });
    }
  });

  for (const [way, contextOf] of Object.entries(WAYS)) {
    for (const [which, texts] of Object.entries(TEXTS)) {
      it(`by a ${way}, with paths ${which}, is refused`, async () => {
        const before = outside();
        for (const text of texts(node)) {
          await expectHeld(node, contextOf(node, text)).catch((error) => {
            throw new Error(JSON.stringify(text.slice(0, 200)), { cause: error.suppressed ?? error });
          });
        }
        expect(outside()).to.deep.equal(before);
      });
    }

    it(`by a ${way}, through links that one has made, is refused`, async () => {
      const before = outside();
      mkdirSync(node.of('team-a', 'made'), { recursive: true });
      for (const [what, saying] of Object.entries(LINKS)) {
        symlinkSync(saying(node), node.of('team-a', 'link'));
        try {
          for (const path of ['link', 'link/', 'link/dir', 'link/.', 'made/../link', 'link/file']) {
            await expectHeld(node, contextOf(node, `${node.of('team-a')}/${path}`)).catch((error) => {
              throw new Error(`a link ${what}, as ${path}`, { cause: error });
            });
          }
        } finally {
          rmSync(node.of('team-a', 'link'));
        }
      }
      expect(outside()).to.deep.equal(before);
    });
  }

  it('through links that stay with what is one’s own shows that', async () => {
    symlinkSync('dir/../dir', node.of('team-a', 'inside'));
    await expectShows(node, { source: node.of('team-a', 'inside') }, node.of('team-a', 'dir'));
    rmSync(node.of('team-a', 'inside'));
  });

  it('through a link in place of one’s own directory, which others have made, is theirs to allow', async () => {
    // Who can do this can do anything: the directory above belongs to the administrator.
    renameSync(node.of('team-a'), node.at('moved'));
    symlinkSync(node.at('moved'), node.of('team-a'));
    await expectShows(node, { source: node.of('team-a', 'dir') }, node.at('moved/dir'));
    rmSync(node.of('team-a'));
    renameSync(node.at('moved'), node.of('team-a'));
  });

  it('through what is mounted in one’s own directory is had: an administrator has mounted it', async () => {
    mkdirSync(node.of('team-a', 'disk'), { recursive: true });
    mountCommand('-t', 'tmpfs', 'disk', node.of('team-a', 'disk'));
    await expectShows(node, { source: node.of('team-a', 'disk') }, node.of('team-a', 'disk'));
    unmountCommand(node.of('team-a', 'disk'));
  });

  describe('as another', () => {
    const POD = 'csi.storage.k8s.io/pod.';
    const rows: readonly (readonly [what: string, changes: Context])[] = [
      ['a namespace that is none', { [`${POD}namespace`]: '' }],
      ['a namespace with a way up', { [`${POD}namespace`]: '..' }],
      ['a namespace below another', { [`${POD}namespace`]: 'team-a/../team-b' }],
      ['all namespaces', { [`${POD}namespace`]: '*' }],
      ['a namespace that no rule is for', { [`${POD}namespace`]: 'default' }],
      ['nobody', { [`${POD}uid`]: '' }],
    ];
    for (const [what, changes] of rows) {
      it(`${what} is refused`, async () => {
        await using volume = node.volume({ type: 'overlay', lowerdir: node.of('team-a', 'dir') });
        const call = () => volume.publish({ volumeContext: { ...volume.context, ...changes } });
        await expectRefused(node, call, { code: FINAL, message: /./, target: volume.target });
      });
    }

    it('an administrator, by saying so, is refused: there is nothing staged', async () => {
      // Kubelet gives no staging path to what is inline. What it gives to others must show what is staged, if anything is.
      const [bind, overlay] = [
        { source: node.of('team-b') },
        { type: 'overlay', lowerdir: node.of('team-b') },
      ] as const;
      for (const [context, ...places] of [
        [bind, ''],
        [overlay, '', node.of('team-b'), node.kubeletDir, '/'],
      ] as const) {
        await using volume = node.volume(context);
        const volumeContext = { ...volume.context, 'csi.storage.k8s.io/ephemeral': 'false' };
        for (const stagingTargetPath of places) {
          const call = () => volume.publish({ volumeContext, stagingTargetPath });
          await expectRefused(node, call, { code: FINAL, message: /./, target: volume.target });
        }
      }
    });

    it('the pod whose ids are to be had is refused', async () => {
      await using volume = node.volume({ type: 'overlay', lowerdir: node.of('team-a', 'dir'), idmap: 'pod' });
      const targetPath = `${node.kubeletDir}/pods/another/volumes/kubernetes.io~csi/data/mount`;
      const refusal = { code: FINAL, message: /not in the directory of pod/, target: targetPath } as const;
      await expectRefused(node, () => volume.publish({ targetPath }), refusal);
    });
  });

  describe('by a target below the volume', () => {
    const targets = [
      '..',
      '../x',
      'a/../../x',
      '/../x',
      'x/..',
      '.',
      'a\0b',
      'a\nb',
      `${'x/'.repeat(2_100)}`,
    ];
    it('that leads out of it is refused', async () => {
      for (const target of targets) {
        const mounts = [{ source: node.of('team-a', 'dir') }, { type: 'tmpfs', target }];
        await expectHeld(node, { mounts: JSON.stringify(mounts) }).catch((error) => {
          throw new Error(`target ${JSON.stringify(target)}`, { cause: error });
        });
      }
    });

    it('that is a link in it stays in it', async () => {
      const before = outside();
      mkdirSync(node.of('team-a', 'root'), { recursive: true });
      for (const saying of ['/', '../../../secret', node.at('secret/dir'), '/etc']) {
        symlinkSync(saying, node.of('team-a', 'root/x'));
        const mounts = [{ source: node.of('team-a', 'root') }, { type: 'tmpfs', target: 'x' }];
        await using volume = node.volume({ mounts: JSON.stringify(mounts) });
        const answer = await volume.publish();
        if (answer.code !== 'OK') expect(answer.code, answer.message).to.be.oneOf(FINAL);
        expect(
          mountsAt(node.at('secret')).concat(mountsAt(node.at('secret/dir')), mountsAt('/etc')),
        ).to.deep.equal([]);
        if (answer.code === 'OK') await volume.unpublish();
        rmSync(node.of('team-a', 'root'), { recursive: true });
        mkdirSync(node.of('team-a', 'root'));
      }
      expect(outside()).to.deep.equal(before);
    });
  });

  it('of a volume that an administrator staged, by its staging path, is refused', async () => {
    await using persistent = volumeOn(node, { context: { source: node.of('team-b', 'dir') } });
    expect(await persistent.stage()).to.include({ code: 'OK' });
    await expectHeld(node, { source: persistent.stagingPath });
    await using volume = node.volume({ source: node.of('team-a', 'dir') });
    const call = () => volume.publish({ stagingTargetPath: persistent.stagingPath });
    expect(await call()).to.include({ code: 'OK' });
    expect(identityOf(volume.target), 'of an inline volume there is no stage').to.equal(
      identityOf(node.of('team-a', 'dir')),
    );
  });
});

describe('an attack where the kubelet’s directory is a symbolic link', () => {
  let node: AttackedNode;
  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await attackedNode({ linked: true });
  });
  after(() => node?.[Symbol.asyncDispose]());

  it('serves targets below the link', async () => {
    await using volume = node.volume({ source: node.of('team-a', 'dir') });
    const targetPath = volume.target.replace('/kubelet/', '/link/');
    mkdirSync(dirname(volume.target), { recursive: true });
    expect(await volume.publish({ targetPath })).to.include({ code: 'OK' });
    expect(readFileSync(join(volume.target, 'file'), 'utf8')).to.equal('team-a');
    expect(await volume.unpublish({ targetPath })).to.include({ code: 'OK' });
    expect(existsSync(volume.target)).to.equal(false);
  });

  it('shows nothing of that directory, by either name, nor through links', async () => {
    symlinkSync('../../kubelet/pods', node.of('team-a', 'pods'));
    writeFileSync(node.of('team-a', 'kept'), '');
    const paths = [node.at('link/pods/another'), node.at('kubelet/pods/another'), node.of('team-a', 'pods')];
    for (const path of [...paths, node.at('link'), node.at('kubelet')]) {
      await expectHeld(node, { source: path });
      await expectHeld(node, { type: 'overlay', lowerdir: `${node.of('team-a', 'dir')}:${path}` });
    }
  });

  it('refuses targets that are not below the link', async () => {
    await using volume = node.volume({ source: node.of('team-a', 'dir') });
    for (const targetPath of [
      volume.target,
      node.at('link/../secret/dir'),
      node.at('secret/dir'),
      node.at('link'),
    ]) {
      await expectRefused(node, () => volume.publish({ targetPath }), { code: FINAL, message: /./ });
    }
  });
});
