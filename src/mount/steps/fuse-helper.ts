// A helper is started for a target and waited for, in one of two ways:
//
//   by itself        it is given the target, mounts there, and perhaps becomes a daemon
//   by descriptor    the mount is made here, and it is given the open /dev/fuse: as an ordinary user (fuse/descriptor.ts)
import { openSync } from 'node:fs';
import { MOVE_MOUNT, O, POLL } from '../../sys/constants.ts';
import { Fd } from '../../sys/fd.ts';
import { moveMount } from '../../sys/syscalls.ts';
import { MountError, type MountReason } from '../errors.ts';
import { type Answer, askFilesystem } from '../fuse/answer.ts';
import { type Helper, helperArguments, mountFuseArguments, wantsMountFuse } from '../fuse/command.ts';
import { openConnection } from '../fuse/descriptor.ts';
import { foregroundFlags } from '../fuse/foreground.ts';
import { isFuse, shownPath } from '../fuse/mounts.ts';
import { describeExit, findProgram, type ProgramUser, type Running, start } from '../fuse/program.ts';
import { type Programs, programGiven } from '../fuse/programs.ts';
import type { MountInfo } from '../mountinfo.ts';
import { nodeOfDisk } from '../source-device.ts';
import type { Workplace } from './row.ts';

/** A launcher that has not ended so long after it has mounted is the server itself, in the foreground. */
const FOREGROUND_AFTER_MS = 300;
/** How long after a good end its mount may still come, of a helper that becomes a daemon first and mounts then. */
const MOUNT_AFTER_END_MS = 2_000;
/** How long the end of a helper may take after its filesystem is found dead. */
const LAST_WORDS_MS = 1_000;

/** The FUSE mount that has come to the target since the plan began, if it is the one that is seen. */
type TopAdded = () => MountInfo | undefined;

/** Returns when the helper's filesystem is at the target and answers. */
export function startHelper(given: Helper, at: Workplace, topAdded: TopAdded): void {
  const { users } = at.programs;
  const user = Object.hasOwn(users, given.name) ? users[given.name] : undefined;
  if (user === undefined) startAtTarget(given, at, topAdded);
  else startByDescriptor(given, user, at);
}

function startAtTarget(given: Helper, at: Workplace, topAdded: TopAdded): void {
  const { helper, files } = withSource(given, at, 3);
  const { directories, output } = at.programs;
  using running = start({ argv: commandOf(helper, at), directories, files, output });
  endingOnFailure(running, () => {
    awaitMount(running, helper, at, topAdded);
    if (flagsFor(helper, at) === undefined) awaitGoodEnd(running, helper, at);
    expectAnswer(askFilesystem(shownPath(at.target), at.programs), running, helper, at);
  });
}

/** The helper gets the connection of a mount that is made here (fuse/descriptor.ts). */
function startByDescriptor(given: Helper, user: ProgramUser, at: Workplace): void {
  const { directories, output } = at.programs;
  const file = programGiven(given.name, at.programs) ?? findProgram(given.name, directories);
  if (file === undefined) throw notFound(given.name, at.programs);
  using connection = openConnection(given, user);
  const { helper, files } = withSource(given, at, 4);
  const argv = [file, ...helperArguments(helper, '/dev/fd/3', flagsFor(helper, at))];
  using running = start({ argv, directories, files: [connection.device, ...files], output, user });
  connection.device[Symbol.dispose]();
  endingOnFailure(running, () => {
    const answer = askFilesystem('/proc/self/fd/3', at.programs, [connection.mount]);
    if (!answer.answers) {
      const until = performance.now() + LAST_WORDS_MS;
      while (running.exit() === undefined && performance.now() < until) running.wait(until);
      if (running.exit() !== undefined) throw badEnd(running, helper, at);
    }
    expectAnswer(answer, running, helper, at);
    using target = at.target.open();
    const both = MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT.MOVE_MOUNT_T_EMPTY_PATH;
    moveMount(connection.mount, '', target, '', both);
  });
}

function endingOnFailure(running: Running, work: () => void): void {
  try {
    work();
  } catch (error) {
    running.kill();
    throw error;
  }
}

function expectAnswer(answer: Answer, running: Running, helper: Helper, at: Workplace): void {
  if (answer.answers) return;
  const reason = answer.is === 'hung' ? 'timeout' : 'helper-failed';
  throw ofHelper(running, helper, at, reason, `has mounted, but ${answer.because}`);
}

/** Undefined where it may become a daemon. */
const flagsFor = ({ name }: Helper, { programs }: Workplace): readonly string[] | undefined =>
  programs.foreground ? foregroundFlags(name) : undefined;

/**
 * A held source, for the helper: a descriptor that it is given. One that closes what it did not open, or starts another
 * program without it, does not find it and fails; one that asks for the real path (realpath(3)) goes by that. A source
 * that is no path is between the helper and whom it asks.
 * @param number of its descriptor
 */
function withSource(
  helper: Helper,
  { sources }: Workplace,
  number: number,
): { helper: Helper; files: readonly Fd[] } {
  const held = helper.source.startsWith('/') ? sources.hold(helper.source) : undefined;
  if (held === undefined) return { helper, files: [] };
  const node = nodeOfDisk(held, helper.source);
  if (node !== undefined) return { helper: { ...helper, source: node }, files: [] };
  return { helper: { ...helper, source: `/proc/self/fd/${number}` }, files: [held] };
}

function commandOf(helper: Helper, at: Workplace): string[] {
  const { directories, mountFuse } = at.programs;
  const target = shownPath(at.target);
  const direct = (file: string) => [file, ...helperArguments(helper, target, flagsFor(helper, at))];
  const pinned = programGiven(helper.name, at.programs);
  if (pinned !== undefined) return direct(pinned);
  const own = findProgram(helper.name, directories);
  const through =
    mountFuse === 'always' || (mountFuse === 'fallback' && (own === undefined || wantsMountFuse(helper)));
  if (!through && own !== undefined) return direct(own);
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
function awaitMount(running: Running, helper: Helper, at: Workplace, topAdded: TopAdded): void {
  using table = new Fd(openSync('/proc/self/mountinfo', O.O_CLOEXEC));
  const change = { fd: table.number, events: POLL.POLLPRI };
  let until = at.programs.deadline;
  let ended = false;
  for (;;) {
    // Asked first: what a helper did before its end is there to be seen after it.
    const exit = running.exit();
    const top = topAdded();
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
