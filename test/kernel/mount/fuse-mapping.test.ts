// Mappings by options of FUSE helpers, with the helpers: what they show, and what is on disk afterwards.
import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { expect } from 'chai';
import { type Engine, localEngine } from '../../../src/mount/engine.ts';
import { mappingOptionsFor } from '../../../src/mount/fuse/mapping-options.ts';
import { parseIdMapping, type UserMapping } from '../../../src/userns/mapping.ts';
import { swapMapping } from '../../../src/userns/mapping-algebra.ts';
import { mountPlace, ownerOf, type TemporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { needFile, needRoot, needTool } from '../../support/need.ts';
import { allGone } from './helpers.ts';

const POD: UserMapping = {
  uid: parseIdMapping('0:100000:65536', 'uidmap'),
  gid: parseIdMapping('0:200000:65536', 'gidmap'),
};
const SWAP: UserMapping = { uid: swapMapping(1000, 5000), gid: swapMapping(1001, 6000) };

/** Files of root, of 1000:1001, and of one that no pod has. */
function writeTree(place: TemporaryDirectory): string {
  const user = { content: 'user', uid: 1000, gid: 1001, mode: 0o600 };
  writeFiles(place.at('tree'), { root: 'root', user, far: { uid: 70_000, gid: 70_000 } });
  return place.at('tree');
}

/** Whether this user and group can do that. */
function canDo(uid: number, gid: number, command: string, cwd: string): boolean {
  try {
    execFileSync('sh', ['-ec', command], { uid, gid, cwd, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('a mapping by options of a FUSE helper', () => {
  let engine: Engine;
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    engine = localEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  async function withMounted(
    place: TemporaryDirectory,
    {
      helper,
      source,
      mapping,
      options = [],
    }: { helper: string; source: string; mapping: UserMapping; options?: string[] },
    use: (target: string) => void,
  ): Promise<void> {
    const said = mappingOptionsFor(helper, mapping)?.options ?? [];
    const mount = { type: `fuse3.${helper}`, source, options: ['allow_other', ...options, ...said] };
    const target = { path: place.at('target') };
    await engine.mountAll({ mounts: [mount], target, create: 'directory' });
    try {
      use(target.path);
    } finally {
      await engine.unmount({ target });
    }
    await allGone(target.path);
  }

  const shownIn = (target: string): string[] =>
    ['root', 'user', 'far'].map((name) => ownerOf(`${target}/${name}`));

  it('bindfs: an offset, both ways', async function () {
    needTool(this, 'bindfs', 'it is the helper');
    using place = mountPlace();
    const source = writeTree(place);
    chmodSync(source, 0o777);
    await withMounted(place, { helper: 'bindfs', source, mapping: POD }, (target) => {
      // The last one is outside of what the mapping shows.
      expect(shownIn(target)).to.deep.equal(['100000:200000', '101000:201001', '170000:270000']);
      expect(canDo(101_000, 201_001, 'cat user; echo >new', target)).to.equal(true);
      expect(canDo(1000, 1001, 'cat user', target)).to.equal(false);
      expect(canDo(0, 0, 'chown 100007:200008 root', target)).to.equal(true);
    });
    const onDisk = ['new', 'root'].map((name) => ownerOf(place.at('tree', name)));
    expect(onDisk).to.deep.equal(['1000:1001', '7:8']);
  });

  it('bindfs: a swap, by pairs', async function () {
    needTool(this, 'bindfs', 'it is the helper');
    using place = mountPlace();
    const source = writeTree(place);
    chmodSync(source, 0o777);
    await withMounted(place, { helper: 'bindfs', source, mapping: SWAP }, (target) => {
      expect(shownIn(target)).to.deep.equal(['0:0', '5000:6000', '70000:70000']);
      expect(canDo(5000, 6000, 'cat user; echo >new', target)).to.equal(true);
      expect(canDo(1000, 1001, 'echo >other', target)).to.equal(true);
    });
    const onDisk = ['new', 'other'].map((name) => ownerOf(place.at('tree', name)));
    expect(onDisk).to.deep.equal(['1000:1001', '5000:6000']);
  });

  for (const [name, mapping, shown] of [
    ['a pod', POD, ['100000:200000', '101000:201001', '65534:65534']],
    ['a swap', SWAP, ['0:0', '5000:6000', '70000:70000']],
  ] as const) {
    it(`fuse-overlayfs: ${name}, both ways`, async function () {
      needTool(this, 'fuse-overlayfs', 'it is the helper');
      using place = mountPlace();
      const lower = writeTree(place);
      writeFiles(place.path, { 'upper/': '', 'work/': '' });
      chmodSync(place.at('upper'), 0o777);
      const options = [`lowerdir=${lower}`, `upperdir=${place.at('upper')}`, `workdir=${place.at('work')}`];
      await withMounted(place, { helper: 'fuse-overlayfs', source: 'o', mapping, options }, (target) => {
        expect(shownIn(target)).to.deep.equal(shown);
        const [uid = 0, gid = 0] = (shown[1] ?? '').split(':').map(Number);
        expect(canDo(uid, gid, 'echo more >>user; echo >new', target)).to.equal(true);
      });
      const onDisk = ['user', 'new'].map((file) => ownerOf(place.at('upper', file)));
      expect(onDisk).to.deep.equal(['1000:1001', '1000:1001']);
    });
  }

  it('squashfuse: one owner, whom the modes speak of', async function () {
    needTool(this, 'squashfuse', 'it is the helper');
    needTool(this, 'mksquashfs', 'it makes the image');
    using place = mountPlace();
    const image = place.at('image');
    execFileSync('mksquashfs', [writeTree(place), image, '-quiet', '-no-progress'], { stdio: 'ignore' });
    await withMounted(
      place,
      { helper: 'squashfuse', source: image, mapping: POD, options: ['ro'] },
      (target) => {
        expect(shownIn(target)).to.deep.equal(Array(3).fill('100000:200000'));
        expect([
          canDo(100_000, 200_000, 'cat user', target),
          canDo(1000, 1001, 'cat user', target),
        ]).to.deep.equal([true, false]);
      },
    );
  });

  it('sshfs: one owner, whoever it is over there', async function () {
    needTool(this, 'sshfs', 'it is the helper');
    needFile(this, SFTP_SERVER, 'it is the other side');
    using place = mountPlace();
    writeFiles(place.path, { ssh: { content: `#!/bin/sh\nexec ${SFTP_SERVER}\n`, mode: 0o755 } });
    const options = [`ssh_command=${place.at('ssh')}`];
    await withMounted(
      place,
      { helper: 'sshfs', source: `host:${writeTree(place)}`, mapping: POD, options },
      (target) => {
        expect(shownIn(target)).to.deep.equal(Array(3).fill('100000:200000'));
        expect(canDo(100_000, 200_000, 'cat user; echo >new', target)).to.equal(true);
        expect(canDo(1000, 1001, 'cat user', target)).to.equal(false);
      },
    );
    expect(ownerOf(place.at('tree/new'))).to.equal('0:0');
  });
});

const SFTP_SERVER = '/usr/lib/openssh/sftp-server';
