// Fields of requests, and what makes two requests the same.
import { expect } from 'chai';
import fc from 'fast-check';
import { NodeError } from '../../../src/node/reasons.ts';
import {
  type Arguments,
  allowsSeveralTargets,
  fingerprint,
  isReaderMode,
  requireCapability,
  requirePath,
  requireVolumeId,
} from '../../../src/node/request.ts';
import {
  VolumeCapability_AccessMode_Mode as Mode,
  VolumeCapability,
  type VolumeCapability_MountVolume,
} from '../../../src/rpc/generated/csi.ts';

function expectRefused(call: () => unknown, reason: string, message: RegExp): void {
  expect(call).to.throw(NodeError, message).with.property('reason', reason);
}

describe('volume_id', () => {
  it('of 1 to 128 bytes is taken as it is', () => {
    for (const id of ['v', 'v'.repeat(128), 'é'.repeat(64), '../..', 'a\n\0b', ' ']) {
      expect(requireVolumeId(id)).to.equal(id);
    }
  });
  it('must be there', () =>
    expectRefused(() => requireVolumeId(''), 'missing-field', /^volume_id is missing/));
  it('must not be longer: in bytes', () => {
    for (const id of ['v'.repeat(129), `${'é'.repeat(64)}v`]) {
      expectRefused(() => requireVolumeId(id), 'invalid-field', /^volume_id has more than 128 bytes/);
    }
  });
});

describe('a path', () => {
  it('that is absolute is taken', () => {
    expect(requirePath('/var/lib/kubelet/x', 'target_path')).to.equal('/var/lib/kubelet/x');
  });
  it('must be there', () =>
    expectRefused(() => requirePath('', 'target_path'), 'missing-field', /^target_path is/));
  for (const path of ['some/path', './x', '../x', 'x', '/a\0b']) {
    it(`${JSON.stringify(path)} is refused`, () => {
      expectRefused(
        () => requirePath(path, 'target_path'),
        'invalid-field',
        /^target_path ".*" is not an absolute/,
      );
    });
  }
  it('is one place by one name: what a caller may write in several ways is the same', () => {
    for (const path of ['/a/b/', '/a//b', '/a/./b', '//a/b', '/a/b/.']) {
      expect(requirePath(path, 'target_path'), path).to.equal('/a/b');
    }
  });
  it('has no .. in it', () => {
    for (const path of ['/a/x/../b', '/a/..', '/../a']) {
      expectRefused(() => requirePath(path, 'target_path'), 'invalid-field', /^target_path ".*" .*\.\./);
    }
    expect(requirePath('/a/..data/b', 'target_path')).to.equal('/a/..data/b');
  });
});

describe('volume_capability', () => {
  const accessMode = { mode: Mode.SINGLE_NODE_WRITER };
  const mount = (value: Partial<VolumeCapability_MountVolume> = {}, mode: number = Mode.SINGLE_NODE_WRITER) =>
    VolumeCapability.create({ accessType: { $case: 'mount', value }, accessMode: { mode: mode as Mode } });

  const plain = { accessMode: 'SINGLE_NODE_WRITER', mountFlags: [], fsType: '', block: false };

  it('for a mount gives the access mode by name, the flags and the filesystem', () => {
    expect(requireCapability(mount())).to.deep.equal({ ...plain, group: undefined });
    expect(requireCapability(mount({ fsType: 'ext4', mountFlags: ['ro', 'a=b'] }))).to.deep.equal({
      ...plain,
      ...{ fsType: 'ext4', mountFlags: ['ro', 'a=b'], group: undefined },
    });
    const modes = Object.entries(Mode).filter(([name]) => name !== 'UNKNOWN');
    expect(modes).to.have.length(7);
    for (const [name, mode] of modes) expect(requireCapability(mount({}, mode)).accessMode).to.equal(name);
  });

  it('must be there, with an access type', () => {
    expectRefused(() => requireCapability(undefined), 'missing-field', /^volume_capability is missing/);
    const withoutType = VolumeCapability.create({ accessMode });
    expectRefused(() => requireCapability(withoutType), 'missing-field', /access_type is missing/);
  });

  it('must have an access mode that is known', () => {
    const withoutMode = VolumeCapability.create({ accessType: { $case: 'mount', value: {} } });
    for (const capability of [withoutMode, mount({}, Mode.UNKNOWN), mount({}, 99), mount({}, -1)]) {
      expectRefused(() => requireCapability(capability), 'invalid-field', /access_mode -?\d+ is not known/);
    }
  });

  it('for a block device says so', () => {
    const block = VolumeCapability.create({ accessType: { $case: 'block', value: {} }, accessMode });
    expect(requireCapability(block)).to.deep.equal({ ...plain, block: true, group: undefined });
  });

  it('gives the group as a number', () => {
    for (const [text, group] of [
      ['0', 0],
      ['1000', 1000],
      ['4294967294', 4294967294],
    ] as const) {
      expect(requireCapability(mount({ volumeMountGroup: text })).group).to.equal(group);
    }
  });

  for (const text of ['staff', '-1', '4294967295', '99999999999', '1.5', ' 1', '1\n', '0x1', '1e3']) {
    it(`refuses ${JSON.stringify(text)}, which is no group`, () => {
      expectRefused(
        () => requireCapability(mount({ volumeMountGroup: text })),
        'invalid-field',
        /^volume_capability\.mount\.volume_mount_group ".*" is no group id/s,
      );
    });
  }
});

describe('several targets', () => {
  it('are for access modes of many, by the specification', () => {
    const names = (Object.keys(Mode) as (keyof typeof Mode)[]).filter((name) => name !== 'UNKNOWN');
    expect(names.filter(allowsSeveralTargets).toSorted()).to.deep.equal([
      'MULTI_NODE_MULTI_WRITER',
      'MULTI_NODE_READER_ONLY',
      'MULTI_NODE_SINGLE_WRITER',
      'SINGLE_NODE_MULTI_WRITER',
    ]);
  });
});

describe('an access mode of readers', () => {
  it('is one in which nobody may write', () => {
    const names = (Object.keys(Mode) as (keyof typeof Mode)[]).filter(isReaderMode);
    expect(names.toSorted()).to.deep.equal(['MULTI_NODE_READER_ONLY', 'SINGLE_NODE_READER_ONLY']);
  });
});

describe('the fingerprint of a request', () => {
  const base: Arguments = {
    volumeContext: { type: 'overlay', lowerdir: '/a' },
    capability: {
      ...{ accessMode: 'SINGLE_NODE_WRITER', mountFlags: ['noatime'] },
      ...{ fsType: '', block: false, group: undefined },
    },
    readonly: false,
    stagingPath: '/staging',
  };

  it('does not depend on the order of the context', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string()), (context) => {
        const volumeContext = Object.fromEntries(Object.entries(context).toReversed());
        expect(fingerprint({ ...base, volumeContext })).to.equal(
          fingerprint({ ...base, volumeContext: context }),
        );
      }),
    );
  });

  it('does not depend on tokens, which are renewed', () => {
    const key = 'csi.storage.k8s.io/serviceAccount.tokens';
    const volumeContext = { ...base.volumeContext, [key]: 'renewed' };
    expect(fingerprint({ ...base, volumeContext })).to.equal(fingerprint(base));
  });

  const { volumeContext, capability } = base;
  const changes: readonly (readonly [what: string, change: Partial<Arguments>])[] = [
    ['a value', { volumeContext: { ...volumeContext, lowerdir: '/b' } }],
    ['a key more', { volumeContext: { ...volumeContext, options: '' } }],
    ['a key less', { volumeContext: { type: 'overlay' } }],
    ['key and value exchanged', { volumeContext: { overlay: 'type', lowerdir: '/a' } }],
    ['the access mode', { capability: { ...capability, accessMode: 'MULTI_NODE_READER_ONLY' } }],
    ['a flag', { capability: { ...capability, mountFlags: ['noexec'] } }],
    ['a flag more', { capability: { ...capability, mountFlags: ['noatime', 'noexec'] } }],
    ['a filesystem', { capability: { ...capability, fsType: 'ext4' } }],
    ['a block device', { capability: { ...capability, block: true } }],
    ['a group', { capability: { ...capability, group: 0 } }],
    ['no flags', { capability: { ...capability, mountFlags: [] } }],
    ['readonly', { readonly: true }],
    ['the staging path', { stagingPath: '/elsewhere' }],
    ['no staging path', { stagingPath: undefined }],
  ];
  for (const [what, change] of changes) {
    it(`differs with ${what}`, () =>
      expect(fingerprint({ ...base, ...change })).to.not.equal(fingerprint(base)));
  }

  it('differs with the order of the flags: later ones win', () => {
    const flags = (...mountFlags: string[]) =>
      fingerprint({ ...base, capability: { ...capability, mountFlags } });
    expect(flags('ro', 'rw')).to.not.equal(flags('rw', 'ro'));
    expect(flags('a', 'b')).to.not.equal(flags('a,b'));
  });

  it('holds nothing of what it was made of', () => {
    const secret = 'tok3n';
    const text = fingerprint({ ...base, volumeContext: { [secret]: secret } });
    expect(text)
      .to.match(/^[0-9a-f]{64}$/)
      .and.to.not.contain(secret);
  });
});
