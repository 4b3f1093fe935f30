// Steps that prepare a new filesystem before it is read-only.
import { fchmodSync, fchownSync } from 'node:fs';
import { renderFlags } from '../../sys/bind.ts';
import { MS, O, STATX, STATX_MASK } from '../../sys/constants.ts';
import { mkdirat, mount, openat, statx } from '../../sys/syscalls.ts';
import type { Rows, Slot } from './row.ts';

export interface DirectorySteps {
  /** Directories in the root of a new filesystem, with its owner. */
  readonly makeDirectories: { readonly in: Slot; readonly names: readonly string[] };
  /** mount(2): the filesystem that has just been mounted, and this mount of it, become read-only. */
  readonly sealCall: { readonly on: Slot /** MS flags, all of them. */; readonly flags: number };
}

const MODE = 0o755;

export const directorySteps: Rows<DirectorySteps> = {
  makeDirectories: {
    describe: ({ in: root, names }) =>
      `mkdirat(${root}, ${names.map((name) => JSON.stringify(name)).join(', ')}), mode 0${MODE.toString(8)}, owner of the root`,
    apply: ({ in: slot, names }, at) => {
      const root = at.get(slot);
      const { uid, gid } = statx(root, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
      for (const name of names) {
        mkdirat(root, name, MODE);
        using made = openat(root, name, O.O_DIRECTORY | O.O_NOFOLLOW);
        fchownSync(made.number, uid, gid);
        // The umask took bits away, and a set-group-id root gave one.
        fchmodSync(made.number, MODE);
      }
    },
    explain: (errno, { names }) =>
      errno === 'ENOSPC'
        ? {
            reason: 'invalid-mount',
            meaning: `the filesystem has no room for ${names.join(', ')}; give it a larger size= or nr_inodes=`,
          }
        : undefined,
  },
  sealCall: {
    describe: ({ flags }) => `mount(target, ${renderFlags(MS.MS_REMOUNT | flags, MS)})`,
    apply: ({ on, flags }, at) =>
      mount(null, `/proc/self/fd/${at.get(on).number}`, null, MS.MS_REMOUNT | flags, null),
  },
};
