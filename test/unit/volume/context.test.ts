// From volumeAttributes to a Volume, and every way in which keys can contradict each other.
import { expect } from 'chai';
import fc from 'fast-check';
import { type Capability, readVolumeContext, type VolumeContext } from '../../../src/volume/context.ts';
import { VolumeError } from '../../../src/volume/errors.ts';
import { KEYS } from '../../../src/volume/keys.ts';
import { cases } from '../../support/cases.ts';
import { INLINE, MAPPING } from './volumes.ts';

const POD = {
  'csi.storage.k8s.io/pod.name': 'web-0',
  'csi.storage.k8s.io/pod.namespace': 'team-a',
  'csi.storage.k8s.io/pod.uid': '8f1d',
  'csi.storage.k8s.io/serviceAccount.name': 'web',
};

const plain = { options: [], idmap: { is: 'none' }, inline: false, pod: undefined };
const bind = { kind: 'bind', type: 'bind', ...plain, source: '/srv' };
const tmpfs = { kind: 'tmpfs', type: 'tmpfs', ...plain, sizeLimit: undefined };
const overlay = {
  ...{ kind: 'overlay', type: 'overlay', ...plain },
  lowerdir: [{ path: '/a', dataOnly: false }],
  writable: { is: 'no' },
};
const image = {
  ...{ kind: 'image', type: 'image', ...plain, source: '/a.img' },
  ...{ block: false, filesystem: 'auto', make: undefined },
};

const OVERLAY = { type: 'overlay', lowerdir: '/a' };
const IMAGE = { type: 'image', source: '/a.img' };
const IDS = { uidmap: MAPPING, gidmap: MAPPING };
const UPPER = { upperdir: '/u', workdir: '/w' };

type Row = readonly [what: string, context: VolumeContext, volume: object, capability?: Capability];

describe('readVolumeContext', () => {
  const accepted: readonly Row[] = [
    ['bind by default', { source: '/srv' }, bind],
    ['bind by name', { type: 'bind', source: '/srv' }, bind],
    ['tmpfs', { type: 'tmpfs' }, tmpfs],
    ['tmpfs with a limit', { type: 'tmpfs', sizeLimit: '64Mi' }, { ...tmpfs, sizeLimit: 67108864 }],
    ['overlay', OVERLAY, overlay],
    ['overlay, writable: no', { ...OVERLAY, writable: 'no' }, overlay],
    [
      'overlay of several layers, top first',
      { type: 'overlay', lowerdir: '/b:/a::/c' },
      {
        ...overlay,
        lowerdir: [
          { path: '/b', dataOnly: false },
          { path: '/a', dataOnly: false },
          { path: '/c', dataOnly: true },
        ],
      },
    ],
    [
      'overlay, ephemeral',
      { ...OVERLAY, writable: 'ephemeral', sizeLimit: '1Gi' },
      { ...overlay, writable: { is: 'ephemeral', sizeLimit: 2 ** 30 } },
    ],
    [
      'overlay, persistent by its upperdir',
      { ...OVERLAY, ...UPPER },
      { ...overlay, writable: { is: 'persistent', ...UPPER } },
    ],
    [
      'overlay, persistent by name',
      { ...OVERLAY, ...UPPER, writable: 'persistent' },
      { ...overlay, writable: { is: 'persistent', ...UPPER } },
    ],
    ['image', IMAGE, image],
    ['image with a filesystem', { ...IMAGE, fsType: 'xfs' }, { ...image, filesystem: 'xfs' }],
    ['image, filesystem of the request', IMAGE, { ...image, filesystem: 'xfs' }, { fsType: 'xfs' }],
    [
      'image, the key before the request',
      { ...IMAGE, fsType: 'erofs' },
      { ...image, filesystem: 'erofs' },
      { fsType: 'xfs' },
    ],
    [
      'image to be made, ext4 by default',
      { ...IMAGE, mkfs: 'true', size: '1Gi' },
      { ...image, filesystem: 'ext4', make: { filesystem: 'ext4', bytes: 2 ** 30 } },
    ],
    [
      'image to be made, of the filesystem of the request',
      { ...IMAGE, mkfs: 'true', size: '1Gi' },
      { ...image, filesystem: 'btrfs', make: { filesystem: 'btrfs', bytes: 2 ** 30 } },
      { fsType: 'btrfs' },
    ],
    ['image, mkfs: false', { ...IMAGE, mkfs: 'false' }, image],
    ['image as a block device', IMAGE, { ...image, block: true }, { block: true }],
    [
      'a filesystem of the kernel',
      { type: 'nfs', source: 'host:/a' },
      { kind: 'filesystem', type: 'nfs', ...plain, source: 'host:/a' },
    ],
    [
      'a FUSE helper',
      { type: 'fuse3.sshfs', source: 'me@host:' },
      { kind: 'fuse', type: 'fuse3.sshfs', helper: 'sshfs', ...plain, source: 'me@host:' },
    ],
    [
      'a mapping',
      { source: '/srv', uidmap: MAPPING, gidmap: '0:0:1' },
      { ...bind, idmap: { is: 'explicit', uidmap: MAPPING, gidmap: '0:0:1' } },
    ],
    ['idmap: none', { source: '/srv', idmap: 'none' }, bind],
    [
      'an owner',
      { source: '/srv', owner: '1000' },
      { ...bind, idmap: { is: 'owner', uid: 1000, gid: undefined } },
    ],
    [
      'an owner and group',
      { source: '/srv', owner: '1000:5' },
      { ...bind, idmap: { is: 'owner', uid: 1000, gid: 5 } },
    ],
    [
      'idmap: pod, below data by default',
      { ...OVERLAY, idmap: 'pod' },
      { ...overlay, idmap: { is: 'pod', nestedDir: undefined } },
    ],
    [
      'idmap: pod, below a name',
      { ...OVERLAY, idmap: 'pod', nestedDir: 'model' },
      { ...overlay, idmap: { is: 'pod', nestedDir: 'model' } },
    ],
    [
      'inline, with the pod',
      { type: 'tmpfs', ...INLINE, ...POD },
      {
        ...tmpfs,
        inline: true,
        pod: { uid: '8f1d', name: 'web-0', namespace: 'team-a', serviceAccount: 'web' },
      },
    ],
    [
      'other keys of Kubernetes are its own affair',
      { type: 'tmpfs', 'csi.storage.k8s.io/ephemeral': 'false', 'storage.kubernetes.io/anything': 'x' },
      tmpfs,
    ],
    [
      'mounts',
      { mounts: '[{"source":"/srv"},{"type":"overlay","lowerdir":"/a","target":"b/c"}]' },
      {
        ...{ kind: 'mounts', type: 'mounts', ...plain },
        parts: [
          { target: '', volume: bind },
          { target: 'b/c', volume: overlay },
        ],
      },
    ],
    [
      'mounts, mapped when its root is',
      { mounts: JSON.stringify([{ source: '/srv', ...IDS }]) },
      {
        ...{ kind: 'mounts', type: 'mounts', ...plain, idmap: { is: 'explicit', ...IDS } },
        parts: [{ target: '', volume: { ...bind, idmap: { is: 'explicit', ...IDS } } }],
      },
    ],
  ];
  for (const [what, context, volume, capability] of accepted) {
    it(what, () => expect(readVolumeContext(context, capability)).to.deep.equal(volume));
  }

  it('mount flags come last, one option each as they are', () => {
    const { options } = readVolumeContext(
      { type: 'tmpfs', options: 'noatime,"mode=0700"' },
      { mountFlags: ['ro', 'a,"b'] },
    );
    expect(options).to.deep.equal(['noatime', 'mode=0700', 'ro', 'a,"b']);
  });

  it('changes neither context nor flags', () => {
    const context = Object.freeze({ source: '/srv', options: 'noatime' });
    const capability = Object.freeze({ mountFlags: Object.freeze(['ro']) });
    expect(readVolumeContext(context, capability)).to.deep.equal(readVolumeContext(context, capability));
  });

  const MOUNTS = { mounts: '[{"source":"/a"}]' };
  const refused: readonly (readonly [VolumeContext, field: string, message: string, Capability?])[] = [
    [{}, 'source', 'is required for type bind'],
    [{ type: 'overlay' }, 'lowerdir', 'is required for type overlay'],
    [{ type: 'ext4' }, 'source', 'is required for type ext4'],
    [{ source: '/a', sourc: '/b' }, 'sourc', 'no such key of a volume context; did you mean source?'],
    [{ source: '/a', size_limit: '1' }, 'size_limit', 'no such key of a volume context; did you mean sizeL'],
    [{ source: '/a', mount: '[]' }, 'mount', 'no such key of a volume context; did you mean mounts?'],
    [{ source: '/a', '': 'x' }, '', 'no such key of a volume context; the keys are type, source,'],
    [{ source: '/a', constructor: 'x' } as never, 'constructor', 'no such key of a volume context'],
    [{ source: '/a', toString: 'x' } as never, 'toString', 'no such key of a volume context'],
    [JSON.parse('{"source":"/a","__proto__":"x"}'), '__proto__', 'no such key of a volume context'],
    [{ source: '/a', 'csi.storage.k8s.io': 'x' }, 'csi.storage.k8s.io', 'no such key of a volume context'],
    // What is unknown is said first: the rest may follow from it.
    [{ typ: 'overlay', lowerdir: '/a' }, 'typ', 'no such key of a volume context; did you mean type?'],
    [
      { source: '/a', lowerdir: '/b' },
      'lowerdir',
      'has no meaning for type bind, only for overlay; remove it',
    ],
    [{ type: 'tmpfs', upperdir: '/u' }, 'upperdir', 'has no meaning for type tmpfs, only for overlay'],
    [{ ...OVERLAY, source: '/a' }, 'source', 'has no meaning for type overlay, only for bind, image'],
    [
      { type: 'tmpfs', source: '/a' },
      'source',
      'has no meaning for type tmpfs, only for bind, image, filesystems such as ext4, fuse.HELPER; remove it',
    ],
    [{ source: '/a', uidmap: MAPPING }, 'gidmap', 'missing: an ID mapping needs uidmap and gidmap'],
    [{ source: '/a', gidmap: MAPPING }, 'uidmap', 'missing: an ID mapping needs uidmap and gidmap'],
    [{ source: '/a', ...IDS, owner: '1' }, 'owner', 'is a mapping of its own, which excludes uidmap and'],
    [
      { source: '/a', owner: '1', idmap: 'pod' },
      'idmap',
      'pod takes the mapping of the pod, which excludes owner; remove one of them',
    ],
    [
      { source: '/a', ...IDS, idmap: 'pod' },
      'idmap',
      'pod takes the mapping of the pod, which excludes uidmap and gidmap; remove one of them',
    ],
    [{ source: '/a', owner: '1', idmap: 'none' }, 'idmap', 'none asks for no mapping, which excludes owner'],
    [{ ...OVERLAY, nestedDir: 'a' }, 'nestedDir', 'has no meaning without idmap: pod; remove it, or add'],
    [{ ...OVERLAY, upperdir: '/u' }, 'workdir', 'missing: a persistent writable layer needs upperdir and'],
    [{ ...OVERLAY, workdir: '/w' }, 'upperdir', 'missing: a persistent writable layer needs upperdir and'],
    [
      { ...OVERLAY, writable: 'persistent' },
      'upperdir',
      'is required with writable: persistent, and workdir',
    ],
    [
      { ...OVERLAY, ...UPPER, writable: 'no' },
      'upperdir',
      'cannot be given with writable: no; remove it, or',
    ],
    [{ ...OVERLAY, ...UPPER, writable: 'ephemeral' }, 'upperdir', 'cannot be given with writable: ephemeral'],
    [
      { ...OVERLAY, sizeLimit: '1Gi' },
      'sizeLimit',
      'of an overlay holds for an ephemeral layer; add writable',
    ],
    [{ ...OVERLAY, ...UPPER, sizeLimit: '1Gi' }, 'sizeLimit', 'of an overlay holds for an ephemeral layer'],
    [{ ...IMAGE, size: '1Gi' }, 'size', 'is the size of an image that is to be made; add mkfs: "true"'],
    [{ ...IMAGE, mkfs: 'true' }, 'size', 'is required with mkfs: "true"; write the size of the image'],
    [
      { ...IMAGE, mkfs: 'true', size: '1Gi', fsType: 'erofs' },
      'fsType',
      'erofs cannot be made; with mkfs: "true" write one of ext4, xfs, btrfs',
    ],
    [IMAGE, 'fs_type', '"ext5" is not one of', { fsType: 'ext5' }],
    [{ type: 'image', source: 'a.img' }, 'source', '"a.img" is not an absolute path'],
    [{ source: 'host:/a' }, 'source', '"host:/a" is not an absolute path'],
    [
      { source: '/a' },
      'type',
      'bind cannot be a block device; for volumeMode: Block use type',
      { block: true },
    ],
    [{ ...IMAGE, owner: '1' }, 'owner', 'has no meaning for volumeMode: Block', { block: true }],
    [{ ...IMAGE, idmap: 'pod' }, 'idmap', 'has no meaning for volumeMode: Block', { block: true }],
    [MOUNTS, 'mounts', 'has no meaning for volumeMode: Block; use type image', { block: true }],
    [{ ...MOUNTS, source: '/a' }, 'source', 'cannot be given beside mounts; put it into the mount that'],
    [MOUNTS, 'mount_flags', 'cannot be given beside mounts; put options into', { mountFlags: ['ro'] }],
    [{ source: '/a' }, 'mount_flags', '"" is empty or has a control character', { mountFlags: ['ro', ''] }],
    [{ source: '/a' }, 'mount_flags', '"a\\u0000b" is empty or has a control', { mountFlags: ['a\0b'] }],
  ];
  for (const [context, field, message, capability] of refused) {
    it(`${JSON.stringify({ ...context, ...capability })}: ${field || '(no name)'} ${message}`, () => {
      expect(() => readVolumeContext(context, capability))
        .to.throw(VolumeError, `${field}: ${message}`)
        .with.property('field', field);
    });
  }

  it('serves or refuses with a VolumeError, whatever the keys and values are', () => {
    const examples = Object.values(KEYS).map(({ example }) => example);
    const keys = fc.oneof(fc.constantFrom(...Object.keys(KEYS), 'mounts'), fc.string());
    const value = fc.oneof(
      fc.constantFrom(...examples, 'tmpfs', 'image', 'ext4', 'fuse.a', '/a', '/a:/b', 'no', 'persistent'),
      fc.json(),
      fc.string(),
    );
    const capability = fc.record(
      { mountFlags: fc.array(fc.string(), { maxLength: 3 }), fsType: fc.string(), block: fc.boolean() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.dictionary(keys, value), capability, (context, asked) => {
        try {
          readVolumeContext(context, asked);
        } catch (error) {
          expect(error).to.be.instanceOf(VolumeError);
        }
      }),
      { numRuns: cases(500) },
    );
  });
});
