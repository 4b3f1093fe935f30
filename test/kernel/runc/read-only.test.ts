// What is read-only by its superblock stays so in a container, whatever the runtime does with the mount. But it must
// not be marked twice: in a user namespace runc fails to set the container's own flags where a flag of the mount is
// locked (ro, nosuid, nodev, noexec), takes a read-only superblock for one more, and gives up: "cannot clear locked
// flags MS_RDONLY". So for pods with hostUsers: false
//
//   superblock   flags of the mount     the pod says nothing   the pod says readOnly
//   read-only    none                   starts, EROFS          starts, EROFS
//   read-only    ro or nosuid or ...    does not start         starts, EROFS, and they hold
//   writable     nosuid, nodev, noexec  starts, and they hold  starts, EROFS, and they hold
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountPlace, type TemporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { type ImageType, makeImage } from '../../support/images.ts';
import { needMappedSquashfs, needMappedTmpfs } from '../../support/need.ts';
import { can, describeContainers, LIBRARIES, MAPPED, MAPPING, PODS } from './containers.ts';

interface Row {
  readonly title: string;
  readonly mount: (place: TemporaryDirectory, context: Mocha.Context) => Mount;
  /** Overlays cannot be ID-mapped: with hostUsers: false they do not start (user-namespace.test.ts). */
  readonly mappable: boolean;
}

const image = (type: ImageType): Row => ({
  title: `${type} image`,
  mappable: true,
  mount: (place, context) => ({
    type,
    source: makeImage(context, type, place.at('image'), place.at('data')),
    options: ['loop', 'ro'],
  }),
});

const ROWS: readonly Row[] = [
  {
    title: 'overlay of one layer',
    mappable: false,
    mount: (place) => ({ type: 'overlay', source: 'overlay', options: [`lowerdir=${place.at('data')}`] }),
  },
  image('ext4'),
  image('squashfs'),
  image('erofs'),
];

describeContainers('a read-only filesystem, in a container', ({ mounted, run }) => {
  const ATTEMPT = `cat /v/file; echo; ${can('echo new >/v/new')}`;
  const READ_ONLY = /^content\n.*Read-only file system\nimpossible$/;

  for (const { title: kind, mount, mappable } of ROWS) {
    for (const { title, users } of PODS.filter((pod) => mappable || pod.users.mapping === undefined)) {
      it(`${kind}, ${title}: is read, and not written by root`, async function () {
        if (kind === 'squashfs image' && users.mapping !== undefined) needMappedSquashfs(this);
        using place = mountPlace();
        writeFiles(place.path, { 'data/file': 'content' });
        await using _staged = await mounted(mount(place, this), place.at('staged'));
        const bind = { type: 'bind', source: place.at('staged'), options: ['rw'] };
        await using _published = await mounted(bind, place.at('v'));
        const volumes = [{ source: place.at('v'), destination: '/v' }];
        expect(await run({ ...users, volumes, script: ATTEMPT })).to.match(READ_ONLY);
      });
    }
  }

  for (const flag of ['ro', 'nosuid', 'nodev', 'noexec']) {
    it(`hostUsers: false and ${flag} on its mount: no container, unless the pod says readOnly`, async function () {
      needMappedTmpfs(this);
      using place = mountPlace();
      writeFiles(place.path, { 'data/file': 'content' });
      // A tmpfs with files in it, made read-only then.
      await using _tmpfs = await mounted({ type: 'tmpfs', source: 'none', options: [] }, place.at('tmpfs'));
      writeFiles(place.at('tmpfs'), { file: 'content' });
      execFileSync('mount', ['-o', 'remount,ro', place.at('tmpfs')]);
      const bind = { type: 'bind', source: place.at('tmpfs'), options: ['rw', flag] };
      await using _published = await mounted(bind, place.at('v'));
      const volume = { source: place.at('v'), destination: '/v' };
      const pod = { mapping: MAPPING, script: ATTEMPT };
      expect(await run({ ...pod, volumes: [volume] })).to.match(
        /^does not start: .*cannot clear locked flags MS_RDONLY/,
      );
      expect(await run({ ...pod, volumes: [{ ...volume, readOnly: true }] })).to.match(READ_ONLY);
    });
  }

  it('overlay of one layer below the volume, hostUsers: false: is read, and not written by root', async () => {
    using place = mountPlace();
    writeFiles(place.path, { 'data/file': 'content', 'top/data/': {} });
    const layer = `lowerdir=${place.at('data')}`;
    await using _top = await mounted({ type: 'bind', source: place.at('top'), options: [] }, place.at('v'));
    const options = [layer, 'nosuid', 'nodev', ...MAPPED];
    await using _overlay = await mounted({ type: 'overlay', source: 'x', options }, place.at('v', 'data'));
    const volumes = [{ source: place.at('v'), destination: '/v' }];
    const script = ATTEMPT.replaceAll('/v/', '/v/data/');
    expect(await run({ mapping: MAPPING, volumes, script })).to.match(READ_ONLY);
  });
});

describeContainers("an image of somebody else's, in a container", ({ mounted, run }) => {
  const ATTEMPTS = [can('/v/cat /v/secret >/dev/null'), can('echo nothing >/v/null')];

  for (const { title, users } of PODS) {
    it(`setuid programs and device nodes, ${title}`, async function () {
      using place = mountPlace();
      writeFiles(place.path, { 'data/secret': { content: 'secret', mode: 0o600 } });
      copyFileSync('/bin/cat', place.at('data', 'cat'));
      chmodSync(place.at('data', 'cat'), 0o4755);
      // One that a container's cgroup admits.
      execFileSync('mknod', ['-m', '666', place.at('data', 'null'), 'c', '1', '3']);
      makeImage(this, 'ext4', place.at('image'), place.at('data'));
      const ext4 = { type: 'ext4', source: place.at('image') };
      const volumes = [{ source: place.at('v'), destination: '/v' }, ...LIBRARIES];
      const attempt = async (...flags: string[]) => {
        await using _image = await mounted({ ...ext4, options: ['loop', ...flags] }, place.at('v'));
        const said = await run({ ...users, uid: 1000, volumes, script: ATTEMPTS.join('\n') });
        return said.split('\n').filter((line) => /^(im)?possible$/.test(line));
      };
      expect(await attempt()).to.deep.equal(['possible', 'possible']);
      // Flags of the mount are locked by a user namespace, and else gone.
      const held = users.mapping === undefined ? 'possible' : 'impossible';
      expect(await attempt('nosuid', 'nodev')).to.deep.equal([held, held]);
    });
  }
});
