// From a Mount to steps: exact plans of representative mounts, as `plan` shows them, and every refusal.
import { tmpdir } from 'node:os';
import { expect } from 'chai';
import { MountError } from '../../../src/mount/errors.ts';
import { kernelWith } from '../../../src/mount/kernel.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { describeStep, plan } from '../../../src/mount/plan.ts';
import { FEATURES, type FeatureName } from '../../../src/sys/features.ts';

const ALL = Object.keys(FEATURES) as FeatureName[];
const NEWEST = kernelWith(ALL);
const without = (...missing: FeatureName[]) => kernelWith(ALL.filter((name) => !missing.includes(name)));

const shown = (mount: Mount, kernel = NEWEST): string[] => plan(mount, kernel).map(describeStep);

const ATTACH = ['move_mount(mount, target)', 'verify that target shows mount'];
/** A string given to fsconfig(2) has at most 255 bytes. */
const LONG = 'x'.repeat(255);
const IDS = ['uidmap=0:1000:1', 'gidmap=0:2000:1'];
const USERNS = 'userns = user namespace {uid 0:1000:1, gid 0:2000:1}';

interface Row {
  readonly title: string;
  readonly mount: Mount;
  readonly steps: readonly string[];
}

const bind = (...options: string[]): Mount => ({ type: 'bind', source: '/data', options });
const tmpfs = (...options: string[]): Mount => ({ type: 'tmpfs', source: 'tmpfs', options });
const overlay = (...options: string[]): Mount => ({ type: 'overlay', source: 'overlay', options });

const rows: readonly Row[] = [
  {
    title: 'a plain bind',
    mount: bind(),
    steps: ['mount = open_tree("/data", OPEN_TREE_CLONE)', ...ATTACH],
  },
  {
    title: 'a bind by an option, whatever the type says',
    mount: { type: 'ext4', source: '/data', options: ['bind'] },
    steps: ['mount = open_tree("/data", OPEN_TREE_CLONE)', ...ATTACH],
  },
  {
    title: 'a read-only bind: one mount_setattr before anyone sees it',
    mount: bind('ro', 'nosuid', 'noatime'),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE)',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOATIME, clear MOUNT_ATTR_NOATIME|MOUNT_ATTR_STRICTATIME|0x40)',
      ...ATTACH,
    ],
  },
  {
    title: 'a read-only idmapped bind: both in one call',
    mount: bind('ro', ...IDS),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE)',
      USERNS,
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY, userns userns)',
      ...ATTACH,
    ],
  },
  {
    title: 'a private bind: private before the attach, and again after it',
    mount: bind('private'),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE)',
      'mount_setattr(mount, MS_PRIVATE)',
      'move_mount(mount, target)',
      'mount_setattr(mount, MS_PRIVATE)',
      'verify that target shows mount',
    ],
  },
  {
    title: 'an unpeered bind: private before the attach, which may share it',
    mount: bind('unpeered'),
    steps: ['mount = open_tree("/data", OPEN_TREE_CLONE)', 'mount_setattr(mount, MS_PRIVATE)', ...ATTACH],
  },
  {
    title: 'an rbind of an unpeered tree: all of it private before the attach',
    mount: bind('rbind', 'runpeered'),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE|AT_RECURSIVE)',
      'mount_setattr(mount, AT_RECURSIVE, MS_PRIVATE)',
      ...ATTACH,
    ],
  },
  {
    title: 'an rbind, whole tree idmapped, top read-only',
    mount: { type: 'rbind', source: '/data', options: ['ro', ...IDS] },
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE|AT_RECURSIVE)',
      USERNS,
      'mount_setattr(mount, AT_RECURSIVE, userns userns)',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY)',
      ...ATTACH,
    ],
  },
  {
    title: 'an rbind, whole tree read-only',
    mount: bind('rbind', 'rro'),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE|AT_RECURSIVE)',
      'mount_setattr(mount, AT_RECURSIVE, set MOUNT_ATTR_RDONLY)',
      ...ATTACH,
    ],
  },
  {
    title: 'an rbind of private tree: ro is of the top alone, however far the propagation goes',
    mount: bind('rbind', 'ro', 'rprivate'),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE|AT_RECURSIVE)',
      'mount_setattr(mount, AT_RECURSIVE, MS_PRIVATE)',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY)',
      'move_mount(mount, target)',
      'mount_setattr(mount, AT_RECURSIVE, MS_PRIVATE)',
      'verify that target shows mount',
    ],
  },
  {
    title: 'an unbindable bind: private until it is attached, since an unbindable one cannot be everywhere',
    mount: bind('unbindable'),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE)',
      'mount_setattr(mount, MS_PRIVATE)',
      'move_mount(mount, target)',
      'mount_setattr(mount, MS_UNBINDABLE)',
      'verify that target shows mount',
    ],
  },
  {
    title: 'a tmpfs: read-only mount and superblock',
    mount: tmpfs('ro', 'nodev', 'size=1m', 'mode=0700', 'sync'),
    steps: [
      'context = fsopen("tmpfs")',
      'fsconfig(context, source = "tmpfs")',
      'fsconfig(context, ro)',
      'fsconfig(context, sync)',
      'fsconfig(context, size = "1m")',
      'fsconfig(context, mode = "0700")',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY|MOUNT_ATTR_NODEV)',
      ...ATTACH,
    ],
  },
  {
    title: 'an idmapped tmpfs without a source',
    mount: { type: 'tmpfs', source: '', options: IDS },
    steps: [
      'context = fsopen("tmpfs")',
      'fsconfig(context, source = "none")',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      USERNS,
      'mount_setattr(mount, userns userns)',
      ...ATTACH,
    ],
  },
  {
    title: 'a bind whose root is shown as somebody else: known once the source is open',
    mount: bind('rootuid=7', 'rootgid=8', 'ro'),
    steps: [
      'mount = open_tree("/data", OPEN_TREE_CLONE)',
      'userns = user namespace {the root of mount as uid 7, gid 8 and the reverse}',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY, userns userns)',
      'check that the root of mount is shown as uid 7, gid 8',
      ...ATTACH,
    ],
  },
  {
    title: 'an overlay whose root is shown as another group: that of its top lowerdir',
    mount: overlay('lowerdir=/a:/b', 'rootgid=8', ...IDS),
    steps: [
      'top = open("/a", O_PATH|O_DIRECTORY)',
      'userns = user namespace {uid 0:1000:1, gid 0:2000:1; the root of top as gid 8 and the reverse}',
      'layer0, layer1 = open("/a", "/b", O_PATH|O_DIRECTORY), mapped by userns in copies of their mounts',
      'check that the root of layer0 is shown as gid 8',
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, lowerdir+ = layer0)',
      'fsconfig(context, lowerdir+ = layer1)',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      ...ATTACH,
    ],
  },
  {
    title: 'a read-only tmpfs with directories: read-only once they are made',
    mount: tmpfs('ro', 'size=1m', 'mkdir=a', 'mkdir=b'),
    steps: [
      'context = fsopen("tmpfs")',
      'fsconfig(context, source = "tmpfs")',
      'fsconfig(context, size = "1m")',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      'mkdirat(mount, "a", "b"), mode 0755, owner of the root',
      'sealing = fspick(mount)',
      'fsconfig(sealing, ro)',
      'fsconfig(sealing, FSCONFIG_CMD_RECONFIGURE)',
      ...ATTACH,
    ],
  },
  {
    title: 'a read-only overlay of two layers',
    mount: overlay('lowerdir=/a:/b', 'metacopy=off'),
    steps: [
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, metacopy = "off")',
      'fsconfig(context, lowerdir+ = "/a")',
      'fsconfig(context, lowerdir+ = "/b")',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      ...ATTACH,
    ],
  },
  {
    title: 'an overlay with a layer whose path is too long to be told: by descriptor',
    mount: overlay(`lowerdir=/a:/${LONG}`),
    steps: [
      `layer0, layer1 = open("/a", "/${LONG}", O_PATH|O_DIRECTORY)`,
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, lowerdir+ = layer0)',
      'fsconfig(context, lowerdir+ = layer1)',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      ...ATTACH,
    ],
  },
  {
    title: 'an overlay of a single layer: an empty one below it',
    mount: overlay('lowerdir=/a'),
    steps: [
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, lowerdir+ = "/a")',
      'emptyContext = fsopen("tmpfs")',
      'empty = fsmount(fsconfig(emptyContext, FSCONFIG_CMD_CREATE))',
      'fsconfig(context, lowerdir+ = empty)',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      ...ATTACH,
    ],
  },
  {
    title: 'a writable overlay with idmapped layers',
    mount: overlay('lowerdir=/a\\:x', 'upperdir=/u\\,p', 'workdir=/w', 'userxattr', ...IDS),
    steps: [
      'claim = lock of /u,p, which no other overlay may have',
      USERNS,
      'layer0 = open("/a:x", O_PATH|O_DIRECTORY), mapped by userns in copies of their mounts',
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, userxattr)',
      'fsconfig(context, lowerdir+ = layer0)',
      'upper = open("/u,p", O_PATH|O_DIRECTORY)',
      'work = open("/w", O_PATH|O_DIRECTORY)',
      'check that upper and work are on one mount',
      'fsconfig(context, upperdir = upper)',
      'fsconfig(context, workdir = work)',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      'check that mount is writable',
      ...ATTACH,
    ],
  },
  {
    title: 'an overlay with a mapped upper layer: always in the private namespace',
    mount: overlay('lowerdir=/a', 'upperdir=/u', 'workdir=/w', 'idmapupper', ...IDS),
    steps: [
      'claim = lock of /u, which no other overlay may have',
      USERNS,
      'layer0 = open("/a", O_PATH|O_DIRECTORY), mapped by userns in copies of their mounts',
      'mount = overlay(lowerdir=layer0, upperdir=/u, workdir=/w) in a private mount namespace, upperdir and workdir mapped by userns, mounted as its root',
      'check that mount is writable by the root of userns',
      ...ATTACH,
    ],
  },
  {
    title: 'a read-only overlay with an upper layer is not asked to be writable',
    mount: overlay('lowerdir=/a', 'upperdir=/u', 'workdir=/w', 'ro'),
    steps: [
      'claim = lock of /u, which no other overlay may have',
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, ro)',
      'fsconfig(context, lowerdir+ = "/a")',
      'upper = open("/u", O_PATH|O_DIRECTORY)',
      'work = open("/w", O_PATH|O_DIRECTORY)',
      'check that upper and work are on one mount',
      'fsconfig(context, upperdir = upper)',
      'fsconfig(context, workdir = work)',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY)',
      ...ATTACH,
    ],
  },
  {
    title: 'an overlay with a data-only layer',
    mount: overlay('lowerdir=/a:/b::/d', 'metacopy=on'),
    steps: [
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, metacopy = "on")',
      'fsconfig(context, lowerdir+ = "/a")',
      'fsconfig(context, lowerdir+ = "/b")',
      'fsconfig(context, datadir+ = "/d")',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      ...ATTACH,
    ],
  },
  {
    title: 'the last lowerdir of several',
    mount: overlay('lowerdir=/a:/b', 'lowerdir=/c:/d'),
    steps: [
      'context = fsopen("overlay")',
      'fsconfig(context, source = "overlay")',
      'fsconfig(context, lowerdir+ = "/c")',
      'fsconfig(context, lowerdir+ = "/d")',
      'mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))',
      ...ATTACH,
    ],
  },
];

describe('the plan', () => {
  for (const { title, mount, steps } of rows) {
    it(`of ${title}`, () => expect(shown(mount)).to.deep.equal(steps));
  }

  it('is the same each time, and the Mount is not changed', () => {
    const options = Object.freeze(['ro', 'lowerdir=/a', ...IDS]);
    const mount: Mount = Object.freeze({ type: 'overlay', source: 'o', options });
    expect(plan(mount, NEWEST)).to.deep.equal(plan(mount, NEWEST));
    expect(options).to.have.length(4);
  });
});

const refused: readonly { readonly title: string; readonly mount: Mount; readonly message: string }[] = [
  { title: 'no type', mount: { type: '', source: '/a', options: [] }, message: 'a mount without a type' },
  {
    title: 'a bind without a source',
    mount: { type: 'bind', source: '', options: [] },
    message: 'a bind mount needs a source directory or file',
  },
  {
    title: 'a bind with data',
    mount: bind('size=1m', 'ro', 'weird'),
    message: 'no filesystem options of its own, but was given size=1m,weird; remove them',
  },
  {
    title: 'a bind with flags of the superblock',
    mount: bind('sync'),
    message: 'sync: flags of the filesystem, which a bind mount shares with its source; remove them',
  },
  { title: 'an overlay without layers', mount: overlay(), message: 'an overlay needs lowerdir=' },
  { title: 'an empty lowerdir', mount: overlay('lowerdir='), message: 'lowerdir "": an empty path' },
  {
    title: 'upperdir alone',
    mount: overlay('lowerdir=/a', 'upperdir=/u'),
    message: 'upperdir without workdir: add workdir=',
  },
  {
    title: 'workdir alone',
    mount: overlay('lowerdir=/a', 'workdir=/w'),
    message: 'workdir without upperdir: give both',
  },
  {
    title: '501 layers',
    mount: overlay(`lowerdir=${Array.from({ length: 501 }, (_, i) => `/${i}`).join(':')}`),
    message: 'lowerdir: 501 layers, the kernel takes at most 500; merge some',
  },
  {
    title: 'a directory in what is no tmpfs',
    mount: bind('mkdir=x'),
    message: 'mkdir=x: only a new tmpfs gets directories made in it; leave it out',
  },
  {
    title: 'a directory in a tmpfs that is there already',
    mount: tmpfs('remount', 'mkdir=x'),
    message: 'mkdir=x: only a new tmpfs',
  },
  {
    title: 'an upper layer of what has none',
    mount: bind('idmapupper', 'rootuid=7'),
    message: 'idmapupper is for the upperdir of an overlay; leave it out of bind mounts',
  },
  {
    title: 'a mapped upper layer without one',
    mount: overlay('lowerdir=/a', 'idmapupper', 'rootuid=7'),
    message: 'idmapupper without upperdir: give upperdir and workdir, or leave it out',
  },
  { title: 'half an ID map', mount: bind('uidmap=0:1:1'), message: 'uidmap without gidmap' },
];

describe('the plan is refused', () => {
  for (const { title, mount, message } of refused) {
    it(`for ${title}`, () => {
      expect(() => plan(mount, NEWEST))
        .to.throw(MountError, message)
        .that.includes({ reason: 'invalid-mount', rolledBack: true });
    });
  }
});

interface OlderRow extends Row {
  readonly kernel: ReturnType<typeof kernelWith>;
}

const older: readonly OlderRow[] = [
  {
    title: 'an overlay of mapped layers, where the kernel takes none by descriptor',
    kernel: without('overlay-layers-by-fd'),
    mount: overlay('lowerdir=/a:/b', 'upperdir=/u', 'workdir=/w', 'nosuid', ...IDS),
    steps: [
      'claim = lock of /u, which no other overlay may have',
      USERNS,
      'layer0, layer1 = open("/a", "/b", O_PATH|O_DIRECTORY), mapped by userns in copies of their mounts',
      'mount = overlay(lowerdir=layer0:layer1, upperdir=/u, workdir=/w) in a private mount namespace',
      'check that mount is writable',
      'mount_setattr(mount, set MOUNT_ATTR_NOSUID)',
      ...ATTACH,
    ],
  },
  {
    title: 'an overlay by mount(2), which fits a page',
    kernel: kernelWith(ALL, 'classic'),
    mount: overlay('lowerdir=/a:/b,c::/d', 'ro', 'noatime', 'sync'),
    steps: [
      'mount(overlay, target, overlay, MS_RDONLY|MS_SYNCHRONOUS|MS_NOATIME, "lowerdir=/a:/b\\\\,c::/d")',
      'verify that target shows mount',
    ],
  },
  {
    title: 'an overlay of mapped layers by mount(2), with nothing better to put them in than the host',
    kernel: without('overlay-layers-by-fd', 'private-namespace', 'fsopen'),
    mount: overlay('lowerdir=/a', ...IDS),
    steps: [
      'layer0 = open_tree("/a", OPEN_TREE_CLONE)',
      USERNS,
      'mount_setattr(layer0, userns userns)',
      `temporary = temporary directory below ${tmpdir()} with layer0, empty`,
      'mount(overlay, target, overlay, 0, "lowerdir=0:empty") with temporary as working directory',
      'unmount and remove temporary',
      'verify that target shows mount',
    ],
  },
  {
    title: 'an overlay whose options do not fit a page: names relative to the common directory',
    kernel: without('open-tree', 'mount-setattr', 'overlay-layers-by-fd', 'private-namespace'),
    mount: overlay(
      `lowerdir=${Array.from({ length: 50 }, (_, i) => `/${'long'.repeat(25)}/${i}`).join(':')}`,
    ),
    steps: [
      `common = open("/${'long'.repeat(25)}", O_PATH|O_DIRECTORY)`,
      `mount(overlay, target, overlay, 0, "lowerdir=${Array.from({ length: 50 }, (_, i) => i).join(':')}") with common as working directory`,
      'verify that target shows mount',
    ],
  },
  {
    title: 'a bind by mount(2): flags by a remount, propagation by a third call',
    kernel: without('mount-setattr'),
    mount: bind('rbind', 'ro', 'suid', 'relatime', 'rslave'),
    steps: [
      'mount(/data, target, , MS_BIND|MS_REC, "")',
      'mount(target, MS_REMOUNT|MS_BIND, set MS_RDONLY|MS_RELATIME, clear MS_NOSUID|MS_NOATIME|MS_RELATIME|MS_STRICTATIME)',
      'mount(target, MS_REC|MS_SLAVE)',
      'verify that target shows mount',
    ],
  },
  {
    title: 'a tmpfs of a tree that is read-only, by mount(2): the tree is the tmpfs',
    kernel: kernelWith([], 'classic'),
    mount: tmpfs('rro', 'size=1m'),
    steps: ['mount(tmpfs, target, tmpfs, MS_RDONLY, "size=1m")', 'verify that target shows mount'],
  },
  {
    title: 'an image without devices in its tree, by mount(2)',
    kernel: kernelWith([], 'classic'),
    mount: { type: 'ext4', source: '/i.img', options: ['loop', 'rnosuid', 'rnodev'] },
    steps: [
      'image = open("/i.img", O_RDONLY)',
      'loop = loop device of image "/i.img" (autoclear)',
      'mount(loop, target, ext4, MS_NOSUID|MS_NODEV, "")',
      'verify that target shows mount',
    ],
  },
  {
    title: 'an overlay of a tree that may not be executed, by mount(2)',
    kernel: kernelWith([], 'classic'),
    mount: overlay('lowerdir=/a:/b', 'rnoexec'),
    steps: ['mount(overlay, target, overlay, MS_NOEXEC, "lowerdir=/a:/b")', 'verify that target shows mount'],
  },
  {
    title: 'a bind of a tree that is read-only, by mount(2): what is below its source is left behind',
    kernel: kernelWith([]),
    mount: bind('rro'),
    steps: [
      'mount(/data, target, , MS_BIND, "")',
      'mount(target, MS_REMOUNT|MS_BIND, set MS_RDONLY, clear 0)',
      'verify that target shows mount',
    ],
  },
  {
    title: 'a mapped tmpfs by mount(2): a mapped copy takes its place',
    kernel: without('fsopen'),
    mount: tmpfs('size=1m', ...IDS),
    steps: [
      'mount(tmpfs, target, tmpfs, 0, "size=1m")',
      'mount = open_tree(target, OPEN_TREE_CLONE)',
      USERNS,
      'mount_setattr(mount, userns userns)',
      'umount(target), of which mount is a copy',
      ...ATTACH,
    ],
  },
  {
    title: 'a read-only tmpfs with a directory by mount(2): a remount makes it read-only',
    kernel: without('fsopen'),
    mount: tmpfs('ro', 'nodev', 'mkdir=a'),
    steps: [
      'mount(tmpfs, target, tmpfs, MS_NODEV, "")',
      'mkdirat(mount, "a"), mode 0755, owner of the root',
      'mount(target, MS_RDONLY|MS_NODEV|MS_REMOUNT)',
      'mount(target, MS_REMOUNT|MS_BIND, set 0, clear MS_RDONLY)',
      'verify that target shows mount',
    ],
  },
];

/** Where sources are held, no name of a layer goes into a text. */
const held: readonly OlderRow[] = [
  {
    title: 'an overlay of held layers by mount(2), though it fits a page: the private namespace',
    kernel: kernelWith(ALL, 'classic'),
    mount: overlay('lowerdir=/a:/b', 'upperdir=/u', 'workdir=/w'),
    steps: [
      'claim = lock of /u, which no other overlay may have',
      'layer0, layer1 = open("/a", "/b", O_PATH|O_DIRECTORY), in copies of their mounts',
      'mount = overlay(lowerdir=layer0:layer1, upperdir=/u, workdir=/w) in a private mount namespace',
      'check that mount is writable',
      ...ATTACH,
    ],
  },
  {
    title: 'an overlay of held layers with nothing better to name them than the host',
    kernel: kernelWith([]),
    mount: overlay('lowerdir=/a:/b', 'upperdir=/u', 'workdir=/w', 'noatime'),
    steps: [
      'claim = lock of /u, which no other overlay may have',
      `temporary = temporary directory below ${tmpdir()} with /a, /b, /u, /w`,
      'mount(overlay, target, overlay, MS_NOATIME, "lowerdir=0:1") with temporary as working directory, and its links to /u and /w',
      'unmount and remove temporary',
      'check that mount is writable',
      'verify that target shows mount',
    ],
  },
];

describe('the plan on a kernel that lacks something', () => {
  for (const { title, kernel, mount, steps } of older) {
    it(`of ${title}`, () => expect(shown(mount, kernel)).to.deep.equal(steps));
  }

  for (const { title, kernel, mount, steps } of held) {
    it(`of ${title}`, () =>
      expect(plan(mount, kernel, { held: true }).map(describeStep)).to.deep.equal(steps));
  }

  it('is refused for flags of a whole tree by mount(2)', () => {
    expect(() => plan(bind('rbind', 'rro'), kernelWith([])))
      .to.throw(MountError, /rro.*Linux 5.12/)
      .that.includes({ reason: 'kernel-unsupported' });
  });

  it('is refused for an ID mapping without the calls that make one', () => {
    for (const mount of [bind(...IDS), tmpfs(...IDS), overlay('lowerdir=/a', ...IDS)]) {
      expect(() => plan(mount, kernelWith([])))
        .to.throw(MountError, /an ID mapping needs/)
        .that.includes({ reason: 'kernel-unsupported' });
    }
  });

  it('is refused for a mapped upper layer without a private mount namespace', () => {
    const mount = overlay('lowerdir=/a', 'upperdir=/u', 'workdir=/w', 'idmapupper', ...IDS);
    for (const kernel of [
      without('private-namespace'),
      kernelWith(['open-tree', 'mount-setattr', 'move-mount']),
    ]) {
      expect(() => plan(mount, kernel))
        .to.throw(MountError, /idmapupper needs a private mount namespace/)
        .that.includes({ reason: 'kernel-unsupported', rolledBack: true });
    }
  });

  it('is refused for options that fit no page, with the size of what was given', () => {
    const layers = Array.from({ length: 100 }, (_, i) => `/common/${'x'.repeat(100)}${i}`);
    expect(() => plan(overlay(`lowerdir=${layers.join(':')}`), kernelWith([])))
      .to.throw(MountError, /the options have 10\d{3} bytes, mount\(2\) takes 4095/)
      .that.includes({ reason: 'invalid-mount' });
  });
});
