// A program run for the engine: synchronously, for the engine's operations are, yet never for longer than it may.
//
//   found        by name in a fixed list of directories, never in the caller's PATH; or at a path that was given
//   environment  PATH of those directories, HOME, LANG=C, and nothing else
//   descriptors  /dev/null as input, a bounded memory file for both outputs, and the files that it is given
//   user         this process's, or an ordinary one, who cannot become another (PR_SET_NO_NEW_PRIVS, which from then on
//                holds for this thread and what it starts)
//   place        `/`, a session and process group of its own, so that it can be killed whole, and Ctrl-C passes by
//   end          awaited with ppoll(2) on a pidfd; libuv reaps it later, when its loop turns
//
// Its output goes to a memory file rather than a pipe: a helper that stays as a daemon may keep its output open for
// ever, and a pipe that nobody reads blocks it, and one that is closed kills it (SIGPIPE). The file is sealed at its
// size, so what it writes beyond is refused (EPERM) and costs nothing.
import { spawn } from 'node:child_process';
import { accessSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, readSync } from 'node:fs';
import { userInfo } from 'node:os';
import path from 'node:path';
import { cloneChild } from '../../sys/cloned-child.ts';
import { AT_FDCWD, CLOSE_RANGE_CLOEXEC, F_ADD_SEALS, F_SEAL, MFD, O, POLL, PR } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { pause } from '../../sys/pause.ts';
import type { Exit, PollEntry } from '../../sys/structs.ts';
import {
  addSeals,
  closeRange,
  exitOf,
  memfdCreate,
  openat,
  pidfdOpen,
  poll,
  prctl,
} from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';

export const PROGRAM_DIRECTORIES: readonly string[] = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
];

/** The absolute path of a program; undefined when no directory has it. */
export function findProgram(name: string, directories: readonly string[]): string | undefined {
  return directories.map((directory) => path.join(directory, name)).find(isExecutable);
}

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface Program {
  /** The absolute path of the program, and its arguments. */
  readonly argv: readonly string[];
  /** What its PATH names. */
  readonly directories: readonly string[];
  /** Open files that it gets, as descriptors one after another (default: none). */
  readonly files?: readonly Fd[];
  /** The number of the first of them; those from 3 to it are /dev/null (default 3). */
  readonly firstFile?: number;
  /** Its working directory (default `/`). */
  readonly cwd?: string;
  /** An ordinary user, without other groups and capabilities, nor a way to any (default: as this process). */
  readonly user?: ProgramUser | undefined;
  /** Where its output is added, in place of the bounded file: a file that someone else keeps from growing. */
  readonly output?: string | undefined;
}

export interface ProgramUser {
  readonly uid: number;
  readonly gid: number;
}

/** A running program. The end of its owner's block lets go of it, and does not end it. */
export interface Running extends Disposable {
  exit(): Exit | undefined;
  /** Waits until it has ended, or `also` has something, or the time (performance.now()) has come. */
  wait(until: number, also?: PollEntry): void;
  /** The end of what it has said, on one line. */
  said(): string;
  /** Kills its process group, and waits a moment for it to be gone. */
  kill(): void;
}

const OUTPUT_BYTES = 64 * 1024;
const SAID_BYTES = 4 * 1024;
const KILL_WAIT_MS = 1_000;

export function start(program: Program): Running {
  const { argv, directories, files = [], firstFile = 3, cwd = '/', user } = program;
  using undo = new DisposableStack();
  using nothing = openat(AT_FDCWD, '/dev/null', O.O_CLOEXEC, 0);
  const fill = Array.from({ length: firstFile - 3 }, () => nothing.number);
  const output = undo.use(program.output === undefined ? boundedFile() : appended(program.output));
  keepDescriptors();
  if (user !== undefined) prctl(PR.PR_SET_NO_NEW_PRIVS, 1);
  const [file = '', ...args] = argv;
  const child = spawn(file, args, {
    cwd,
    env: { PATH: directories.join(':'), HOME: user === undefined ? home() : '/', LANG: 'C' },
    ...(user && { uid: user.uid, gid: user.gid }),
    stdio: ['ignore', output.number, output.number, ...fill, ...files.map(({ number }) => number)],
    detached: true,
  });
  // A failed start is told by the missing pid; the event comes too late for a synchronous caller.
  child.on('error', () => undefined);
  child.unref();
  const { pid } = child;
  if (pid === undefined) {
    expectRoom();
    throw new MountError({
      reason: 'helper-failed',
      message: `${file} cannot be started: it is no program for this machine, or its interpreter is missing`,
      rolledBack: true,
    });
  }
  const pidfd = undo.use(pidfdOf(pid));
  let known = false;
  const exit: Running['exit'] = () => {
    const ended = exitOf(pidfd);
    known = ended !== undefined;
    return ended;
  };
  const wait: Running['wait'] = (until, also) => {
    const entries = [{ fd: pidfd.number, events: POLL.POLLIN }, ...(also ? [also] : [])];
    // A pidfd stays readable after the end: whoever has been told of it, and waits on for something else, is not to
    // be woken by it. Who has not been told is, or an end just before the wait would be slept through.
    poll(also && known ? [also] : entries, until - performance.now());
  };
  const owned = undo.move();
  return {
    exit,
    wait,
    said: () => lastWords(written(tailOf(output, OUTPUT_BYTES))),
    kill() {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch (error) {
        if (!hasErrno(error, 'ESRCH')) throw error;
      }
      const until = performance.now() + KILL_WAIT_MS;
      while (exit() === undefined && performance.now() < until) wait(until);
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/**
 * Of a child that has just been started. Without one nobody could see its end: then it is ended now.
 * Not reaped before the event loop turns, which it does not while this operation lasts: the number is its own.
 */
function pidfdOf(pid: number): Fd {
  try {
    return pidfdOpen(pid, 0);
  } catch (error) {
    process.kill(-pid, 'SIGKILL');
    const until = performance.now() + KILL_WAIT_MS;
    while (!isOver(pid) && performance.now() < until) pause(1);
    throw error;
  }
}

/** Whether nothing is left of a child but its number (proc_pid_stat(5), state Z). */
const isOver = (pid: number): boolean => /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));

/**
 * Why a program did not start Node tells by an event, which comes too late: so the kernel is asked for another process.
 * @throws SyscallError (EAGAIN, ENOMEM, EMFILE) where there is no room for one
 */
function expectRoom(): void {
  try {
    cloneChild(0)[Symbol.dispose]();
  } catch (error) {
    if (hasErrno(error, 'EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE')) throw error;
    // No more can be told.
  }
}

export type Outcome = Exit | 'deadline';

/** Runs a program to its end, or kills it at the deadline (performance.now()). */
export function run(
  program: Program,
  deadline: number,
): { readonly outcome: Outcome; readonly said: string } {
  using running = start(program);
  while (running.exit() === undefined && performance.now() < deadline) running.wait(deadline);
  const exit = running.exit();
  if (exit === undefined) running.kill();
  return { outcome: exit ?? 'deadline', said: running.said() };
}

export function describeExit(exit: Exit): string {
  return 'status' in exit ? `ended with status ${exit.status}` : `was ended by signal ${exit.signal}`;
}

function boundedFile(): Fd {
  using file = memfdCreate('output', MFD.MFD_CLOEXEC | MFD.MFD_ALLOW_SEALING);
  ftruncateSync(file.number, OUTPUT_BYTES);
  addSeals(file, F_ADD_SEALS, F_SEAL.F_SEAL_GROW | F_SEAL.F_SEAL_SHRINK | F_SEAL.F_SEAL_SEAL);
  return new Fd(file.release());
}

function appended(path: string): Fd {
  return new Fd(openSync(path, constants.O_RDWR | constants.O_APPEND));
}

/** So many bytes, of a file that may be as large as whoever writes to it has made it. */
export function tailOf(file: Fd, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  const { size } = fstatSync(file.number, { bigint: true });
  const before = size - BigInt(bytes);
  // By position: the file's own is shared with the program, which writes on from there.
  const length = readSync(file.number, buffer, 0, bytes, before > 0n ? before : 0n);
  return buffer.subarray(0, length);
}

/** Up to what has not been written yet. */
function written(output: Buffer): Buffer {
  const end = output.indexOf(0);
  return output.subarray(0, end === -1 ? output.length : end);
}

/** The end of an output, on one line. */
export function lastWords(output: Buffer): string {
  const tail = output.subarray(-SAID_BYTES).toString().trim();
  return tail.replace(/\s*\n\s*/g, '; ');
}

/**
 * What this runtime opens is closed in a new program anyway; what it was itself given by its own starter need not
 * be. ENOSYS (before Linux 5.11): the runtime marks the low numbers at its start, which has to do.
 */
function keepDescriptors(): void {
  try {
    closeRange(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
  } catch (error) {
    if (!hasErrno(error, 'ENOSYS', 'EINVAL', 'EPERM')) throw error;
  }
}

/** As the user database has it, not as the caller's environment says. */
function home(): string {
  try {
    return userInfo().homedir;
  } catch {
    return '/';
  }
}
