// FUSE helpers that are ordinary users: the mount is made for them, and they get the connection by descriptor.
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountPlace, type TemporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';
import { describeEngines, failureOf, mountAt, mountsIn, WITHOUT_LAYERS } from './engines.ts';
import { allGone, processesWith, scripts, squashfs } from './helpers.ts';

/** That the machine has no name for. */
const USER = { uid: 61001, gid: 61002 };
/** `daemon` of Debian: sftp-server, as ssh, wants to find itself in the user database. */
const NAMED_USER = { uid: 1, gid: 1 };

interface Row {
  readonly helper: string;
  readonly shows: string;
  readonly user?: typeof USER;
  readonly mount: (place: TemporaryDirectory) => Pick<Mount, 'source' | 'options'>;
}

const ROWS: readonly Row[] = [
  {
    helper: 'squashfuse',
    shows: 'squashed',
    mount: (place) => ({ source: squashfs(place), options: ['ro'] }),
  },
  {
    helper: 'squashfuse_ll',
    shows: 'squashed',
    mount: (place) => ({ source: squashfs(place), options: ['ro'] }),
  },
  {
    helper: 'fuse-overlayfs',
    shows: 'lower',
    mount: (place) => {
      writeFiles(place.path, { 'a/': '', 'b/file': 'lower' });
      return { source: 'overlay', options: [`lowerdir=${place.at('a')}:${place.at('b')}`] };
    },
  },
  {
    helper: 'sshfs',
    shows: 'remote',
    user: NAMED_USER,
    mount: (place) => {
      writeFiles(place.path, {
        'tree/file': 'remote',
        ssh: { content: '#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n', mode: 0o755 },
      });
      return { source: `host:${place.at('tree')}`, options: [`ssh_command=${place.at('ssh')}`] };
    },
  },
];

const statusOf = (pid: number, field: string): string =>
  new RegExp(`^${field}:[\\t ]*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.trim() ??
  '';

/** Real, effective, saved and of the filesystem (proc_pid_status(5)). */
const fourTimes = (id: number): string => Array.from({ length: 4 }, () => id).join('\t');

describeEngines(
  'FUSE helpers as an ordinary user',
  (bench) => {
    for (const { helper, shows, mount, user = USER } of ROWS) {
      it(`${helper}: serves, without capabilities, groups and a way to more`, async function () {
        needTool(this, helper, 'it is mounted with here');
        needTool(this, 'mksquashfs', 'makes the image');
        using place = mountPlace();
        const target = place.at('target');
        mkdirSync(target);
        const { source, options } = mount(place);
        const mounts = [
          {
            type: `fuse.${helper}`,
            source,
            options: [...options, 'allow_other', 'default_permissions', 'noexec'],
          },
        ];
        const programs = { users: { [helper]: user }, foreground: true };
        await bench.engine.mountAll({ mounts, target: { path: target }, programs });
        expect(readFileSync(`${target}/file`, 'utf8')).to.equal(shows);
        const shown = mountAt(target);
        expect(shown.type).to.equal(`fuse.${helper}`);
        expect(shown.options).to.include.members(['nosuid', 'nodev', 'noexec']);
        expect(shown.superblockOptions).to.include.members(['allow_other', 'default_permissions']);
        const [server = 0] = processesWith('/dev/fd/3');
        expect(statusOf(server, 'Uid')).to.equal(fourTimes(user.uid));
        expect(statusOf(server, 'Gid')).to.equal(fourTimes(user.gid));
        expect(statusOf(server, 'Groups')).to.equal('');
        expect(statusOf(server, 'CapPrm')).to.equal('0000000000000000');
        expect(statusOf(server, 'NoNewPrivs')).to.equal('1');
        expect(await bench.unmount(target)).to.equal(1);
        await allGone('/dev/fd/3');
      });
    }

    it('whose rights do not suffice: its own words, and nothing is left', async function () {
      needTool(this, 'squashfuse', 'it is mounted with here');
      needTool(this, 'mksquashfs', 'makes the image');
      using place = mountPlace();
      const source = squashfs(place);
      chmodSync(source, 0o600);
      const target = place.at('target');
      const programs = { users: { squashfuse: USER }, foreground: true };
      const request = {
        mounts: [{ type: 'fuse.squashfuse', source, options: [] }],
        target: { path: target },
        create: 'directory',
        programs,
      } as const;
      const error = await failureOf(bench.engine.mountAll(request), {
        reason: 'helper-failed',
        rolledBack: true,
      });
      expect(error.message).to.match(/squashfuse ended with status \d+: .*(denied|open|error)/i);
      expect(existsSync(target)).to.equal(false);
      await allGone('/dev/fd/3');
    });

    it('that are a given file are that file, and nothing where it is not there', async function () {
      needTool(this, 'squashfuse', 'it is mounted with here');
      needTool(this, 'mksquashfs', 'makes the image');
      using place = mountPlace();
      writeFiles(place.path, {
        'given/restricted': {
          content: `#!/bin/sh\ntouch ${place.at('ran/restricted')}\nexec squashfuse "$@"\n`,
          mode: 0o755,
        },
        'ran/': '',
        'target/': '',
      });
      chmodSync(place.at('ran'), 0o777);
      const target = place.at('target');
      const mountBy = (file: string) =>
        bench.engine.mountAll({
          mounts: [{ type: 'fuse.squashfuse', source: squashfs(place), options: ['ro'] }],
          target: { path: target },
          programs: {
            users: { squashfuse: USER },
            helperPrograms: { squashfuse: file },
            foreground: true,
          },
        });
      await mountBy(place.at('given/restricted'));
      expect(existsSync(place.at('ran/restricted'))).to.equal(true);
      expect(readFileSync(`${target}/file`, 'utf8')).to.equal('squashed');
      expect(mountAt(target).type).to.equal('fuse.squashfuse');
      expect(await bench.unmount(target)).to.equal(1);
      await allGone('/dev/fd/3');
      const operation = mountBy(place.at('given/missing'));
      const error = await failureOf(operation, { reason: 'helper-not-found', rolledBack: true });
      expect(error.message).to.contain(place.at('given/missing')).and.to.contain('helper squashfuse');
      expect(mountsIn(target)).to.equal(0);
    });

    it('that does not answer is given up at the deadline, before anything is seen at the target', async () => {
      using place = mountPlace();
      const programs = {
        ...scripts(place, { mute: 'exec sleep 1000' }),
        users: { mute: USER },
        timeoutMs: 300,
      };
      const target = place.at('target');
      mkdirSync(target);
      const request = {
        mounts: [{ type: 'fuse.mute', source: '', options: [] }],
        target: { path: target },
        programs,
      };
      await failureOf(bench.engine.mountAll(request), { reason: 'timeout', rolledBack: true });
      expect(mountsIn(target)).to.equal(0);
      await allGone('sleep 1000');
    });
  },
  WITHOUT_LAYERS,
);
