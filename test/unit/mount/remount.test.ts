import { expect } from 'chai';
import { MountError } from '../../../src/mount/errors.ts';
import { flagsNamed, refusedOptions } from '../../../src/mount/flags.ts';
import { kernelWith } from '../../../src/mount/kernel.ts';
import { parseOptions } from '../../../src/mount/options.ts';
import { describeStep, plan } from '../../../src/mount/plan.ts';

const MODERN = kernelWith(['fsopen', 'mount-setattr']);
const CLASSIC = kernelWith(['mount-setattr'], 'classic');
const OLD = kernelWith([]);

const steps = (options: string[], type = 'none', kernel = MODERN) =>
  plan({ type, source: '', options }, kernel).map(describeStep);

const plans: { options: string[]; type?: string; expect: string[] }[] = [
  {
    options: ['remount', 'bind', 'ro'],
    expect: ['mount = the mount at target', 'mount_setattr(mount, set MOUNT_ATTR_RDONLY)'],
  },
  {
    options: ['remount', 'nosuid', 'ro'],
    type: 'bind',
    expect: ['mount = the mount at target', 'mount_setattr(mount, set MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID)'],
  },
  {
    options: ['remount', 'rw', 'size=1m', 'sync'],
    expect: [
      'mount = the mount at target',
      'mount_setattr(mount, clear MOUNT_ATTR_RDONLY)',
      'context = fspick(mount)',
      'fsconfig(context, rw)',
      'fsconfig(context, sync)',
      'fsconfig(context, size = "1m")',
      'fsconfig(context, FSCONFIG_CMD_RECONFIGURE)',
    ],
  },
  {
    options: ['remount', 'nodev'],
    expect: ['mount = the mount at target', 'mount_setattr(mount, set MOUNT_ATTR_NODEV)'],
  },
  {
    options: ['remount', 'bind', 'rro'],
    expect: ['mount = the mount at target', 'mount_setattr(mount, AT_RECURSIVE, set MOUNT_ATTR_RDONLY)'],
  },
  { options: ['remount'], expect: ['mount = the mount at target'] },
];

const refusals: { options: string[]; message: RegExp }[] = [
  { options: ['remount', 'private'], message: /remount does not change propagation/ },
  { options: ['remount', 'bind', 'rshared'], message: /remount does not change propagation/ },
  { options: ['remount', 'uidmap=0:1:1', 'gidmap=0:1:1'], message: /cannot change the id map/ },
  { options: ['remount', 'bind', 'size=1m'], message: /size=1m belongs to its filesystem/ },
  { options: ['remount', 'bind', 'sync'], message: /sync belongs to its filesystem/ },
];

describe('the plan of a remount', () => {
  for (const { options, type, expect: expected } of plans) {
    it(`of ${options.join(',')}${type ? `, type ${type}` : ''}`, () => {
      expect(steps(options, type)).to.deep.equal(expected);
    });
  }
  for (const { options, message } of refusals) {
    it(`refuses ${options.join(',')}`, () => {
      expect(() => steps(options))
        .to.throw(MountError, message)
        .that.includes({ reason: 'invalid-mount' });
    });
  }
});

const change = (...options: string[]) => parseOptions(options).mount;

const classicPlans: { options: string[]; expect: string[] }[] = [
  {
    options: ['remount', 'bind', 'ro', 'noatime'],
    expect: [
      'mount(target, MS_REMOUNT|MS_BIND, set MS_RDONLY|MS_NOATIME, clear MS_NOATIME|MS_RELATIME|MS_STRICTATIME)',
    ],
  },
  { options: ['remount', 'nodev'], expect: ['mount(target, MS_REMOUNT|MS_BIND, set MS_NODEV, clear 0)'] },
  {
    options: ['remount', 'rw', 'nodev', 'size=1m', 'async', 'lazytime'],
    expect: [
      'mount(target, MS_REMOUNT, set MS_NODEV|MS_LAZYTIME, clear MS_RDONLY|MS_SYNCHRONOUS, "size=1m")',
    ],
  },
];

describe('the classic plan of a remount', () => {
  for (const { options, expect: expected } of classicPlans) {
    it(`of ${options.join(',')}`, () => {
      for (const kernel of [CLASSIC, OLD]) {
        expect(steps(options, 'none', kernel)).to.deep.equal(['mount = the mount at target', ...expected]);
      }
    });
  }

  it('changes a whole tree where the kernel has the call for it', () => {
    expect(steps(['remount', 'bind', 'rro'], 'none', CLASSIC).at(-1)).to.include('AT_RECURSIVE');
    expect(() => steps(['remount', 'bind', 'rro'], 'none', OLD)).to.throw(MountError, /mount_setattr/);
  });

  it('refuses data of more than a page', () => {
    expect(() => steps(['remount', `x=${'y'.repeat(4096)}`], 'none', OLD)).to.throw(MountError, /4098 bytes/);
  });
});

describe('flags of a mount', () => {
  const refused: { has: string[]; options: string[]; names: string[] }[] = [
    { has: ['ro', 'nosuid'], options: ['rw', 'suid', 'dev'], names: ['rw', 'suid'] },
    { has: ['rw', 'relatime'], options: ['noatime'], names: ['noatime'] },
    { has: ['rw', 'relatime'], options: ['relatime', 'ro'], names: [] },
    { has: ['rw', 'relatime'], options: ['nodiratime'], names: ['nodiratime'] },
  ];
  for (const { has, options, names } of refused) {
    it(`${has.join(',')} would lose by ${options.join(',')}: ${names.join(',') || 'nothing'}`, () => {
      expect(refusedOptions(flagsNamed(has), change(...options))).to.deep.equal(names);
    });
  }
});
