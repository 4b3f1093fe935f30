// How a row of the syscall table becomes a function: arguments are encoded and rendered by kind, the call goes
// through libc's syscall(2) (so that a call newer than the C library works), errno is read where it is still
// right, and a failure is a SyscallError.
//
// syscall() is variadic in C, and bound as a plain function: on x86-64 and arm64 Linux, integer and pointer arguments of
// both are passed alike.
import koffi from 'koffi';
import type { AT_FDCWD } from './constants.ts';
import { SyscallError } from './errors.ts';
import { describeFd, Fd } from './fd.ts';

type Native = number | bigint | string | Buffer | null;

/** One kind of argument: its C type, how a value is passed and how it is shown. */
export interface Arg<T> {
  readonly ctype: string;
  /** Absent where values are passed as they are. */
  readonly encode?: (value: T) => Native;
  readonly render: (value: T) => string;
}

export const int: Arg<number> = { ctype: 'int', render: String };
export const long: Arg<number> = { ctype: 'long', render: String };
/** A size of a file, which may be any. */
export const size: Arg<bigint> = { ctype: 'int64', render: String };
/** A path or another C string; null is a NULL pointer. Refuses NUL, at which the kernel would stop reading. */
export const text: Arg<string | null> = {
  ctype: 'str',
  encode: (value) => {
    if (value?.includes('\0')) throw new TypeError(`a NUL character in ${JSON.stringify(value)}`);
    return value;
  },
  render: (value) => (value === null ? 'NULL' : `${JSON.stringify(value)}${behind(value)}`),
};
/** An address that the caller owns, as mmap(2) gave it. */
export const address: Arg<bigint> = {
  ctype: 'int64',
  render: (value) => `0x${value.toString(16)}`,
};
/** Memory for the kernel to read or fill. `show` renders what is worth seeing of it. */
export const memory = (show: (value: Buffer) => string = (value) => `{${value.length} bytes}`) =>
  ({
    ctype: 'void *',
    render: (value) => (value === null ? 'NULL' : show(value)),
  }) satisfies Arg<Buffer | null>;
export const fd: Arg<Fd> = {
  ctype: 'int',
  encode: (value) => value.number,
  render: (value) => value.toString(),
};
/** A directory fd of the *at calls. */
export const dirfd: Arg<Fd | typeof AT_FDCWD> = {
  ctype: 'int',
  encode: (value) => (value instanceof Fd ? value.number : value),
  render: (value) => (value instanceof Fd ? value.toString() : 'AT_FDCWD'),
};
export const flags = (set: Readonly<Record<string, number>>): Arg<number> => ({
  ctype: 'uint',
  render: (value) => renderFlags(value, set),
});
/** A number with a name, such as fsconfig's command. */
export const oneOf = (set: Readonly<Record<string, number>>): Arg<number> => ({
  ctype: 'uint',
  render: (value) => Object.entries(set).find(([, number]) => number === value)?.[0] ?? String(value),
});

/** What a path through one of our descriptors leads to: its number says nothing to who reads it afterwards. */
function behind(path: string): string {
  const [, number] = /^\/proc\/self\/fd\/(\d+)/.exec(path) ?? [];
  return number === undefined ? '' : describeFd(Number(number)).replace(/^\d+/, '');
}

/** `A|B`, with the bits that no name covers in hexadecimal; `0` for none. */
export function renderFlags(value: number, set: Readonly<Record<string, number>>): string {
  let rest = value;
  const names: string[] = [];
  for (const [name, bits] of Object.entries(set)) {
    if (bits !== 0 && (rest & bits) === bits) {
      names.push(name);
      rest &= ~bits;
    }
  }
  if (rest !== 0) names.push(`0x${(rest >>> 0).toString(16)}`);
  return names.join('|') || '0';
}

/** What a call returns: `0` on success, a new descriptor, or a number. */
export interface Result<R> {
  readonly wrap: (value: number) => R;
}
export const nothing: Result<void> = { wrap: () => undefined };
export const newFd: Result<Fd> = { wrap: (value) => new Fd(value) };
export const number: Result<number> = { wrap: (value) => value };
export const pointer: Result<bigint> = { wrap: (value) => BigInt(value) };

type Values<A extends readonly Arg<never>[]> = {
  -readonly [K in keyof A]: A[K] extends Arg<infer T> ? T : never;
};

export interface Syscall<A extends readonly Arg<never>[], R> {
  /** Makes the call on this thread. */
  (...values: Values<A>): R;
  /** The call as strace would print it. */
  readonly render: (...values: Values<A>) => string;
}

/** System call numbers by `process.arch`; a single number where they agree (all calls since Linux 5.1). */
export type SyscallNumber = number | { readonly x64: number; readonly arm64: number };

const libc = koffi.load('libc.so.6');

function numberHere(name: string, number: SyscallNumber): number {
  if (typeof number === 'number') return number;
  const here = { x64: number.x64, arm64: number.arm64 }[process.arch as string];
  if (here === undefined) throw new Error(`${name}: no system call number for ${process.arch}`);
  return here;
}

/**
 * A loop, and nothing for what is passed as it is: mounts are rare, so that most calls are made by code that has not been
 * compiled, to which each step and each closure counts.
 */
function encoderOf(kinds: readonly Arg<unknown>[]): (values: readonly unknown[]) => unknown[] {
  const encoders = kinds.map(({ encode }) => encode);
  return (values) => {
    const natives = values.slice();
    for (let i = 0; i < encoders.length; i++) {
      const encode = encoders[i];
      if (encode !== undefined) natives[i] = encode(values[i]);
    }
    return natives;
  };
}

export function syscall<const A extends readonly Arg<never>[], R>(
  name: string,
  sysno: SyscallNumber,
  args: A,
  result: Result<R>,
): Syscall<A, R> {
  const native = libc.func('syscall', 'long', ['long', ...args.map((arg) => arg.ctype)]);
  const nr = numberHere(name, sysno);
  // The values were checked against A by the caller's types; inside, a row is treated as a list.
  const kinds = args as readonly Arg<never>[] as readonly Arg<unknown>[];
  const encode = encoderOf(kinds);
  const render = (values: readonly unknown[]) => kinds.map((kind, i) => kind.render(values[i])).join(', ');
  const call = (...values: Values<A>): R => {
    const returned = native(nr, ...encode(values)) as number;
    // Before anything else can run: the next call into libc may change it.
    const errno = returned === -1 ? koffi.errno() : 0;
    if (errno !== 0) throw new SyscallError({ syscall: name, args: render(values), errno });
    return result.wrap(returned);
  };
  return Object.assign(call, { render: (...values: Values<A>) => `${name}(${render(values)})` });
}

/** A function of libc that is not a plain system call: its address, for clone(2)'s entry point. */
export function libcAddress(name: string): bigint {
  const found = BigInt(dlsym(null, name));
  if (found === 0n) throw new Error(`the C library has no ${name}`);
  return found;
}
const dlsym = libc.func('dlsym', 'int64', ['void *', 'str']) as (
  handle: null,
  name: string,
) => number | bigint;

/**
 * glibc's clone(): unlike the system call it starts the child at a function, on a stack of its own, which is
 * the only way that a child sharing our memory can exist without running a line of this runtime.
 */
export const libcClone = libc.func('clone', 'int', [
  'int64',
  'int64',
  'int',
  'int64',
  'void *',
  'void *',
  'void *',
]) as (
  entry: bigint,
  stackTop: bigint,
  flags: number,
  argument: bigint,
  pidfd: Buffer,
  tls: null,
  childTid: null,
) => number;

export const lastErrno = (): number => koffi.errno();
