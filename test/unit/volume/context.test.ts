// From volumeAttributes to a Volume, and every way in which keys can contradict each other.
import { expect } from 'chai';
import fc from 'fast-check';
import { readVolumeContext, type VolumeContext } from '../../../src/volume/context.ts';
import { VolumeError } from '../../../src/volume/errors.ts';

const MAPPING = '0:100000:65536';
const POD = {
  'csi.storage.k8s.io/pod.name': 'web-0',
  'csi.storage.k8s.io/pod.namespace': 'team-a',
  'csi.storage.k8s.io/pod.uid': '8f1d',
  'csi.storage.k8s.io/serviceAccount.name': 'web',
};

const plain = { options: [], idmap: undefined, inline: false, pod: undefined };

describe('readVolumeContext', () => {
  const accepted: readonly (readonly [what: string, context: VolumeContext, volume: object])[] = [
    ['bind by default', { source: '/srv' }, { type: 'bind', ...plain, source: '/srv' }],
    ['bind by name', { type: 'bind', source: '/srv' }, { type: 'bind', ...plain, source: '/srv' }],
    ['tmpfs', { type: 'tmpfs' }, { type: 'tmpfs', ...plain }],
    [
      'overlay',
      { type: 'overlay', lowerdir: '/b:/a' },
      {
        type: 'overlay',
        ...plain,
        lowerdir: [
          { path: '/b', dataOnly: false },
          { path: '/a', dataOnly: false },
        ],
        upper: undefined,
      },
    ],
    [
      'overlay with a writable layer',
      { type: 'overlay', lowerdir: '/a', upperdir: '/u', workdir: '/w' },
      {
        type: 'overlay',
        ...plain,
        lowerdir: [{ path: '/a', dataOnly: false }],
        upper: { upperdir: '/u', workdir: '/w' },
      },
    ],
    [
      'a mapping',
      { source: '/srv', uidmap: MAPPING, gidmap: '0:0:1' },
      { type: 'bind', ...plain, source: '/srv', idmap: { uidmap: MAPPING, gidmap: '0:0:1' } },
    ],
    [
      'inline, with the pod',
      { type: 'tmpfs', 'csi.storage.k8s.io/ephemeral': 'true', ...POD },
      {
        type: 'tmpfs',
        ...plain,
        inline: true,
        pod: { uid: '8f1d', name: 'web-0', namespace: 'team-a', serviceAccount: 'web' },
      },
    ],
    [
      'other keys of Kubernetes are its own affair',
      { type: 'tmpfs', 'csi.storage.k8s.io/ephemeral': 'false', 'storage.kubernetes.io/anything': 'x' },
      { type: 'tmpfs', ...plain },
    ],
  ];
  for (const [what, context, volume] of accepted) {
    it(what, () => expect(readVolumeContext(context, [])).to.deep.equal(volume));
  }

  it('mount flags come last, one option each as they are', () => {
    const { options } = readVolumeContext({ type: 'tmpfs', options: 'noatime,"mode=0700"' }, ['ro', 'a,"b']);
    expect(options).to.deep.equal(['noatime', 'mode=0700', 'ro', 'a,"b']);
  });

  it('changes neither context nor flags', () => {
    const context = Object.freeze({ source: '/srv', options: 'noatime' });
    const flags = Object.freeze(['ro']);
    expect(readVolumeContext(context, flags)).to.deep.equal(readVolumeContext(context, flags));
  });

  const refused: readonly (readonly [context: VolumeContext, field: string, message: string])[] = [
    [{}, 'source', 'is required for type bind'],
    [{ type: 'overlay' }, 'lowerdir', 'is required for type overlay'],
    [{ source: '/a', sourc: '/b' }, 'sourc', 'no such key of a volume context; did you mean source?'],
    [{ source: '/a', '': 'x' }, '', 'no such key of a volume context; the keys are type, source,'],
    [{ source: '/a', constructor: 'x' }, 'constructor', 'no such key of a volume context'],
    [
      { source: '/a', toString: 'x' } as unknown as VolumeContext,
      'toString',
      'no such key of a volume context',
    ],
    [{ source: '/a', 'csi.storage.k8s.io': 'x' }, 'csi.storage.k8s.io', 'no such key of a volume context'],
    [
      { source: '/a', lowerdir: '/b' },
      'lowerdir',
      'has no meaning for type bind, only for overlay; remove it',
    ],
    [{ type: 'tmpfs', upperdir: '/u' }, 'upperdir', 'has no meaning for type tmpfs, only for overlay'],
    [
      { type: 'overlay', lowerdir: '/a', source: '/a' },
      'source',
      'has no meaning for type overlay, only for bind',
    ],
    [{ source: '/a', uidmap: MAPPING }, 'gidmap', 'missing: an ID mapping needs uidmap and gidmap'],
    [{ source: '/a', gidmap: MAPPING }, 'uidmap', 'missing: an ID mapping needs uidmap and gidmap'],
    [
      { type: 'overlay', lowerdir: '/a', upperdir: '/u' },
      'workdir',
      'missing: a writable overlay needs upperdir',
    ],
    [
      { type: 'overlay', lowerdir: '/a', workdir: '/w' },
      'upperdir',
      'missing: a writable overlay needs upperdir',
    ],
    // What is unknown is said first: the rest may follow from it.
    [{ typ: 'overlay', lowerdir: '/a' }, 'typ', 'no such key of a volume context; did you mean type?'],
  ];
  for (const [context, field, message] of refused) {
    it(`${JSON.stringify(context)}: ${field || '(no name)'} ${message}`, () => {
      expect(() => readVolumeContext(context, []))
        .to.throw(VolumeError, `${field}: ${message}`)
        .with.property('field', field);
    });
  }

  it('serves or refuses with a VolumeError, whatever the keys and values are', () => {
    const keys = fc.oneof(
      fc.constantFrom('type', 'source', 'lowerdir', 'upperdir', 'workdir', 'options', 'uidmap', 'gidmap'),
      fc.string(),
    );
    const value = fc.oneof(fc.constantFrom('bind', 'tmpfs', 'overlay', '/a', '/a:/b', MAPPING), fc.string());
    fc.assert(
      fc.property(fc.dictionary(keys, value), fc.array(fc.string(), { maxLength: 3 }), (context, flags) => {
        try {
          readVolumeContext(context, flags);
        } catch (error) {
          expect(error).to.be.instanceOf(VolumeError);
        }
      }),
    );
  });
});
