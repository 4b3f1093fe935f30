// Steps that have a FUSE helper mount its filesystem at the target.
import { openSync } from 'node:fs';
import { renderFlags } from '../../sys/bind.ts';
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, O, POLL, UMOUNT } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { mountIdOf, mountSetattr, umount2 } from '../../sys/syscalls.ts';
import { MountError, type MountReason } from '../errors.ts';
import { askFilesystem } from '../fuse/answer.ts';
import { type Helper, helperArguments, mountFuseArguments, wantsMountFuse } from '../fuse/command.ts';
import { abortConnection } from '../fuse/connection.ts';
import { isFuse, mountsAt, shownPath, topOf } from '../fuse/mounts.ts';
import { describeExit, findProgram, type Running, start } from '../fuse/program.ts';
import type { Programs } from '../fuse/programs.ts';
import { type MountInfo, readMountinfo } from '../mountinfo.ts';
import { parseOptions } from '../options.ts';
import { nodeOfDisk } from '../source-device.ts';
import type { Rows, Slot, Workplace } from './row.ts';

export interface FuseSteps {
  /** What is mounted at the target before the helper begins. Undone, everything that has come since is gone. */
  readonly noteMounts: Record<never, never>;
  /** Runs until the target shows a FUSE filesystem that answers. */
  readonly startHelper: Helper;
  /** Attributes of a mount that is attached already. */
  readonly ensureAttributes: { readonly on: Slot; readonly set: number; readonly clear: number };
}

/**
 * A held source, for the helper: the first descriptor that it is given. One that closes what it did not open, or starts
 * another program without it, does not find it and fails; one that asks for the real path (realpath(3)) goes by that.
 */
const SOURCE_OF_HELPER = '/proc/self/fd/3';

interface Noted {
  /** Ids of the mounts that were at the target before the plan of this workplace began. */
  readonly here: ReadonlySet<number>;
  /** Filesystems that were mounted anywhere. */
  readonly devices: ReadonlySet<string>;
}

const noted = new WeakMap<Workplace, Noted>();

/** A launcher that has not ended so long after it has mounted is the server itself, in the foreground. */
const FOREGROUND_AFTER_MS = 300;
/** How long after a good end its mount may still come, of a helper that becomes a daemon first and mounts then. */
const MOUNT_AFTER_END_MS = 2_000;

export const fuseSteps: Rows<FuseSteps> = {
  noteMounts: {
    describe: () => 'note what is mounted at target',
    apply: (_, at) => {
      // Refuses what a helper would make otherwise, or follow.
      using _place = at.target.open();
      noted.set(at, {
        here: new Set(mountsAt(at.target).map(({ id }) => id)),
        devices: new Set(readMountinfo().map(({ device }) => device)),
      });
    },
    undo: (_, at) => {
      for (let top = topAdded(at); top !== undefined; top = topAdded(at)) {
        // A server that hangs would keep those who asked it waiting. One that served before is not the helper's.
        const isNew = isFuse(top) && noted.get(at)?.devices.has(top.device) === false;
        if (isNew) abortConnection(top);
        const flags = UMOUNT.MNT_DETACH | (isNew ? UMOUNT.MNT_FORCE : 0);
        umount2(at.target.pathByParent, UMOUNT.UMOUNT_NOFOLLOW | flags);
      }
    },
  },
  startHelper: {
    describe: (helper) => {
      const words = [helper.name, ...helperArguments(helper, 'target')];
      return `${words.map(quote).join(' ')}; wait until target is FUSE and answers`;
    },
    apply: (given, at) => {
      const { helper, files } = withSource(given, at);
      using running = start({ argv: commandOf(helper, at), directories: at.programs.directories, files });
      try {
        awaitMount(running, helper, at);
        awaitGoodEnd(running, helper, at);
        const answer = askFilesystem(shownPath(at.target), at.programs);
        if (!answer.answers) {
          const reason = answer.because === 'it does not answer' ? 'timeout' : 'helper-failed';
          throw ofHelper(running, helper, at, reason, `has mounted, but ${answer.because}`);
        }
      } catch (error) {
        running.kill();
        throw error;
      }
    },
  },
  ensureAttributes: {
    describe: ({ on, set, clear }) =>
      `ensure that ${on} has ${renderFlags(set, MOUNT_ATTR)}, and not ${renderFlags(clear & ~set, MOUNT_ATTR)}`,
    apply: ({ on, set, clear }, at) => {
      try {
        mountSetattr(at.get(on), 0, { set, clear, propagation: 0, usernsFd: 0 });
      } catch (error) {
        // An ordinary user may mount through fusermount3, and not change it. What libfuse did may be enough.
        if (!hasErrno(error, 'EPERM') || !hasAttributes(at.get(on), set, clear)) throw error;
      }
    },
  },
};

/** A source that is no path is between the helper and whom it asks. */
function withSource(helper: Helper, { sources }: Workplace): { helper: Helper; files: readonly Fd[] } {
  const held = helper.source.startsWith('/') ? sources.hold(helper.source) : undefined;
  if (held === undefined) return { helper, files: [] };
  const node = nodeOfDisk(held, helper.source);
  if (node !== undefined) return { helper: { ...helper, source: node }, files: [] };
  return { helper: { ...helper, source: SOURCE_OF_HELPER }, files: [held] };
}

function added(at: Workplace): MountInfo[] {
  const before = noted.get(at)?.here;
  return mountsAt(at.target).filter(({ id }) => before?.has(id) === false);
}

/** The mount that is seen at the target, if it has come since. */
function topAdded(at: Workplace): MountInfo | undefined {
  const top = topOf(mountsAt(at.target));
  return top && added(at).some(({ id }) => id === top.id) ? top : undefined;
}

function commandOf(helper: Helper, at: Workplace): string[] {
  const { directories, mountFuse } = at.programs;
  const target = shownPath(at.target);
  const own = findProgram(helper.name, directories);
  const through =
    mountFuse === 'always' || (mountFuse === 'fallback' && (own === undefined || wantsMountFuse(helper)));
  if (!through && own !== undefined) return [own, ...helperArguments(helper, target)];
  const names = helper.flavour === 'fuse' ? ['mount.fuse', 'mount.fuse3'] : ['mount.fuse3'];
  const launcher = through ? names.map((name) => findProgram(name, directories)).find(Boolean) : undefined;
  if (launcher === undefined) throw notFound(own === undefined ? helper.name : 'mount.fuse3', at.programs);
  return [launcher, ...mountFuseArguments(helper, target)];
}

function notFound(name: string, { directories }: Programs): MountError {
  const message = `there is no program ${name} in ${directories.join(', ')}: install it there`;
  return new MountError({ reason: 'helper-not-found', message, rolledBack: true });
}

/** Returns when something new is mounted at the target, seen through the events of the mount table. */
function awaitMount(running: Running, helper: Helper, at: Workplace): void {
  using table = new Fd(openSync('/proc/self/mountinfo', O.O_CLOEXEC));
  const change = { fd: table.number, events: POLL.POLLPRI };
  let until = at.programs.deadline;
  let ended = false;
  for (;;) {
    // Asked first: what a helper did before its end is there to be seen after it.
    const exit = running.exit();
    const top = topAdded(at);
    if (exit !== undefined && !isGood(exit)) throw badEnd(running, helper, at);
    if (top !== undefined && isFuse(top)) return;
    if (top !== undefined && exit !== undefined) {
      const what = `has mounted ${top.type} at ${at.target.path}, which is not FUSE`;
      throw ofHelper(running, helper, at, 'helper-failed', what);
    }
    if (performance.now() >= until) {
      if (ended) throw ofHelper(running, helper, at, 'helper-failed', 'ended well, but has mounted nothing');
      throw ofHelper(running, helper, at, 'timeout', 'mounted nothing within the deadline and was killed');
    }
    if (exit !== undefined && !ended) {
      ended = true;
      until = Math.min(until, performance.now() + MOUNT_AFTER_END_MS);
    }
    running.wait(until, change);
  }
}

/** A launcher that fails after it has mounted has failed. One that goes on is a server in the foreground. */
function awaitGoodEnd(running: Running, helper: Helper, at: Workplace): void {
  const until = performance.now() + FOREGROUND_AFTER_MS;
  while (running.exit() === undefined && performance.now() < until) running.wait(until);
  const exit = running.exit();
  if (exit !== undefined && !isGood(exit)) throw badEnd(running, helper, at);
}

const isGood = (exit: ReturnType<Running['exit']>): boolean =>
  exit !== undefined && 'status' in exit && exit.status === 0;

/** What the shell of mount.fuse says of a program that it cannot find. */
const NO_SUCH_COMMAND = 127;

function badEnd(running: Running, helper: Helper, at: Workplace): MountError {
  const exit = running.exit();
  const missing = exit !== undefined && 'status' in exit && exit.status === NO_SUCH_COMMAND;
  const reason = missing && at.programs.mountFuse !== 'never' ? 'helper-not-found' : 'helper-failed';
  return ofHelper(running, helper, at, reason, exit === undefined ? 'failed' : describeExit(exit));
}

/** Never with the arguments: an option may be a secret. */
function ofHelper(
  running: Running,
  { name }: Helper,
  at: Workplace,
  reason: MountReason,
  what: string,
): MountError {
  const said = running.said();
  return failed(at, reason, `the helper ${name} ${what}${said === '' ? '' : `: ${said}`}`);
}

function failed({ target }: Workplace, reason: MountReason, what: string): MountError {
  return new MountError({ reason, message: `target ${target.path}: ${what}`, rolledBack: false });
}

/** Apart from access times, which mountinfo does not tell in full. */
function hasAttributes(mount: Fd, set: number, clear: number): boolean {
  const mountId = mountIdOf(mount);
  const shown = readMountinfo().find(({ id }) => BigInt(id) === mountId);
  if (shown === undefined) return false;
  const has = parseOptions(shown.options).mount.set;
  return (set & ~MOUNT_ATTR__ATIME & ~has) === 0 && (clear & ~MOUNT_ATTR__ATIME & ~set & has) === 0;
}

const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word));
