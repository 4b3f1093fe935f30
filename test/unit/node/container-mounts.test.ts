// Which mounts of a container come from a volume.
import { expect } from 'chai';
import { originOf, unmapped } from '../../../src/node/container-mounts.ts';

const UID = '0a0b0c0d-1111-2222-3333-444455556666';
const KUBELET = '/var/lib/kubelet';
const POD = `${KUBELET}/pods/${UID}`;
const TARGET = `${POD}/volumes/kubernetes.io~csi/data/mount`;

describe('a mount of a container', () => {
  const rows: readonly (readonly [source: string, is: string | undefined, path?: string])[] = [
    [TARGET, 'volume', TARGET],
    [`${TARGET}/a/b`, 'part', `${TARGET}/a/b`],
    [`${POD}/volume-subpaths/data/main/0`, 'sub-path', `${POD}/volume-subpaths/data/main/0`],
    // By another name of the kubelet directory, which was a link.
    [`/data/kubelet/pods/${UID}/volumes/kubernetes.io~csi/data/mount`, 'volume', TARGET],
    [`/data/pods/x/pods/${UID}/volumes/kubernetes.io~csi/data/mount`, 'volume', TARGET],
    [`${POD}/volumes/kubernetes.io~csi/other/mount`, undefined],
    [`${POD}/volumes/kubernetes.io~csi/data/mounted`, undefined],
    [`${POD}/volumes/kubernetes.io~csi/data`, undefined],
    [`${POD}/volume-subpaths/data-2/main/0`, undefined],
    [`${POD}/volume-subpaths/data`, undefined],
    [`${POD}/etc-hosts`, undefined],
    [`${KUBELET}/pods/ffffffff-1111-2222-3333-444455556666/volumes/kubernetes.io~csi/data/mount`, undefined],
    [`${TARGET}/../../other/mount`, undefined],
    [`/srv/pods/${UID}`, undefined],
    ['', undefined],
  ];
  for (const [source, is, path] of rows) {
    it(`${source || '(none)'}: ${is ?? 'not of the volume'}`, () => {
      expect(originOf(source, TARGET, KUBELET)).to.deep.equal(is && { is, path });
    });
  }
});

describe('a mount of a container without the ID mapping of the runtime', () => {
  const mount = { destination: '/v', type: 'bind', source: TARGET };
  const options = (given: string[], isReadOnly: boolean) =>
    unmapped({ ...mount, options: given }, { isReadOnly }).options;

  it('is the same, but for what says it', () => {
    expect(unmapped({ ...mount, options: ['rbind', 'rslave', 'rw'] }, { isReadOnly: false })).to.deep.equal({
      ...mount,
      options: ['rbind', 'rslave', 'rw'],
    });
    const mapped = ['rbind', 'ridmap', 'idmap', 'idmap=uids=0-1-2', 'rw'];
    expect(options(mapped, false)).to.deep.equal(['rbind', 'rw']);
  });

  it('is read-only where the volume is by itself', () => {
    expect(options(['rbind', 'rprivate', 'rw'], true)).to.deep.equal(['rbind', 'rprivate', 'ro']);
    expect(options(['rbind', 'rprivate', 'ro'], true)).to.include('ro');
    expect(options(['rbind', 'ro'], false)).to.deep.equal(['rbind', 'ro']);
  });
});
