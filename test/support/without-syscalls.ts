// Runs a command as on a kernel that lacks some system calls: a seccomp filter answers them with ENOSYS, in the command
// and in all that it starts.
//
//   node test/support/without-syscalls.ts open_tree,fsopen mocha 'test/kernel/**/*.test.ts'
//
// That is what an old kernel does, and what a sandbox may do: a flag that tells our own code to do without proves
// nothing about either.
import { spawnSync } from 'node:child_process';
import koffi from 'koffi';

/** Numbers on x86-64 and arm64 by name: all of them are newer than their split. */
const NUMBERS: Readonly<Record<string, number>> = {
  pidfd_send_signal: 424,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  fspick: 433,
  pidfd_open: 434,
  openat2: 437,
  mount_setattr: 442,
  statmount: 457,
  listmount: 458,
  open_tree_attr: 467,
};

const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const SECCOMP_RET_ALLOW = 0x7fff0000;
const SECCOMP_RET_ERRNO = 0x00050000;
const ENOSYS = 38;
/** Classic BPF: load the word at an offset of struct seccomp_data, compare it, return (seccomp(2)). */
const [LOAD, JUMP_IF_EQUAL, RETURN] = [0x20, 0x15, 0x06];
const OFFSET_OF_NUMBER = 0;

const [list = '', command, ...args] = process.argv.slice(2);
if (command === undefined) throw new Error('usage: without-syscalls.ts NAME[,NAME...] COMMAND [ARGUMENT...]');
const masked = list.split(',').map((name) => {
  const number = NUMBERS[name];
  if (number === undefined)
    throw new Error(`${name}: the calls that can be masked are ${Object.keys(NUMBERS).join(', ')}`);
  return number;
});
install([
  instruction(LOAD, 0, 0, OFFSET_OF_NUMBER),
  ...masked.flatMap((number) => [
    instruction(JUMP_IF_EQUAL, 0, 1, number),
    instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | ENOSYS),
  ]),
  instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
]);
const { status, signal, error } = spawnSync(command, args, {
  stdio: 'inherit',
  env: { ...process.env, MASKED_SYSCALLS: list },
});
if (error) throw error;
if (signal) process.kill(process.pid, signal);
process.exitCode = status ?? 1;

interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

function instruction(code: number, jt: number, jf: number, k: number): Instruction {
  return { code, jt, jf, k };
}

/** On this thread, from which children are started. Root needs no PR_SET_NO_NEW_PRIVS, and keeps setuid helpers. */
function install(program: readonly Instruction[]): void {
  const filter = koffi.struct('sock_filter', { code: 'uint16', jt: 'uint8', jf: 'uint8', k: 'uint32' });
  koffi.struct('sock_fprog', { len: 'uint16', filter: koffi.pointer(filter) });
  const libc = koffi.load('libc.so.6');
  const prctl = libc.func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
  const prctlFilter = libc.func('int prctl(int option, ulong mode, sock_fprog *program)');
  if (process.getuid?.() !== 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) {
    throw new Error(`prctl(PR_SET_NO_NEW_PRIVS): errno ${koffi.errno()}`);
  }
  if (prctlFilter(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, { len: program.length, filter: program }) !== 0) {
    throw new Error(`prctl(PR_SET_SECCOMP): errno ${koffi.errno()}`);
  }
}
