// What the container of a pod with hostUsers: false starts with. The runtime ID-maps the top mount of each volume, and
// that mount only:
//
//   the volume is                                     the container
//   a bind of a filesystem that can be ID-mapped      starts, files are the pod's
//   an overlay, FUSE                                  does not start: EINVAL
//   ID-mapped already                                 does not start: EPERM
//   a small tmpfs, one of those mounted below it      starts, and sees what is mounted below as it is
import { existsSync } from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import {
  eventually,
  fuseMount,
  mountPlace,
  type TemporaryDirectory,
  writeFiles,
} from '../../support/fixtures.ts';
import { makeImage } from '../../support/images.ts';
import { needTool } from '../../support/need.ts';
import { can, describeRuntimes, MAPPED, MAPPING } from './containers.ts';

interface Row {
  readonly title: string;
  readonly mount: (place: TemporaryDirectory, context: Mocha.Context) => Mount;
  /** The owners of its files in the pod, or why there is no pod. */
  readonly seen: string | RegExp;
}

/** In the words of runc, or of the call. */
const INVALID = /^does not start: .*MOUNT_ATTR_IDMAP.*(invalid argument|EINVAL)/;
const NOT_PERMITTED = /^does not start: .*MOUNT_ATTR_IDMAP.*(operation not permitted|EPERM)/;

const OWNED_BY = { 'data/of-root': {}, 'data/of-user': { uid: 1000, gid: 1001 } };
const OWNERS = 'of-root 0:0\nof-user 1000:1001';

const ROWS: readonly Row[] = [
  {
    title: 'a bind of tmpfs',
    mount: (place) => ({ type: 'bind', source: place.at('data'), options: [] }),
    seen: OWNERS,
  },
  {
    title: 'an ext4 image',
    mount: (place, context) => ({
      type: 'ext4',
      source: makeImage(context, 'ext4', place.at('image'), place.at('data')),
      options: ['loop'],
    }),
    seen: OWNERS,
  },
  {
    title: 'an overlay',
    mount: (place) => ({ type: 'overlay', source: 'overlay', options: [`lowerdir=${place.at('data')}`] }),
    seen: INVALID,
  },
  {
    title: 'an overlay with ID-mapped layers',
    mount: (place) => ({
      type: 'overlay',
      source: 'overlay',
      options: [`lowerdir=${place.at('data')}`, ...MAPPED],
    }),
    seen: INVALID,
  },
  {
    title: 'a bind that is ID-mapped already',
    mount: (place) => ({ type: 'bind', source: place.at('data'), options: [...MAPPED] }),
    seen: NOT_PERMITTED,
  },
];

describeRuntimes('a container in a user namespace', ({ mounted, run }) => {
  const pod = { mapping: MAPPING };
  const look = (directory: string) => `cd ${directory} && stat -c '%n %u:%g' of-root of-user`;

  for (const { title, mount, seen } of ROWS) {
    const starts = typeof seen === 'string';
    it(`${starts ? 'starts with' : 'does not start with'} ${title}`, async function () {
      using place = mountPlace();
      writeFiles(place.path, OWNED_BY);
      await using _volume = await mounted(mount(place, this), place.at('v'));
      const volumes = [{ source: place.at('v'), destination: '/v' }];
      const outcome = await run({ ...pod, volumes, script: look('/v') });
      if (starts) expect(outcome).to.equal(seen);
      else expect(outcome).to.match(seen);
    });
  }

  it('does not start with FUSE', async function () {
    needTool(this, 'bindfs', 'a FUSE filesystem');
    using place = mountPlace();
    writeFiles(place.path, { ...OWNED_BY, 'v/': {} });
    await using fuse = await fuseMount(place.at('data'), place.at('v'));
    const volumes = [{ source: fuse.path, destination: '/v' }];
    expect(await run({ ...pod, volumes, script: 'true' })).to.match(INVALID);
  });

  /** The small filesystem of a nested volume, with a directory for the real one. */
  function nest(place: TemporaryDirectory): Mount {
    writeFiles(place.path, {
      ...OWNED_BY,
      'upper/': { uid: 100_000, gid: 100_000 },
      'work/': {},
      'nest/data/': {},
    });
    return { type: 'bind', source: place.at('nest'), options: [] };
  }
  const overlayIn = (place: TemporaryDirectory): Mount => {
    const layers = { lowerdir: place.at('data'), upperdir: place.at('upper'), workdir: place.at('work') };
    const options = Object.entries(layers).map(([name, path]) => `${name}=${path}`);
    return { type: 'overlay', source: 'overlay', options: [...options, ...MAPPED] };
  };

  it('starts with an overlay below the top mount of the volume, and writes to it', async () => {
    using place = mountPlace();
    await using _nest = await mounted(nest(place), place.at('v'));
    await using _overlay = await mounted(overlayIn(place), place.at('v', 'data'));
    const volumes = [{ source: place.at('v'), destination: '/v' }];
    const script = `${look('/v/data')}; echo new >new; stat -c '%n %u:%g' new`;
    expect(await run({ ...pod, volumes, script })).to.equal(`${OWNERS}\nnew 0:0`);
  });

  for (const mountPropagation of ['HostToContainer', 'None'] as const) {
    const sees = mountPropagation === 'None' ? 'does not see' : 'sees';
    it(`${sees} what is mounted below later, with mountPropagation: ${mountPropagation}`, async () => {
      using place = mountPlace();
      // As all below kubelet's directory.
      await using _nest = await mounted({ ...nest(place), options: ['rshared'] }, place.at('v'));
      writeFiles(place.path, { 'signals/': {} });
      const volumes = [
        { source: place.at('v'), destination: '/v', mountPropagation },
        { source: place.at('signals'), destination: '/signals' },
      ];
      const script = `touch /signals/up; until [ -e /signals/mounted ]; do sleep 0.02; done; ${can('[ -e /v/data/of-user ]')}`;
      const running = run({ ...pod, volumes, script });
      await eventually('the container is up', () => existsSync(place.at('signals', 'up')));
      await using _overlay = await mounted(overlayIn(place), place.at('v', 'data'));
      writeFiles(place.path, { 'signals/mounted': '' });
      expect(await running).to.equal(mountPropagation === 'None' ? 'impossible' : 'possible');
    });
  }
});
