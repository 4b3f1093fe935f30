// `mount` and `unmount` as their users have them: what is mounted then, the exit status, and what is said where.
import { closeSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import {
  fuseMount,
  mountCommand,
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { expectFailure, expectSuccess, run } from './command.ts';
import { mountsAt, mountsBelow, theMountAt } from './kernel.ts';

const MAPPING = '0:100000:65536';

describe('the commands mount and unmount', () => {
  let place: TemporaryDirectory;
  let target: string;

  before(function () {
    needRoot(this, 'it mounts');
    place = mountPlace();
    target = place.at('target');
    mkdirSync(target);
    writeFiles(place.path, {
      'a/of-root': { content: 'a', uid: 0, gid: 0 },
      'b/of-user': { content: 'b', uid: 1000, gid: 1000 },
      'upper/': {},
      'work/': {},
    });
  });
  after(() => place?.[Symbol.dispose]());
  afterEach(() => {
    for (const _ of mountsAt(target)) unmountCommand('--lazy', target);
  });

  it('an ID-mapped overlay: uid 0 is shown as 100000, and there is exactly one mount more', () => {
    const before = mountsBelow(place.path);
    const options = `lowerdir=${place.at('a')}:${place.at('b')},uidmap=${MAPPING},gidmap=${MAPPING}`;
    const mounted = run(['mount', '-t', 'overlay', '-o', options, 'overlay', target]);
    expectSuccess(mounted);
    expect(mounted.stdout).to.equal('');
    expect(mountsBelow(place.path)).to.deep.equal([...before, theMountAt(target)]);
    expect(theMountAt(target).type).to.equal('overlay');
    expect(ownerOf(join(target, 'of-root'))).to.equal('100000:100000');
    expect(ownerOf(join(target, 'of-user'))).to.equal('101000:101000');

    const unmounted = run(['unmount', target]);
    expectSuccess(unmounted);
    expect(unmounted.stdout).to.equal('');
    expect(mountsBelow(place.path)).to.deep.equal(before);
  });

  it('a bind, several -o', () => {
    const flags = ['-o', 'bind', '-o', 'ro,nosuid', '-o', `uidmap=${MAPPING}`, '-o', `gidmap=${MAPPING}`];
    expectSuccess(run(['mount', ...flags, place.at('a'), target]));
    expect(theMountAt(target).options).to.include.members(['ro', 'nosuid', 'idmapped']);
    expect(ownerOf(join(target, 'of-root'))).to.equal('100000:100000');
    expect(() => writeFileSync(join(target, 'note'), '')).to.throw('EROFS');
  });

  it('a tmpfs with options of its own', () => {
    expectSuccess(run(['mount', '-t', 'tmpfs', '-o', 'size=64k,mode=0750', 'scratch', target]));
    expect(theMountAt(target).superblock).to.include.members(['size=64k', 'mode=750']);
  });

  it('a target by a symbolic link is where the link leads', () => {
    symlinkSync(target, place.at('link'));
    expectSuccess(run(['mount', '-t', 'tmpfs', 'tmpfs', place.at('link')]));
    expect(mountsAt(target)).to.have.length(1);
  });

  it('--json says what was mounted, and how many were taken away', () => {
    const mounted = run(['mount', '--json', '-t', 'tmpfs', 'tmpfs', target]);
    expectSuccess(mounted);
    const shown: unknown = JSON.parse(mounted.stdout);
    expect(shown).to.include({ type: 'tmpfs', target, id: Number(theMountAt(target).id) });
    expectSuccess(run(['mount', '-t', 'tmpfs', 'tmpfs', target]));
    const unmounted = run(['unmount', '--json', '--all', target]);
    expectSuccess(unmounted);
    expect(JSON.parse(unmounted.stdout)).to.deep.equal({ unmounted: 2 });
    expect(mountsAt(target)).to.deep.equal([]);
  });

  it('unmount takes the top one of a stack, --all the stack', () => {
    for (const name of ['one', 'two', 'three']) expectSuccess(run(['mount', '-t', 'tmpfs', name, target]));
    expectSuccess(run(['unmount', target]));
    expect(mountsAt(target)).to.have.length(2);
    expectSuccess(run(['unmount', '--all', target]));
    expect(mountsAt(target)).to.deep.equal([]);
  });

  it('unmount --lazy takes away what is in use', () => {
    expectSuccess(run(['mount', '-t', 'tmpfs', 'tmpfs', target]));
    mkdirSync(join(target, 'below'));
    mountCommand('-t', 'tmpfs', 'tmpfs', join(target, 'below'));
    expectSuccess(run(['unmount', '--lazy', target]));
    expect(mountsBelow(place.path)).to.deep.equal([]);
  });

  it('unmount --recursive takes all of it away, FUSE that is in use with --force', async function () {
    needTool(this, 'bindfs', 'a FUSE filesystem');
    mountCommand('-t', 'tmpfs', 'tmpfs', target);
    mkdirSync(join(target, 'fuse'));
    await using fuse = await fuseMount(place.at('a'), join(target, 'fuse'));
    const file = openSync(join(fuse.path, 'of-root'), 'r');
    try {
      expectFailure(run(['unmount', '--recursive', target]), /2 of the mounts .* are left: .* in use/);
      expectSuccess(run(['unmount', '--recursive', '--force', target]));
    } finally {
      closeSync(file);
    }
    expect(mountsBelow(place.path)).to.deep.equal([]);
  });

  describe('say what is wrong, and mount nothing', () => {
    const options = (list: string) => ['-o', list];
    const wrong: readonly (readonly [what: string, args: () => string[], message: RegExp])[] = [
      ['no type, and no image either', () => [place.at('a'), target], /is no image.*bind it/],
      [
        'a source that is not there',
        () => [...options('bind'), place.at('absent'), target],
        /absent does not exist/,
      ],
      ['a target that is not there', () => ['-t', 'tmpfs', 'tmpfs', place.at('absent')], /absent/],
      [
        'uidmap alone',
        () => [...options(`bind,uidmap=${MAPPING}`), place.at('a'), target],
        /uidmap without gidmap: .*add gidmap=/,
      ],
      [
        'a wrong mapping',
        () => [...options('bind,uidmap=0,gidmap=0'), place.at('a'), target],
        /uidmap: "0" is not three decimal numbers; write container:host:size/,
      ],
      ['an overlay without layers', () => ['-t', 'overlay', 'overlay', target], /needs lowerdir=/],
      [
        'upperdir alone',
        () => ['-t', 'overlay', ...options(`lowerdir=${place.at('a')},upperdir=/u`), 'overlay', target],
        /upperdir without workdir: add workdir=/,
      ],
      [
        'an option that the filesystem does not have',
        () => ['-t', 'tmpfs', ...options('siez=1m'), 'tmpfs', target],
        /siez.*the filesystem does not take the option siez/,
      ],
      [
        'a filesystem that does not exist',
        () => ['-t', 'nofs', 'x', target],
        /has no filesystem nofs; see \/proc\/filesystems/,
      ],
    ];
    for (const [what, args, message] of wrong) {
      it(what, () => {
        expectFailure(run(['mount', ...args()]), message);
        expect(mountsBelow(place.path)).to.deep.equal([]);
      });
    }

    it('unmount of what is not mounted, or not there', () => {
      expectFailure(run(['unmount', target]), /target is not a mount point/);
      expectFailure(run(['unmount', place.at('absent')]), /absent is not a mount point/);
    });

    it('a quotation mark left open, an unknown flag, a missing argument', () => {
      const usage = [
        ['mount', '-t', 'tmpfs', '-o', 'mode="0755', 'tmpfs', target],
        ['mount', '--no-such-flag'],
        ['mount', target],
        ['unmount'],
        ['no-such-command'],
      ];
      for (const args of usage) {
        const { status, stdout, stderr } = run(args);
        expect({ status, stdout }, args.join(' ')).to.deep.equal({ status: 1, stdout: '' });
        expect(stderr)
          .to.match(/^error: .+\n/)
          .and.to.contain('Usage: csi-driver-idmap');
      }
    });
  });
});
