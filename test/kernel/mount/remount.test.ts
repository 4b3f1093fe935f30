import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { MountError } from '../../../src/mount/errors.ts';
import { kernelHere, type MountApi } from '../../../src/mount/kernel.ts';
import type { MountInfo } from '../../../src/mount/mountinfo.ts';
import { operationsOn } from '../../../src/mount/operations.ts';
import {
  mountCommand,
  mountPlace,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { maskedCalls, needKernel, needRoot, skipMasked } from '../../support/need.ts';

// Where calls are masked, the engine finds its way by itself: that is what the run is about.
const APIS = maskedCalls.length > 0 ? [undefined] : (['modern', 'classic'] as const);

for (const api of APIS) {
  describe(`remount, by the ${api ?? 'remaining'} calls`, () => behavesAsRemount(api));
}

function behavesAsRemount(api: MountApi | undefined): void {
  const operations = operationsOn(kernelHere({ api }));
  const remount = (path: string, ...options: string[]) =>
    operations.mountAll({
      mounts: [{ type: 'none', source: '', options: ['remount', ...options] }],
      target: { path },
    });

  function shown(path: string): MountInfo {
    const found = operations.lookup({ target: { path } });
    if (found.is !== 'mount-point') throw new Error(`${path} is no mount point`);
    return found.mount;
  }

  before(function () {
    needRoot(this, 'mounts');
  });

  /** A tmpfs at `fs`, and a bind of it at `bind`. */
  function withMounts(test: (paths: { fs: string; bind: string }, place: TemporaryDirectory) => void): void {
    using place = mountPlace();
    const [fs, bind] = [place.at('fs'), place.at('bind')];
    mkdirSync(fs);
    mkdirSync(bind);
    mountCommand('-t', 'tmpfs', '-o', 'nosuid,noatime', 'x', fs);
    mountCommand('--bind', fs, bind);
    try {
      test({ fs, bind }, place);
    } finally {
      for (const path of [bind, fs]) operations.unmountRecursive({ target: { path } });
    }
  }

  it('with bind makes one mount read-only, and keeps its other flags', () => {
    withMounts(({ fs, bind }) => {
      remount(bind, 'bind', 'ro');
      expect(shown(bind).options).to.deep.equal(['ro', 'nosuid', 'noatime']);
      expect(() => writeFileSync(`${bind}/file`, '')).to.throw(/EROFS/);
      writeFileSync(`${fs}/file`, '');
      remount(bind, 'bind', 'rw', 'nodev', 'strictatime');
      expect(shown(bind).options).to.deep.equal(['rw', 'nosuid', 'nodev']);
      writeFileSync(`${bind}/file`, '');
    });
  });

  it('without bind changes the filesystem, for all its mounts', () => {
    withMounts(({ fs, bind }) => {
      remount(fs, 'ro', 'size=1m', 'noexec');
      expect(shown(fs).options).to.deep.equal(['ro', 'nosuid', 'noexec', 'noatime']);
      expect(shown(fs).superblockOptions).to.include.members(['ro', 'size=1024k']);
      expect(shown(bind).options).to.deep.equal(['rw', 'nosuid', 'noatime']);
      expect(() => writeFileSync(`${bind}/file`, '')).to.throw(/EROFS/);
      remount(fs, 'rw', 'lazytime');
      expect(shown(fs).superblockOptions).to.include.members(['rw', 'lazytime', 'size=1024k']);
      writeFileSync(`${fs}/file`, '');
    });
  });

  it('changes the mounts below where asked', function () {
    // What mount_setattr(2) can do is found out with a clone of /, which open_tree(2) makes.
    if (['mount_setattr', 'open_tree'].some((call) => maskedCalls.includes(call)))
      skipMasked(this, 'no flags of whole trees');
    withMounts(({ fs }) => {
      mkdirSync(`${fs}/sub`);
      mountCommand('-t', 'tmpfs', 'x', `${fs}/sub`);
      remount(fs, 'bind', 'rro');
      expect([shown(fs).options[0], shown(`${fs}/sub`).options[0]]).to.deep.equal(['ro', 'ro']);
    });
  });

  it('is part of a set: bind, then remount,bind,ro', () => {
    withMounts(({ fs }, place) => {
      mkdirSync(place.at('target'));
      const bind = { type: 'bind', source: fs, options: ['bind'] };
      const again = { type: 'none', source: '', options: ['remount', 'bind', 'ro'] };
      const target = { path: place.at('target') };
      operations.mountAll({ mounts: [bind, again], target });
      expect(shown(target.path).options[0]).to.equal('ro');
      unmountCommand(target.path);
      const missing = { type: 'bind', source: '/nonexistent', options: [] };
      expect(() => operations.mountAll({ mounts: [bind, again, missing], target }))
        .to.throw(MountError)
        .that.includes({ rolledBack: true });
      expect(operations.lookup({ target })).to.include({ is: 'not' });
    });
  });

  it('says that a set that failed after it is not rolled back', () => {
    withMounts(({ bind }) => {
      const again = { type: 'none', source: '', options: ['remount', 'bind', 'ro'] };
      const missing = { type: 'bind', source: '/nonexistent', options: [] };
      expect(() => operations.mountAll({ mounts: [again, missing], target: { path: bind } }))
        .to.throw(MountError)
        .that.includes({ rolledBack: false });
    });
  });

  it('of a filesystem that is written to is busy, and the flags of the mount are as before', () => {
    withMounts(({ fs }) => {
      const open = openSync(`${fs}/file`, 'w');
      try {
        expect(() => remount(fs, 'ro'))
          .to.throw(MountError)
          .that.includes({ reason: 'busy', rolledBack: true });
        expect(() => remount(fs, 'noexec', 'size=what'))
          .to.throw(MountError, api === 'modern' ? /size/ : /EINVAL/)
          .that.includes({ rolledBack: true });
      } finally {
        closeSync(open);
      }
      expect(shown(fs).options).to.deep.equal(['rw', 'nosuid', 'noatime']);
    });
  });

  // mount(2) takes changed options of an overlay, and does nothing about them.
  if (api === 'modern')
    it('of an overlay passes on what the kernel says', function () {
      needKernel(this, '6.5', 'overlay says nothing of its reasons by fsconfig(2)');
      using place = mountPlace();
      writeFiles(place.path, { 'a/': '', 'b/': '', 't/': '' });
      mountCommand('-t', 'overlay', '-o', `lowerdir=${place.at('a')}:${place.at('b')}`, 'x', place.at('t'));
      try {
        expect(() => remount(place.at('t'), 'xino=on')).to.throw(
          MountError,
          /No changes allowed in reconfigure/,
        );
      } finally {
        unmountCommand(place.at('t'));
      }
    });

  it('refuses what is no mount point, and follows no link', () => {
    withMounts((_, place) => {
      expect(() => remount(place.at('missing'), 'ro'))
        .to.throw(MountError)
        .that.includes({ reason: 'bad-target' });
      mkdirSync(place.at('plain'));
      expect(() => remount(place.at('plain'), 'ro')).to.throw(MountError, /is not a mount point/);
    });
  });

  it('changes just the flags that are named', () => {
    withMounts(({ bind }) => {
      const rows: [options: string[], becomes: string[]][] = [
        [
          ['ro', 'nodev'],
          ['ro', 'nosuid', 'nodev', 'noatime'],
        ],
        [
          ['rw', 'nosymfollow', 'nodiratime'],
          ['rw', 'nosuid', 'nodev', 'noatime', 'nodiratime', 'nosymfollow'],
        ],
        [
          ['relatime', 'suid'],
          ['rw', 'nodev', 'nodiratime', 'relatime', 'nosymfollow'],
        ],
        [
          ['strictatime', 'dev', 'diratime', 'symfollow', 'noexec'],
          ['rw', 'noexec'],
        ],
      ];
      for (const [options, becomes] of rows) {
        remount(bind, 'bind', ...options);
        expect(shown(bind).options, options.join()).to.deep.equal(becomes);
      }
    });
  });
}
