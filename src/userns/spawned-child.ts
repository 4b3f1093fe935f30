// The second way to a process in a new user namespace, for where it cannot be cloned: unshare(1) of util-linux.
//
//   we     -- a byte -->  unshare --user cat  -- the byte -->  we
//
// The byte comes back when cat runs, and so when the namespace is there. cat ends when our end of its input is closed:
// when we are killed, too. It has nothing of ours but the two pipes (all else is close-on-exec), and a session of its
// own, where a Ctrl-C does not reach it; one that comes before that ends it, and another child is tried.
//
// Node's event loop reaps it, on a later turn: as long as this thread is here, its number cannot be another's.
import { spawn } from 'node:child_process';
import { readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { type Child, killByPidfd } from '../sys/cloned-child.ts';
import { POLL } from '../sys/constants.ts';
import { SyscallError } from '../sys/errors.ts';
import { pidInProc } from '../sys/pidfd.ts';
import { pidfdOpen, pipe, poll } from '../sys/syscalls.ts';
import { explainNamespace } from './meanings.ts';

/** unshare(1) is there at once, or something is very wrong. */
const PATIENCE_MS = 10_000;
const BYTE = '\n';

export function spawnInUserNamespace(): Child {
  using undo = new DisposableStack();
  const input = undo.use(pipe());
  const output = undo.use(pipe());
  writeSync(input.write.number, BYTE);
  const command = spawn('unshare', ['--user', 'cat'], {
    stdio: [input.read.number, output.write.number, output.write.number],
    cwd: '/',
    detached: true,
    // The words of its errors are looked for.
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
  });
  command.unref();
  command.on('error', () => undefined);
  if (command.pid === undefined) {
    throw new Error(
      'unshare (of util-linux), with which user namespaces are made here, cannot be started; install it, or raise the limit of processes or open files',
    );
  }
  const pidfd = undo.use(openPidfd(command.pid));
  undo.defer(() => killByPidfd(pidfd));
  input.read[Symbol.dispose]();
  output.write[Symbol.dispose]();
  const said = firstWords(output.read.number);
  if (said !== BYTE) throw failureOf(said);
  const pid = pidInProc(pidfd);
  const owned = undo.move();
  return { pid, pidfd, [Symbol.dispose]: () => owned.dispose() };
}

function openPidfd(pid: number) {
  try {
    return pidfdOpen(pid, 0);
  } catch (error) {
    throw error instanceof SyscallError ? explainNamespace(error) : error;
  }
}

/** What comes first, to its end if it is not the byte. */
function firstWords(from: number): string {
  const deadline = performance.now() + PATIENCE_MS;
  const buffer = Buffer.alloc(4096);
  let text = '';
  while (text !== BYTE) {
    const left = deadline - performance.now();
    if (left <= 0) {
      throw new Error(`unshare --user did not begin within ${PATIENCE_MS} ms${text && `: ${text}`}`);
    }
    const entry = { fd: from, events: POLL.POLLIN };
    if (!poll([entry], left)) continue;
    const length = readSync(from, buffer);
    if (length === 0) break;
    text += buffer.toString('latin1', 0, length);
  }
  return text;
}

/** What unshare(1) says of its one system call, by the C library's words. */
const WORDS: readonly (readonly [words: string, errno: number])[] = [
  ['No space left on device', constants.errno.ENOSPC],
  ['Operation not permitted', constants.errno.EPERM],
  ['Too many users', 87], // EUSERS, which Node does not name
  ['Invalid argument', constants.errno.EINVAL],
];

function failureOf(said: string): Error {
  const call = (errno: number) => new SyscallError({ syscall: 'unshare', args: 'CLONE_NEWUSER', errno });
  // Killed before it could begin.
  if (said === '') return call(constants.errno.ESRCH);
  const known = WORDS.find(([words]) => said.includes(words));
  return known ? explainNamespace(call(known[1])) : new Error(`unshare --user: ${said.trim()}`);
}
