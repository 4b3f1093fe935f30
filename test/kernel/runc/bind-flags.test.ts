// Whether flags of a mount reach the process in a container. The runtime binds the mount again, and its own flags
// replace ours:
//
//   flag of our bind   hostUsers: true   hostUsers: false
//   ro                 gone              the container does not start
//   nosuid             gone              holds: locked by the user namespace
//   nodev              gone              holds
//   noexec             gone              holds
//
// What kubelet asks of the runtime holds in both, and so do flags of a mount further below, which the runtime leaves.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync } from 'node:fs';
import { expect } from 'chai';
import { mountPlace, type TemporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { can, describeContainers, LIBRARIES, MAPPED, PODS } from './containers.ts';

/** By flag, what it would keep a process with uid 1000 from. */
const ATTEMPTS = {
  ro: can('echo new >/v/scratch/new'),
  // A program that is root's reads what only root may.
  nosuid: can('/v/cat /v/secret >/dev/null'),
  // One that the container's device cgroup admits.
  nodev: can('echo nothing >/v/null'),
  noexec: can('/v/busybox true'),
};
type Flag = keyof typeof ATTEMPTS;
const FLAGS = Object.keys(ATTEMPTS) as Flag[];

/** A data set with something in it for each flag. */
function prepare(): TemporaryDirectory {
  const place = mountPlace();
  writeFiles(place.path, {
    'data/scratch/': { mode: 0o777 },
    'data/secret': { content: 'secret', mode: 0o600 },
  });
  copyFileSync('/bin/cat', place.at('data', 'cat'));
  chmodSync(place.at('data', 'cat'), 0o4755);
  execFileSync('sh', ['-c', `cp "$(command -v busybox)" ${place.at('data', 'busybox')}`]);
  execFileSync('mknod', ['-m', '666', place.at('data', 'null'), 'c', '1', '3']);
  return place;
}

describeContainers('flags of a bind, in a container', ({ mounted, run }) => {
  for (const { title, users } of PODS) {
    const pod = { ...users, uid: 1000 };
    const volumes = (source: string, readOnly = false) => [
      { source, destination: '/v', readOnly },
      ...LIBRARIES,
    ];

    for (const flag of FLAGS) {
      it(`${flag}, ${title}`, async () => {
        using place = prepare();
        const bind = { type: 'bind', source: place.at('data') };
        {
          await using _plain = await mounted({ ...bind, options: [] }, place.at('plain'));
          const script = ATTEMPTS[flag];
          expect(await run({ ...pod, volumes: volumes(place.at('plain')), script })).to.equal('possible');
        }
        await using _flagged = await mounted({ ...bind, options: [flag] }, place.at('flagged'));
        const outcome = await run({ ...pod, volumes: volumes(place.at('flagged')), script: ATTEMPTS[flag] });
        if (users.mapping === undefined) expect(outcome).to.equal('possible');
        else if (flag === 'ro')
          expect(outcome).to.match(/does not start: .*cannot clear locked flags MS_RDONLY/);
        else expect(outcome).to.match(/impossible$/);
      });
    }

    it(`readOnly of the pod, ${title}: holds, on a bind that is ro or not`, async () => {
      using place = prepare();
      for (const options of [[], ['ro']]) {
        await using _bind = await mounted(
          { type: 'bind', source: place.at('data'), options },
          place.at('bound'),
        );
        const script = ATTEMPTS.ro;
        const outcome = await run({ ...pod, volumes: volumes(place.at('bound'), true), script });
        expect(outcome).to.match(/Read-only file system\nimpossible$/);
      }
    });

    it(`readOnly of the pod, ${title}: not for a mount further below, whose own flags hold`, async () => {
      using place = prepare();
      writeFiles(place.path, { 'top/plain/': {}, 'top/flagged/': {} });
      const bind = { type: 'bind', source: place.at('data') };
      const ids = users.mapping === undefined ? [] : MAPPED;
      await using _top = await mounted(
        { type: 'bind', source: place.at('top'), options: [] },
        place.at('bound'),
      );
      await using _plain = await mounted({ ...bind, options: [...ids] }, place.at('bound', 'plain'));
      await using _flagged = await mounted(
        { ...bind, options: [...ids, ...FLAGS] },
        place.at('bound', 'flagged'),
      );
      const seen: Record<string, string[]> = {};
      for (const below of ['plain', 'flagged']) {
        const script = Object.values(ATTEMPTS)
          .map((attempt) => attempt.replaceAll('/v/', `/v/${below}/`))
          .join('\n');
        const output = await run({ ...pod, volumes: volumes(place.at('bound'), true), script });
        seen[below] = output.split('\n').filter((line) => /^(im)?possible$/.test(line));
      }
      expect(seen).to.deep.equal({
        plain: FLAGS.map(() => 'possible'),
        flagged: FLAGS.map(() => 'impossible'),
      });
    });
  }
});
