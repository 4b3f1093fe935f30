// A pod's uid, and the path of kubelet in which it stands.
import { expect } from 'chai';
import { isPodUid, podUidOfTarget } from '../../../src/userns/pod-uid.ts';

const UID = '0d5e4a07-9a0a-4a8b-8a3c-54b0f9a1c1de';
const STATIC = '7a5b3c1d9e8f70615243342516079885';

describe('isPodUid', () => {
  for (const uid of [UID, STATIC]) it(`knows ${uid}`, () => expect(isPodUid(uid)).to.equal(true));

  const others = [
    '',
    '.',
    '..',
    '../..',
    'pod',
    UID.toUpperCase(),
    UID.slice(1),
    `${UID}\n`,
    `${UID}/`,
    ` ${UID}`,
    UID.replaceAll('-', '_'),
    `${STATIC}0`,
    `${UID}\0`,
  ];
  for (const text of others) {
    it(`does not know ${JSON.stringify(text)}`, () => expect(isPodUid(text)).to.equal(false));
  }
});

describe('podUidOfTarget', () => {
  const target = `/var/lib/kubelet/pods/${UID}/volumes/kubernetes.io~csi/data/mount`;

  it('is the uid in a path of a volume', () => {
    expect(podUidOfTarget('/var/lib/kubelet', target)).to.equal(UID);
    expect(podUidOfTarget('/var/lib/kubelet/', target)).to.equal(UID);
    expect(podUidOfTarget('/var/lib/kubelet', target.replace(UID, STATIC))).to.equal(STATIC);
    expect(podUidOfTarget('/', `/pods/${UID}/volumes/kubernetes.io~csi/data/mount`)).to.equal(UID);
  });

  const others: readonly [what: string, target: string][] = [
    ['of a block volume', `/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/publish/pv/${UID}`],
    ['of a staged volume', '/var/lib/kubelet/plugins/kubernetes.io/csi/idmap.csi.dev/0a/globalmount'],
    ['in another directory', target.replace('/kubelet/', '/kubelet2/')],
    ['that begins like it', target.replace('/kubelet/', '/kubelet-root/')],
    ['of another plugin', target.replace('~csi', '~nfs')],
    ['below the target', `${target}/data`],
    ['above the target', target.replace(/\/mount$/, '')],
    ['with another end', target.replace(/mount$/, 'data')],
    ['with a slash more', target.replace('/pods/', '//pods/')],
    ['with dots', target.replace('/data/', '/../')],
    ['with no volume', target.replace('/data/', '//')],
    ['of no pod', target.replace(UID, '..')],
    ['that is relative', target.slice(1)],
    ['that is empty', ''],
  ];
  for (const [what, path] of others) {
    it(`is none in a path ${what}`, () =>
      expect(podUidOfTarget('/var/lib/kubelet', path)).to.equal(undefined));
  }
});
