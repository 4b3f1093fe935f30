// The point of it all: one data set, pods with different user namespaces, each of which sees the owners it expects,
// reads, and writes into a layer of its own; on disk nothing changes.
import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { runInPod } from '../../src/cli/demo/pod.ts';
import { ownerOf, writeFiles } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { filesIn } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { type Volume, volumeOn } from './volume.ts';

const PODS = { a: '0:100000:65536', b: '0:200000:65536' } as const;
type Pod = keyof typeof PODS;

describe('pods with user namespaces of their own', () => {
  let node: TestNode;
  let volumes: Record<Pod, Volume>;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'nsenter', 'a process in the user namespace of a pod');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  let number = 0;
  let at: (...names: string[]) => string;

  beforeEach(async () => {
    const data = `data-${++number}`;
    at = (...names) => node.at(data, ...names);
    writeFiles(node.at(data), {
      'base/etc/of-root': { content: 'root', uid: 0, gid: 0, mode: 0o600 },
      'base/of-service': { content: 'service', uid: 33, gid: 33, mode: 0o640 },
      'base/deleted': { content: 'deleted', uid: 0, gid: 0 },
      'site/of-user': { content: 'user', uid: 1000, gid: 1000, mode: 0o600 },
      'site/covered': { content: 'site', uid: 1000, gid: 1000 },
      'base/covered': { content: 'base', uid: 33, gid: 33 },
    });
    const makeVolume = async (pod: Pod) => {
      const owner = Number(PODS[pod].split(':')[1]);
      writeFiles(at(pod), { 'upper/': { uid: owner, gid: owner }, 'work/': {} });
      const volume = volumeOn(node, {
        context: {
          type: 'overlay',
          lowerdir: `${at('site')}:${at('base')}`,
          upperdir: at(pod, 'upper'),
          workdir: at(pod, 'work'),
          uidmap: PODS[pod],
          gidmap: PODS[pod],
        },
      });
      expect(await volume.stage()).to.include({ code: 'OK' });
      expect(await volume.publish()).to.include({ code: 'OK' });
      return volume;
    };
    volumes = { a: await makeVolume('a'), b: await makeVolume('b') };
  });
  afterEach(async () => {
    for (const volume of Object.values(volumes ?? {})) await volume[Symbol.asyncDispose]();
  });

  /** What a script prints, run by the pod's root in its volume. */
  const inPod = (pod: Pod, script: string): string =>
    runInPod(PODS[pod], `cd '${volumes[pod].target}'; ${script}`);

  it('the same file has on the node the owner of each pod, and inside the owner that it has on disk', () => {
    const files: readonly (readonly [file: string, layer: string, owner: number])[] = [
      ['etc/of-root', 'base', 0],
      ['of-service', 'base', 33],
      ['of-user', 'site', 1000],
      ['covered', 'site', 1000],
    ];
    for (const [file, layer, owner] of files) {
      expect(ownerOf(at(layer, file))).to.equal(`${owner}:${owner}`);
      expect(ownerOf(`${volumes.a.target}/${file}`)).to.equal(`${100_000 + owner}:${100_000 + owner}`);
      expect(ownerOf(`${volumes.b.target}/${file}`)).to.equal(`${200_000 + owner}:${200_000 + owner}`);
      for (const pod of ['a', 'b'] as const) {
        expect(inPod(pod, `stat -c %u:%g ${file}`)).to.equal(`${owner}:${owner}`);
      }
    }
  });

  it('the root of each pod reads what only root may, and other users of it do not', () => {
    for (const pod of ['a', 'b'] as const) {
      expect(inPod(pod, 'cat etc/of-root of-user')).to.equal('rootuser');
      const asOther = (file: string) =>
        inPod(pod, `setpriv --reuid 33 --regid 33 --clear-groups cat ${file} 2>&1 || true`);
      expect(asOther('of-service')).to.equal('service');
      expect(asOther('etc/of-root')).to.contain('Permission denied');
    }
  });

  it('one pod cannot use the volume of the other', () => {
    const foreign = runInPod(
      PODS.b,
      `cd '${volumes.a.target}'; cat of-user 2>&1 || true; touch x 2>&1 || true`,
    );
    expect(foreign.match(/Permission denied/g)).to.have.length(2);
    const owner = runInPod(PODS.b, `stat -c %u '${volumes.a.target}/of-user'`);
    expect(owner, 'an id that the pod has no name for').to.equal('65534');
  });

  it('what a pod writes, changes, gives away and deletes is its own affair', () => {
    const said = inPod(
      'a',
      `echo new > note; chown 1000:1000 note; chmod 640 note
       printf more >> of-service; chown 7:7 etc/of-root; rm deleted; mkdir -p dir/below
       stat -c '%n %u:%g %a' note of-service etc/of-root dir`,
    );
    expect(said.split('\n')).to.deep.equal([
      'note 1000:1000 640',
      'of-service 33:33 640',
      'etc/of-root 7:7 600',
      'dir 0:0 755',
    ]);
    // The other pod and the disk know nothing of it.
    expect(inPod('b', 'cat of-service deleted; ls')).to.equal(
      ['servicedeletedcovered', 'deleted', 'etc', 'of-service', 'of-user'].join('\n'),
    );
    expect(filesIn(at('base'))).to.deep.equal({
      'of-service': '33:33 service',
      covered: '33:33 base',
      deleted: '0:0 deleted',
    });
    expect(filesIn(at('site'))).to.deep.equal({ 'of-user': '1000:1000 user', covered: '1000:1000 site' });
    expect(ownerOf(at('base/etc/of-root'))).to.equal('0:0');
  });

  it('the upper layer holds what was written, under the ids of the node', () => {
    inPod('a', 'echo new > note; chown 1000:1000 note; printf more >> of-service; rm deleted');
    expect(ownerOf(at('a/upper/note'))).to.equal('101000:101000');
    expect(ownerOf(at('a/upper/of-service'))).to.equal('100033:100033');
    expect(readFileSync(at('a/upper/of-service'), 'utf8')).to.equal('servicemore');
    expect(lstatSync(at('a/upper/deleted')).isCharacterDevice(), 'a whiteout').to.equal(true);
    expect(existsSync(at('b/upper/note'))).to.equal(false);
  });

  it('a pod that is started again finds what it wrote, with the same owners', async () => {
    inPod('a', 'echo new > note; chown 1000:1000 note; chown 7:7 of-service; rm deleted');
    await volumes.a.unpublish();
    await volumes.a.unstage();
    await volumes.a.stage();
    await volumes.a.publish();
    expect(
      inPod('a', 'stat -c %u note of-service of-user; ls deleted 2>&1 || true').split('\n'),
    ).to.deep.equal(['1000', '7', '1000', "ls: cannot access 'deleted': No such file or directory"]);
  });

  it('a set-user-ID program does nothing special', () => {
    const uid = inPod(
      'a',
      `cp "$(command -v id)" id; chmod 4755 id
       setpriv --reuid 33 --regid 33 --clear-groups ./id -u`,
    );
    expect(uid).to.equal('33');
  });
});
