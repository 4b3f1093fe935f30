// From a Mount of an image to its steps, and what is refused.
import { expect } from 'chai';
import { kernelWith } from '../../../src/mount/kernel.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { describeStep, plan } from '../../../src/mount/plan.ts';
import { FEATURES, type FeatureName } from '../../../src/sys/features.ts';

const image = (type: string, ...options: string[]): Mount => ({ type, source: '/img', options });
const NEWEST = kernelWith(Object.keys(FEATURES) as FeatureName[]);
const shown = (mount: Mount): string[] => plan(mount, NEWEST).map(describeStep);

const ATTACH = ['move_mount(mount, target)', 'verify that target shows mount'];
const OR_LOOP = '; from a file that the kernel does not take (ENOTBLK), on a loop device';

const rows: readonly { title: string; mount: Mount; steps: readonly string[] }[] = [
  {
    title: 'ext4 on a loop device: the file is attached when the type is known to the kernel',
    mount: image('ext4', 'loop', 'data=ordered'),
    steps: [
      'image = open("/img", O_RDONLY)',
      'loopContext = fsopen("ext4")',
      'loop = loop device of image "/img" (autoclear)',
      'fsconfig(loopContext, source = loop)',
      'fsconfig(loopContext, data = "ordered")',
      'mount = fsmount(fsconfig(loopContext, FSCONFIG_CMD_CREATE))',
      ...ATTACH,
    ],
  },
  {
    title: 'a read-only xfs: everything is, and its UUID may be mounted elsewhere',
    mount: image('xfs', 'loop', 'ro', 'direct-io', 'offset=4096', 'sizelimit=8192'),
    steps: [
      'image = open("/img", O_RDONLY)',
      'loopContext = fsopen("xfs")',
      'loop = loop device of image "/img" (autoclear, read-only, direct-io, offset 4096, 8192 bytes)',
      'fsconfig(loopContext, source = loop)',
      'fsconfig(loopContext, ro)',
      'fsconfig(loopContext, nouuid)',
      'mount = fsmount(fsconfig(loopContext, FSCONFIG_CMD_CREATE))',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY)',
      ...ATTACH,
    ],
  },
  {
    title: 'squashfs: read-only by itself, ID-mapped as a whole',
    mount: image('squashfs', 'loop', 'uidmap=0:1:2', 'gidmap=0:1:2'),
    steps: [
      'image = open("/img", O_RDONLY)',
      'loopContext = fsopen("squashfs")',
      'loop = loop device of image "/img" (autoclear, read-only)',
      'fsconfig(loopContext, source = loop)',
      'fsconfig(loopContext, ro)',
      'mount = fsmount(fsconfig(loopContext, FSCONFIG_CMD_CREATE))',
      'userns = user namespace {uid 0:1:2, gid 0:1:2}',
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY, userns userns)',
      ...ATTACH,
    ],
  },
  {
    title: 'erofs: from the file, if the kernel can',
    mount: image('erofs', 'loop'),
    steps: [
      'context = fsopen("erofs")',
      'fsconfig(context, source = "/img")',
      'fsconfig(context, ro)',
      `mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))${OR_LOOP}`,
      'mount_setattr(mount, set MOUNT_ATTR_RDONLY)',
      ...ATTACH,
    ],
  },
  {
    title: 'a disk, which could be a file',
    mount: image('ext4'),
    steps: [
      'context = fsopen("ext4")',
      'fsconfig(context, source = "/img")',
      `mount = fsmount(fsconfig(context, FSCONFIG_CMD_CREATE))${OR_LOOP}`,
      ...ATTACH,
    ],
  },
  {
    title: 'auto: what there is to do is found out on the way',
    mount: image('auto'),
    steps: [
      'image = open("/img", O_RDONLY)',
      'mount = a filesystem of the type that blkid finds in image, on a loop device if it is a file',
      ...ATTACH,
    ],
  },
];

describe('the plan of', () => {
  for (const { title, mount, steps } of rows) it(title, () => expect(shown(mount)).to.deep.equal(steps));

  it('an erofs in a part of a file has a loop device from the start', () =>
    expect(shown(image('erofs', 'loop', 'offset=4096'))[0]).to.equal('image = open("/img", O_RDONLY)'));

  it('an erofs whose path is too long for fsconfig(2) has one too', () => {
    const mount = { ...image('erofs', 'loop'), source: `/${'x'.repeat(255)}` };
    expect(shown(mount)[0]).to.match(/^image = open/);
  });

  it('is data that can be sent elsewhere', () => {
    const steps = plan(image('auto', 'loop', 'ro'), NEWEST);
    expect(JSON.parse(JSON.stringify(steps)).map(describeStep)).to.deep.equal(steps.map(describeStep));
  });
});

const refused: readonly [title: string, mount: Mount, why: RegExp][] = [
  ['loop with a bind', image('bind', 'loop'), /not for bind; remove it/],
  ['loop with the option bind', image('ext4', 'loop', 'bind'), /not for bind/],
  ['loop with an overlay', image('overlay', 'loop', 'lowerdir=/a'), /not for overlay/],
  ['loop with a tmpfs', image('tmpfs', 'loop'), /not for tmpfs/],
  ['loop with FUSE', image('fuse.squashfuse', 'loop'), /not for fuse\.squashfuse/],
  ['no source', { ...image('ext4', 'loop'), source: '' }, /needs a source/],
];

describe('refused, before anything is done:', () => {
  for (const [title, mount, why] of refused)
    it(title, () =>
      expect(() => plan(mount, NEWEST))
        .to.throw(why)
        .with.property('reason', 'invalid-mount'),
    );
});
