// Steps that change what is mounted already.
import { renderFlags } from '../../sys/bind.ts';
import { FSPICK, MOUNT_ATTR, MS, STATX, STATX_ATTR_MOUNT_ROOT, STATX_MASK } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { fsconfig, fspick, mount, statx } from '../../sys/syscalls.ts';
import { type Explanation, MountError } from '../errors.ts';
import { changed, changeFlags, flagsOf } from '../flags.ts';
import { mountIdOf, mountView } from '../view.ts';
import { currentFlags } from './classic.ts';
import type { Rows, Slot, Workplace } from './row.ts';

export interface RemountSteps {
  /** A reference to the top mount at the target. */
  readonly openMounted: { readonly as: Slot };
  readonly changeFlags: {
    readonly on: Slot;
    readonly set: number;
    readonly clear: number;
    readonly recursive: boolean;
  };
  /** A context of the filesystem of a mount. */
  readonly pickFilesystem: { readonly on: Slot; readonly as: Slot };
  /** mount(2): flags of the mount and of its filesystem at once, those it has and those that change; data. */
  readonly remountCall: {
    readonly on: Slot;
    /** MS flags. */
    readonly set: number;
    readonly clear: number;
    readonly data: string;
  };
  /** Gives the filesystem what its context has been told. */
  readonly reconfigure: { readonly context: Slot };
}

/** What the flags were, for each step that changed them. */
const before = new WeakMap<Workplace, number>();

export const remountSteps: Rows<RemountSteps> = {
  openMounted: {
    describe: ({ as }) => `${as} = the mount at target`,
    apply: ({ as }, at) => {
      const mounted = at.target.open();
      at.put(as, mounted);
      const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
      const { attributes } = statx(mounted, '', flags, STATX_MASK.STATX_MNT_ID);
      if ((attributes & STATX_ATTR_MOUNT_ROOT) === 0n) {
        throw new MountError({
          reason: 'bad-target',
          message: `${at.target.path} is not a mount point: there is nothing to remount`,
          rolledBack: true,
        });
      }
    },
  },
  changeFlags: {
    describe: ({ on, set, clear, recursive }) => {
      const parts = [
        set ? `set ${renderFlags(set, MOUNT_ATTR)}` : '',
        clear ? `clear ${renderFlags(clear, MOUNT_ATTR)}` : '',
      ];
      const shown = parts.filter((part) => part !== '').join(', ');
      return `mount_setattr(${on}${recursive ? ', AT_RECURSIVE' : ''}, ${shown})`;
    },
    apply: ({ on, ...change }, at) => {
      const mounted = at.get(on);
      if (!change.recursive) before.set(at, flagsOf(mounted));
      changeFlags(mounted, change);
    },
    undo: ({ on, set, clear, recursive }, at) => {
      const flags = before.get(at);
      if (recursive || flags === undefined) throw new Error('what the flags were below is not known');
      const touched = set | clear;
      const back = { set: flags & touched, clear: touched, recursive };
      if (changed(flags, { set, clear }) !== flags) changeFlags(at.get(on), back);
    },
    explain: explainBusy,
  },
  pickFilesystem: {
    describe: ({ on, as }) => `${as} = fspick(${on})`,
    apply: ({ on, as }, at) =>
      at.put(as, fspick(at.get(on), '', FSPICK.FSPICK_EMPTY_PATH | FSPICK.FSPICK_CLOEXEC)),
    explain: explainForeign,
  },
  remountCall: {
    describe: ({ set, clear, data }) =>
      `mount(target, MS_REMOUNT, set ${renderFlags(set, MS)}, clear ${renderFlags(clear, MS)}, ${JSON.stringify(data)})`,
    apply: ({ on, set, clear, data }, at) => {
      const mounted = at.get(on);
      const flags = ((currentFlags(mounted) | superblockFlags(mounted)) & ~clear) | set;
      mount(null, `/proc/self/fd/${mounted.number}`, null, MS.MS_REMOUNT | flags, data || null);
    },
    undo: () => {
      throw new Error('what the filesystem was before is not known any more');
    },
    explain: (errno) => explainBusy(errno) ?? explainForeign(errno),
  },
  reconfigure: {
    describe: ({ context }) => `fsconfig(${context}, FSCONFIG_CMD_RECONFIGURE)`,
    apply: ({ context }, at) => fsconfig(at.get(context), { by: 'reconfigure' }),
    explain: (errno) => explainBusy(errno) ?? explainForeign(errno),
  },
};

function explainForeign(errno: string): Explanation | undefined {
  if (errno !== 'EPERM') return undefined;
  return {
    reason: 'not-permitted',
    meaning:
      'the filesystem belongs to a more privileged user namespace, in which alone it can be changed; add bind to ' +
      'change the flags of this mount of it',
  };
}

function explainBusy(errno: string): Explanation | undefined {
  if (errno !== 'EBUSY') return undefined;
  return { reason: 'busy', meaning: 'it cannot become read-only while files are open for writing' };
}

/** What statfs(2) does not tell, and a remount would clear. */
function superblockFlags(mounted: Fd): number {
  const view = mountView();
  const options = view.find(mountIdOf(mounted, view))?.info.superblockOptions ?? [];
  const named = { sync: MS.MS_SYNCHRONOUS, dirsync: MS.MS_DIRSYNC, lazytime: MS.MS_LAZYTIME };
  return Object.entries(named).reduce((all, [name, flag]) => (options.includes(name) ? all | flag : all), 0);
}
