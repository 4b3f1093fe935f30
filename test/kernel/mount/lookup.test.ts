import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { localEngine } from '../../../src/mount/engine.ts';
import { lookup, mountsBelow } from '../../../src/mount/lookup.ts';
import { type MountInfo, readMountinfo } from '../../../src/mount/mountinfo.ts';
import { listBelow, statmount } from '../../../src/mount/statmount.ts';
import { type MountView, mountinfoView, mountView, statmountView } from '../../../src/mount/view.ts';
import { probeFeature } from '../../../src/sys/features.ts';
import { eventually, mountCommand, mountPlace, unmountCommand } from '../../support/fixtures.ts';
import { mountTargets } from '../../support/leaks.ts';
import { maskedCalls, needKernel, needRoot, needTool, skipMasked } from '../../support/need.ts';
import { statmountIsMasked, VIEWS } from '../../support/views.ts';

/** listmount(2): everything in this mount namespace. */
const LSMT_ROOT = 0xffff_ffff_ffff_ffffn;

/** Ids are used again, so that they tell nothing about the order of a list. */
const inOrder = (mounts: readonly MountInfo[]) => mounts.toSorted((a, b) => a.id - b.id);

describe('statmount', () => {
  before(function () {
    if (statmountIsMasked) skipMasked(this, 'mounts are read from mountinfo');
    needKernel(this, '6.13', 'statmount does not tell the source of a mount');
  });

  it('tells of every mount of the machine just what mountinfo does', () => {
    const before = readMountinfo();
    const told = new Map(
      listBelow(LSMT_ROOT).flatMap((id) => {
        const info = statmount(id)?.info;
        return info === undefined ? [] : [[info.id, info] as const];
      }),
    );
    // Others mount here as well: what came or went meanwhile is left out.
    const after = new Set(readMountinfo().map((line) => JSON.stringify(line)));
    const stayed = before.filter((line) => after.has(JSON.stringify(line)));
    expect(stayed).to.have.length.above(1);
    for (const line of stayed) {
      const { idmap: _, ...one } = told.get(line.id) ?? {};
      expect(one).to.deep.equal(line);
    }
  });

  const kinds: { title: string; make: (at: string) => void; target?: string }[] = [
    {
      title: 'all flags',
      make: (at) =>
        mountCommand('-t', 'tmpfs', '-o', 'ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow', 'x', at),
    },
    {
      title: 'strictatime and lazytime',
      make: (at) => mountCommand('-t', 'tmpfs', '-o', 'strictatime,lazytime,sync,dirsync', 'x', at),
    },
    { title: 'a source with odd characters', make: (at) => mountCommand('-t', 'tmpfs', 'a b\\c#d,e=f', at) },
    {
      title: 'a target with odd characters',
      make: (at) => mountCommand('-t', 'tmpfs', 'x', at),
      target: 'a b\tc\n\\d#é',
    },
    { title: 'a part of a filesystem', make: (at) => mountCommand('--bind', '/usr/bin', at) },
    {
      title: 'a shared mount',
      make: (at) => {
        mountCommand('-t', 'tmpfs', 'x', at);
        mountCommand('--make-shared', at);
      },
    },
    {
      title: 'a slave',
      make: (at) => {
        mountCommand('-t', 'tmpfs', 'x', at);
        mountCommand('--make-shared', at);
        mkdirSync(`${at}/s`);
        mountCommand('--bind', at, `${at}/s`);
        mountCommand('--make-slave', `${at}/s`);
      },
    },
    {
      title: 'an unbindable mount',
      make: (at) => {
        mountCommand('-t', 'tmpfs', 'x', at);
        mountCommand('--make-unbindable', at);
      },
    },
    {
      title: 'an overlay with commas and colons in its layers',
      make: (at) => {
        for (const name of ['l,1', 'l 2', 'u', 'w']) mkdirSync(`${at}/../${name}`);
        mountCommand(
          '-t',
          'overlay',
          '-o',
          `lowerdir=${at}/../l\\,1:${at}/../l 2,upperdir=${at}/../u,workdir=${at}/../w`,
          'o v',
          at,
        );
      },
    },
  ];
  for (const { title, make, target = 'target' } of kinds) {
    it(`tells what mountinfo does of ${title}`, function () {
      needRoot(this, 'mounts');
      using place = mountPlace();
      const at = place.at(target);
      mkdirSync(at);
      make(at);
      try {
        const shown = inOrder(readMountinfo().filter((one) => one.target.startsWith(at)));
        expect(shown).to.have.length.above(0);
        const spec = { path: at };
        expect(inOrder(mountsBelow(spec, statmountView))).to.deep.equal(shown);
        expect(inOrder(mountsBelow(spec, mountinfoView))).to.deep.equal(shown);
      } finally {
        unmountCommand('--recursive', at);
      }
    });
  }

  it('tells the options of an overlay of 400 layers', async function () {
    needRoot(this, 'mounts');
    if (maskedCalls.length > 0) skipMasked(this, 'no layers by descriptor, which are shown one by one');
    using place = mountPlace();
    const at = place.at('target');
    mkdirSync(at);
    const layers = Array.from({ length: 400 }, (_, i) => place.at(`${'layer'.repeat(20)}${i}`));
    for (const layer of layers) mkdirSync(layer);
    await using engine = localEngine();
    const overlay = { type: 'overlay', source: 'o', options: [`lowerdir=${layers.join(':')}`] };
    await engine.mountAll({ mounts: [overlay], target: { path: at } });
    try {
      const [mount] = mountsBelow({ path: at }, statmountView);
      const shown = readMountinfo().find((one) => one.target === at);
      expect(mount?.superblockOptions).to.deep.equal(shown?.superblockOptions);
      expect(mount?.superblockOptions).to.have.length.above(400);
    } finally {
      unmountCommand(at);
    }
  });

  it('tells the id map of a mount', async function () {
    needRoot(this, 'mounts');
    if (maskedCalls.length > 0) skipMasked(this, 'no ID mapping');
    needKernel(this, '6.15', 'statmount does not tell of ID maps');
    using place = mountPlace();
    const [source, target] = [place.at('source'), place.at('target')];
    mkdirSync(source);
    mkdirSync(target);
    await using engine = localEngine();
    const options = ['uidmap=0:100000:10,10:5:1', 'gidmap=0:200000:10'];
    await engine.mountAll({ mounts: [{ type: 'bind', source, options }], target: { path: target } });
    try {
      const shown = await engine.lookup({ target: { path: target } });
      expect(shown)
        .to.have.nested.property('mount.idmap')
        .deep.equal({ uid: ['0:100000:10', '10:5:1'], gid: ['0:200000:10'] });
      expect(shown).to.have.nested.property('mount.options').that.includes('idmapped');
    } finally {
      unmountCommand(target);
    }
  });

  it('knows no mount that is gone', function () {
    needRoot(this, 'mounts');
    using place = mountPlace();
    const [seen] = statmountView.below(LSMT_ROOT, (target) => target === place.path);
    expect(statmount(seen?.id ?? 0n)?.info.target).to.equal(place.path);
    unmountCommand(place.path);
    expect(statmount(seen?.id ?? 0n)).to.equal(undefined);
    mountCommand('-t', 'tmpfs', 'again', place.path);
  });
});

describe('the view of mounts', () => {
  it('is statmount where the kernel has it', () => {
    expect(mountView().by).to.equal(probeFeature('statmount').here === 'yes' ? 'statmount' : 'mountinfo');
  });
});

for (const view of VIEWS) {
  describe(`lookup by ${view.by}`, () => behavesAsLookup(view));
}

function behavesAsLookup(view: MountView): void {
  before(function () {
    needRoot(this, 'mounts');
  });
  const at = (path: string) => lookup({ path }, view);

  it('finds the mount at a directory, at a file, and the top one of a stack', () => {
    using place = mountPlace();
    const [directory, file] = [place.at('directory'), place.at('file')];
    mkdirSync(directory);
    writeFileSync(file, '');
    mountCommand('-t', 'tmpfs', 'lower', directory);
    mountCommand('-t', 'tmpfs', 'upper', directory);
    mountCommand('--bind', '/etc/hostname', file);
    try {
      expect(at(directory)).to.have.nested.property('mount.source', 'upper');
      expect(at(file)).to.have.nested.property('mount.root', '/etc/hostname');
      unmountCommand(directory);
      expect(at(directory)).to.have.nested.property('mount.source', 'lower');
    } finally {
      unmountCommand(directory);
      unmountCommand(file);
    }
  });

  it('finds a mount by the id that mountinfo gives it', () => {
    using place = mountPlace();
    const shown = mountTargets().find(({ target }) => target === place.path);
    expect(at(place.path)).to.have.nested.property('mount.id', Number(shown?.id));
  });

  it('says not for a directory, nothing, below a missing directory, below a file, a link and a name that none can have', () => {
    using place = mountPlace();
    mkdirSync(place.at('directory'));
    writeFileSync(place.at('file'), '');
    symlinkSync(place.path, place.at('link'));
    for (const name of ['directory', 'missing', 'missing/below', 'file/below', 'link', 'x'.repeat(300)]) {
      expect(at(place.at(name)), name).to.include({ is: 'not' });
    }
  });

  it('says unknown where it cannot be told', () => {
    using place = mountPlace();
    symlinkSync('loop', place.at('loop'));
    expect(at(place.at('loop/below'))).to.include({ is: 'unknown' });
  });

  it('finds the mount of a dead FUSE server, and says unknown below it', async function () {
    needTool(this, 'bindfs', 'a FUSE server to kill');
    using place = mountPlace();
    const [source, target] = [place.at('source'), place.at('target')];
    mkdirSync(`${source}/sub`, { recursive: true });
    mkdirSync(target);
    const server = spawn('bindfs', ['-f', source, target], { stdio: 'ignore' });
    try {
      await eventually('it is mounted', () => mountTargets().some((one) => one.target === target));
      expect(at(target)).to.have.nested.property('mount.type').that.matches(/^fuse/);
      await kill(server);
      expect(at(target)).to.have.nested.property('mount.type').that.matches(/^fuse/);
      expect(at(`${target}/sub/below`)).to.include({ is: 'unknown' });
      expect(mountsBelow({ path: target }, view).map(({ target: one }) => one)).to.deep.equal([target]);
    } finally {
      if (server.exitCode === null && server.signalCode === null) await kill(server);
      unmountCommand('--lazy', target);
    }
  });

  it('lists what is below, stacks and all, and nothing beside it or hidden from it', () => {
    using place = mountPlace();
    const paths = ['a', 'a/b', 'a/b', 'ab', 'c'].map((name) => place.at(name));
    for (const path of paths) {
      mkdirSync(path, { recursive: true });
      mountCommand('-t', 'tmpfs', 'x', path);
    }
    try {
      const below = (path: string) =>
        mountsBelow({ path }, view)
          .map(({ target }) => target)
          .toSorted();
      expect(below(place.at('a'))).to.deep.equal([place.at('a'), place.at('a/b'), place.at('a/b')]);
      mountCommand('-t', 'tmpfs', 'cover', place.path);
      mkdirSync(place.at('a'));
      expect(below(place.at('a'))).to.deep.equal([]);
      unmountCommand(place.path);
    } finally {
      for (const path of paths.toReversed()) unmountCommand(path);
    }
  });
}

async function kill(server: ChildProcess): Promise<void> {
  const ended = once(server, 'exit');
  server.kill('SIGKILL');
  await ended;
}
