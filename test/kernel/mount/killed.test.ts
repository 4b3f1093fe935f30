// The process killed at each system call of an overlay with ID-mapped layers: nothing may be seen on the host but the
// finished mount, or stay there. strace(1) kills it, on entering the n-th call of a name.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { expect } from 'chai';
import { removeAbandonedLayers } from '../../../src/mount/layers-directory.ts';
import { mountPlace, writeFiles } from '../../support/fixtures.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { injecting } from '../../support/strace.ts';
import { mountsIn } from './engines.ts';

interface Tier {
  readonly flags: readonly string[];
  /** What makes the title true. */
  readonly clean?: (temporary: string) => void;
}

const TIERS: Readonly<Record<string, Tier>> = {
  'given by descriptor': { flags: [] },
  'put into a private namespace': { flags: ['--disable-kernel-feature', 'overlay-layers-by-fd'] },
  'put into a directory of the host, once the next engine has started': {
    flags: ['overlay-layers-by-fd', 'private-namespace'].flatMap((name) => [
      '--disable-kernel-feature',
      name,
    ]),
    clean: removeAbandonedLayers,
  },
};

/** In which a mount of either tier is made; the more of them a run meets, the more often it is killed. */
const CALLS = [
  'open_tree',
  'mount_setattr',
  'fsopen',
  'fsconfig',
  'fsmount',
  'move_mount',
  'mount',
  'pivot_root',
  'umount2',
];

describe('a mount whose process is killed', () => {
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
    needTool(this, 'strace', 'it kills the process at a system call');
  });

  for (const [title, { flags, clean }] of Object.entries(TIERS)) {
    it(`leaves nothing on the host, with its layers ${title}`, () => {
      using place = mountPlace();
      writeFiles(place.path, { 'a/': '', 'b/': '', 'target/': '', 'temporary/': '' });
      const before = seen(place.path);
      let kills = 0;
      for (const call of CALLS) {
        for (let nth = 1; runKilledAt(call, nth, flags, place.path); nth++) {
          kills++;
          clean?.(place.at('temporary'));
          const finished = mountsIn(place.at('target'));
          // Only one call makes a mount that is seen, and nothing that comes after it may take it away.
          const { mounts, temporary } = seen(place.path);
          expect({ mounts: mounts - finished, temporary }, `after ${call} #${nth}`).to.deep.equal(before);
          if (call === 'fsopen' || call === 'fsconfig' || call === 'fsmount') expect(finished).to.equal(0);
          takeAway(place.at('target'));
        }
        takeAway(place.at('target'));
      }
      expect(kills).to.be.greaterThan(10);
    });
  }
});

/** What a mount could leave: mounts below its directory, and directories for layers in the one that it has for them. */
function seen(directory: string): { mounts: number; temporary: number } {
  return { mounts: mountsIn(directory), temporary: readdirSync(`${directory}/temporary`).length };
}

/** Mounts at `target` of the directory; true when the process was killed on the way. */
function runKilledAt(call: string, nth: number, flags: readonly string[], directory: string): boolean {
  const options = `lowerdir=${directory}/a:${directory}/b,uidmap=0:100000:65536,gidmap=0:100000:65536`;
  const command = [
    'bin/csi-driver-idmap',
    'mount',
    '-t',
    'overlay',
    '-o',
    options,
    ...flags,
    'overlay',
    `${directory}/target`,
  ];
  const inject = injecting(call, `signal=SIGKILL:when=${nth}`);
  const env = { ...process.env, TMPDIR: `${directory}/temporary` };
  const { status, signal, stderr } = spawnSync('strace', [...inject, ...command], { encoding: 'utf8', env });
  if (status === 0) return false;
  if (signal === 'SIGKILL' || status === 128 + 9) return true;
  throw new Error(`status ${status}, ${signal}: ${stderr}`);
}

function takeAway(target: string): void {
  while (mountsIn(target) > 0) spawnSync('umount', [target]);
}
