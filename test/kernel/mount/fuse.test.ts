// FUSE helpers, real ones and scripts that misbehave: what they mount, what they are given, and what is left of them
// when they fail.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { MountReason } from '../../../src/mount/errors.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import {
  eventually,
  mountCommand,
  mountPlace,
  type TemporaryDirectory,
  writeFiles,
} from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';
import { describeEngines, failureOf, mountAt, mountsIn, SHIFT_UP, WITHOUT_LAYERS } from './engines.ts';
import { allGone, processesWith, scripts, serverOf, squashfs } from './helpers.ts';

const bindfs = (source: string, ...options: string[]): Mount => ({ type: 'fuse.bindfs', source, options });

interface HelperRow {
  readonly type: string;
  readonly tool: string;
  readonly shows: string;
  readonly writable: boolean;
  readonly mount: (place: TemporaryDirectory) => Pick<Mount, 'source' | 'options'>;
}

function tree(place: TemporaryDirectory): { source: string; options: string[] } {
  writeFiles(place.path, { 'tree/file': 'plain' });
  return { source: place.at('tree'), options: [] };
}

const HELPERS: readonly HelperRow[] = [
  { type: 'fuse.bindfs', tool: 'bindfs', shows: 'plain', writable: true, mount: tree },
  { type: 'fuse3.bindfs', tool: 'bindfs', shows: 'plain', writable: true, mount: tree },
  {
    type: 'fuse3.squashfuse',
    tool: 'squashfuse',
    shows: 'squashed',
    writable: false,
    mount: (place) => ({ source: squashfs(place), options: ['ro'] }),
  },
  {
    type: 'fuse3.fuse-overlayfs',
    tool: 'fuse-overlayfs',
    shows: 'upper of two',
    writable: true,
    mount: (place) => {
      writeFiles(place.path, {
        'a, with a comma/file': 'upper of two',
        'b/file': 'lower',
        'upper/': '',
        'work/': '',
      });
      const layers = `lowerdir=${place.at('a, with a comma')}:${place.at('b')}`;
      return {
        source: 'overlay',
        options: [layers, `upperdir=${place.at('upper')}`, `workdir=${place.at('work')}`],
      };
    },
  },
];

describeEngines(
  'FUSE helpers',
  (bench) => {
    for (const row of HELPERS) {
      it(`${row.type} mounts, serves and is unmounted`, async function () {
        needTool(this, row.tool, 'it is mounted with here');
        if (row.tool === 'squashfuse') needTool(this, 'mksquashfs', 'makes the image');
        using place = mountPlace();
        const target = place.at('target');
        await bench.mount({ type: row.type, ...row.mount(place) }, target);
        expect(mountAt(target).type).to.match(/^fuse/);
        expect(readFileSync(`${target}/file`, 'utf8')).to.equal(row.shows);
        if (row.writable) {
          writeFileSync(`${target}/new`, 'written');
          expect(readFileSync(`${target}/new`, 'utf8')).to.equal('written');
        }
        expect(await bench.engine.lookup({ target: { path: target } })).to.have.nested.property(
          'mount.target',
          target,
        );
        expect(await bench.unmount(target)).to.equal(1);
        expect(mountsIn(target)).to.equal(0);
        await allGone(target);
      });
    }

    describe('with bindfs', () => {
      before(function () {
        needTool(this, 'bindfs', 'it is mounted with here');
      });

      it('has attributes that libfuse does not know, and those that it does', async () => {
        using place = mountPlace();
        const options = ['ro', 'noexec', 'noatime', 'nodiratime', 'nosymfollow'];
        await bench.mount(bindfs(tree(place).source, ...options), place.at('target'));
        const mount = mountAt(place.at('target'));
        expect(mount.options).to.include.members([...options, 'nosuid', 'nodev']);
        expect(mount.superblockOptions).to.include('ro');
        await bench.unmount(place.at('target'));
      });

      it('allows devices and set-user-ID programs where asked, and not otherwise', async () => {
        using place = mountPlace();
        await bench.mount(bindfs(tree(place).source, 'suid', 'dev'), place.at('target'));
        expect(mountAt(place.at('target')).options).to.not.include.oneOf(['nosuid', 'nodev']);
        await bench.unmount(place.at('target'));
      });

      it('propagates as asked', async () => {
        using place = mountPlace();
        await bench.mount(bindfs(tree(place).source, 'shared'), place.at('target'));
        expect(mountAt(place.at('target')).propagation.join()).to.match(/^shared:/);
        await bench.unmount(place.at('target'));
      });

      it('cannot be ID-mapped, says so, and is gone', async () => {
        using place = mountPlace();
        const mount = bindfs(tree(place).source, ...SHIFT_UP);
        await failureOf(bench.mount(mount, place.at('target')), {
          reason: 'idmap-unsupported',
          rolledBack: true,
        });
        expect(existsSync(place.at('target'))).to.equal(false);
        await allGone(place.at('target'));
      });

      it('is started through mount.fuse where the caller has it so', async function () {
        needTool(this, 'mount.fuse3', 'it is started through here');
        using place = mountPlace();
        mkdirSync(place.at('target'));
        const target = { path: place.at('target') };
        const programs = { mountFuse: 'always' } as const;
        const mounts = [bindfs(tree(place).source, 'perms=a=rD')];
        await bench.engine.mountAll({ mounts, target, programs });
        expect(readFileSync(`${target.path}/file`, 'utf8')).to.equal('plain');
        expect(mountAt(target.path).options).to.include.members(['nosuid', 'nodev']);
        await bench.unmount(target.path);
        await failureOf(
          bench.engine.mountAll({ mounts: [bindfs('/', 'fsname=a,setuid=1')], target, programs }),
          { reason: 'invalid-mount', rolledBack: true },
        );
      });

      it('is taken away again when a later mount of the set fails', async () => {
        using place = mountPlace();
        const mounts = [bindfs(tree(place).source), { ...bindfs('/nowhere'), type: 'bind' }];
        const target = { path: place.at('target') };
        await failureOf(bench.engine.mountAll({ mounts, target, create: 'directory' }), {
          reason: 'source-not-found',
          rolledBack: true,
        });
        expect(mountsIn(target.path)).to.equal(0);
        await allGone(target.path);
      });

      it('fails with the words of the helper, and leaves nothing', async () => {
        using place = mountPlace();
        const operation = bench.mount(bindfs(tree(place).source, 'no_such_option'), place.at('target'));
        const error = await failureOf(operation, { reason: 'helper-failed', rolledBack: true });
        expect(error.message).to.match(/bindfs ended with status \d+: .*unknown option .*no_such_option/);
        expect(existsSync(place.at('target'))).to.equal(false);
      });
    });

    for (const option of ['fsname=a,b c', 'fsname=a\\,b c']) {
      it(`keep the comma and the space of ${option}`, async function () {
        needTool(this, 'squashfuse', 'it takes any name for its filesystem');
        needTool(this, 'mksquashfs', 'makes the image');
        using place = mountPlace();
        const target = place.at('target');
        await bench.mount({ type: 'fuse3.squashfuse', source: squashfs(place), options: [option] }, target);
        expect(mountAt(target).source).to.equal('a,b c');
        await bench.unmount(target);
      });
    }

    it('that are not installed are named, with where they were looked for', async () => {
      using place = mountPlace();
      const mount: Mount = { type: 'fuse.no-such-helper', source: '/', options: [] };
      const error = await failureOf(bench.mount(mount, place.at('target')), {
        reason: 'helper-not-found',
        rolledBack: true,
      });
      expect(error.message).to.contain('no-such-helper in /usr/local/sbin');
      expect(existsSync(place.at('target'))).to.equal(false);
    });

    it('are not looked for in the PATH of the caller', async () => {
      using place = mountPlace();
      scripts(place, { 'only-here': 'exit 0' });
      const before = process.env.PATH;
      process.env.PATH = `${place.at('programs')}:${before}`;
      try {
        const mount: Mount = { type: 'fuse.only-here', source: '/', options: [] };
        await failureOf(bench.mount(mount, place.at('target')), { reason: 'helper-not-found' });
      } finally {
        process.env.PATH = before;
      }
    });

    it('that are a given file are that file, whatever is where helpers are looked for, and never through mount.fuse', async () => {
      using place = mountPlace();
      writeFiles(place.path, {
        'given/restricted': { content: '#!/bin/sh\nexec bindfs -f "$@"\n', mode: 0o755 },
        'given/bindfs': { content: '#!/bin/sh\necho beside it; exit 3\n', mode: 0o755 },
        'target/': '',
      });
      const { directories = [] } = scripts(place, { wrapped: 'echo found by name; exit 3' });
      const target = { path: place.at('target') };
      for (const mountFuse of ['never', 'fallback', 'always'] as const) {
        await bench.engine.mountAll({
          mounts: [{ type: 'fuse.wrapped', source: place.at('given'), options: [] }],
          target,
          programs: { directories, mountFuse, helperPrograms: { wrapped: place.at('given/restricted') } },
        });
        expect(existsSync(place.at('target/restricted'))).to.equal(true);
        expect(await bench.engine.unmount({ target })).to.equal(1);
        await allGone(place.at('target'));
      }
    });

    for (const mountFuse of ['never', 'fallback', 'always'] as const) {
      it(`that are a given file are not looked for where it is not there (mount.fuse: ${mountFuse})`, async () => {
        using place = mountPlace();
        const { directories = [] } = scripts(place, { wrapped: 'exec bindfs "$@"' });
        const operation = bench.engine.mountAll({
          mounts: [{ type: 'fuse.wrapped', source: '/', options: [] }],
          target: { path: place.at('target') },
          create: 'directory',
          programs: { directories, mountFuse, helperPrograms: { wrapped: place.at('given/wrapped') } },
        });
        const error = await failureOf(operation, { reason: 'helper-not-found', rolledBack: true });
        expect(error.message).to.equal(
          `there is no program ${place.at('given/wrapped')}, which the helper wrapped was said to be: install it there`,
        );
        expect(existsSync(place.at('target'))).to.equal(false);
      });
    }

    it('have a clean environment and no descriptors but their own', async () => {
      using place = mountPlace();
      const programs = scripts(place, {
        tell: `cd -P . && pwd; ps -o pid=,pgid=,sid= -p $$ | tr -s ' '; env | sort; ls -l /proc/$$/fd; exit 9`,
      });
      mkdirSync(place.at('target'));
      const operation = bench.engine.mountAll({
        mounts: [{ type: 'fuse.tell', source: '/', options: [] }],
        target: { path: place.at('target') },
        programs,
      });
      const { message } = await failureOf(operation, { reason: 'helper-failed', rolledBack: true });
      expect(message).to.contain('ended with status 9: /; ');
      const [, pid, group, session] = /; (\d+) (\d+) (\d+);/.exec(message) ?? [];
      expect([group, session]).to.deep.equal([pid, pid]);
      const variables = [...message.matchAll(/; ([A-Z_]+)=/g)].map(([, name]) => name);
      // PWD and its like are the shell's own.
      expect(variables.filter((name) => !['PWD', 'OLDPWD', '_'].includes(name ?? ''))).to.deep.equal([
        'HOME',
        'LANG',
        'PATH',
      ]);
      expect(message)
        .to.contain('; LANG=C;')
        .and.contain(`; PATH=${programs.directories?.join(':')}`);
      const descriptors = [...message.matchAll(/ (\d+) -> ([^;]*)/g)].map(
        ([, number, to]) => `${number} ${to}`,
      );
      expect(descriptors.join()).to.match(
        // The shell has the script open.
        /^0 \/dev\/null,1 \/memfd:output [^,]*,10 [^,]*\/programs\/tell,2 \/memfd:output [^,]*$/,
      );
    });

    it('that say much are cut to the end of it', async () => {
      using place = mountPlace();
      const programs = scripts(place, { chatty: 'seq 1 5000; exit 1' });
      mkdirSync(place.at('target'));
      const operation = bench.engine.mountAll({
        mounts: [{ type: 'fuse.chatty', source: '/', options: [] }],
        target: { path: place.at('target') },
        programs,
      });
      const { message } = await failureOf(operation, { reason: 'helper-failed' });
      expect(message).to.match(/4999; 5000$/);
      expect(message.length).to.be.below(6_000);
    });

    interface BadRow {
      readonly title: string;
      readonly script: string;
      readonly reason: MountReason;
      readonly says: string;
      /** Enough for the helper to come as far as that. */
      readonly timeoutMs?: number;
    }
    /** A mount whose requests nobody reads, for as long as the process lives. */
    const UNSERVED =
      'exec 9<>/dev/fuse && mount -i -t fuse.bad -o fd=9,rootmode=40000,user_id=0,group_id=0 bad "$2"';
    const BAD: readonly BadRow[] = [
      {
        title: 'hangs before it mounts',
        script: 'echo waiting for nothing; sleep 1000 & sleep 1001',
        reason: 'timeout',
        timeoutMs: 2_000,
        says: 'mounted nothing within the deadline and was killed: waiting for nothing',
      },
      {
        title: 'mounts and then fails',
        script: 'bindfs "$1" "$2"; echo too late >&2; exit 7',
        reason: 'helper-failed',
        says: 'ended with status 7: too late',
      },
      {
        title: 'mounts twice and then fails',
        script: 'mount -t tmpfs tmpfs "$2" && bindfs "$1" "$2" -o nonempty; exit 7',
        reason: 'helper-failed',
        says: 'ended with status 7',
      },
      {
        title: 'mounts something else',
        script: 'mount -t tmpfs tmpfs "$2"',
        reason: 'helper-failed',
        says: 'has mounted tmpfs',
      },
      {
        title: 'mounts something else and fails',
        script: 'mount -t tmpfs tmpfs "$2"; exit 1',
        reason: 'helper-failed',
        says: 'ended with status 1',
      },
      {
        title: 'mounts and dies',
        script: `${UNSERVED}; exit 0`,
        reason: 'helper-failed',
        says: 'its server has ended',
      },
      {
        title: 'mounts and does not answer',
        script: `${UNSERVED}; exec sleep 1002`,
        reason: 'timeout',
        says: 'does not answer',
        timeoutMs: 2_000,
      },
      {
        title: 'ends well without a mount',
        script: 'exit 0',
        reason: 'helper-failed',
        says: 'ended well, but has mounted nothing',
      },
      { title: 'is killed', script: 'kill -TERM $$', reason: 'helper-failed', says: 'ended by signal 15' },
    ];
    for (const { title, script, reason, says, timeoutMs = 60_000 } of BAD) {
      it(`one that ${title} is an error, and what was there before stays`, async function () {
        needTool(this, 'bindfs', 'it is mounted with here');
        using place = mountPlace();
        const { source } = tree(place);
        const target = place.at('target');
        mkdirSync(target);
        mountCommand('-t', 'tmpfs', 'before', target);
        const operation = bench.engine.mountAll({
          mounts: [{ type: 'fuse.bad', source, options: [] }],
          target: { path: target },
          programs: { ...scripts(place, { bad: script }), timeoutMs },
        });
        const error = await failureOf(operation, { reason, rolledBack: true });
        expect(error.message).to.contain('the helper bad').and.contain(says);
        expect(mountsIn(target)).to.equal(1);
        expect(mountAt(target).source).to.equal('before');
        await allGone(target);
        await bench.unmount(target);
      });
    }

    it('that cannot be executed are an error', async () => {
      using place = mountPlace();
      const programs = scripts(place, { broken: '' });
      writeFiles(place.path, { 'programs/broken': '#!/no/such/interpreter\n', 'target/': '' });
      const operation = bench.engine.mountAll({
        mounts: [{ type: 'fuse.broken', source: '/', options: [] }],
        target: { path: place.at('target') },
        programs,
      });
      const error = await failureOf(operation, { reason: 'helper-failed', rolledBack: true });
      expect(error.message).to.contain('cannot be started');
    });

    it('that stay in the foreground are served by the process that was started', async function () {
      needTool(this, 'bindfs', 'it is mounted with here');
      using place = mountPlace();
      const { source } = tree(place);
      const target = place.at('target');
      mkdirSync(target);
      const programs = scripts(place, { foreground: 'exec bindfs -f "$@"' });
      await bench.engine.mountAll({
        mounts: [{ type: 'fuse.foreground', source, options: ['ro'] }],
        target: { path: target },
        programs,
      });
      expect(readFileSync(`${target}/file`, 'utf8')).to.equal('plain');
      expect(processesWith(target)).to.deep.equal([await serverOf(target)]);
      expect(await bench.unmount(target)).to.equal(1);
      await allGone(target);
    });

    it('that become a daemon first and mount then are waited for', async function () {
      needTool(this, 'bindfs', 'it is mounted with here');
      using place = mountPlace();
      const { source } = tree(place);
      const target = place.at('target');
      mkdirSync(target);
      const programs = scripts(place, { late: '(sleep 0.3; exec bindfs "$@") & exit 0' });
      await bench.engine.mountAll({
        mounts: [{ type: 'fuse.late', source, options: [] }],
        target: { path: target },
        programs,
      });
      expect(readFileSync(`${target}/file`, 'utf8')).to.equal('plain');
      expect(await bench.unmount(target)).to.equal(1);
      await eventually('the server has ended', () => processesWith(target).length === 0);
    });
  },
  WITHOUT_LAYERS,
);
