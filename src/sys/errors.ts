// A failed system call as an error: rendered as strace prints it, errno by name, and what it means where it
// was made, when the caller knows more than the man page.
import { constants } from 'node:os';

/** Errnos that Node does not name, as asm-generic/errno.h has them. */
const UNNAMED = { ENOTBLK: 15, EUSERS: 87, EHOSTDOWN: 112, EUCLEAN: 117 } as const;

export type ErrnoName = keyof typeof constants.errno | keyof typeof UNNAMED;

const NUMBERS: Readonly<Record<string, number>> = { ...constants.errno, ...UNNAMED };

/** Of two names for one number, the first: EAGAIN rather than EWOULDBLOCK, ENOTSUP rather than EOPNOTSUPP. */
const nameOf = new Map<number, ErrnoName>(
  Object.entries(NUMBERS)
    .reverse()
    .map(([name, number]) => [number, name as ErrnoName]),
);

export function errnoName(number: number): ErrnoName | `errno ${number}` {
  return nameOf.get(number) ?? `errno ${number}`;
}

export interface SyscallErrorInit {
  /** Name of the call, `open_tree`. */
  readonly syscall: string;
  /** Its arguments, rendered: `AT_FDCWD, "/data", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC`. */
  readonly args: string;
  readonly errno: number;
  /** What the kernel said in words (the message queue of a filesystem context, fsopen(2)). */
  readonly kernelMessage?: string;
  /** What this errno means in this place, and what to do about it. */
  readonly meaning?: string;
}

export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  readonly syscall: string;
  readonly args: string;
  readonly errno: number;
  /** `ENOENT`: the property that Node's own errors have, so that one check serves both. */
  readonly code: string;
  readonly kernelMessage: string | undefined;
  readonly meaning: string | undefined;

  constructor(init: SyscallErrorInit) {
    const code = errnoName(init.errno);
    super(
      [`${init.syscall}(${init.args}) = ${code}`, init.kernelMessage, init.meaning]
        .filter((part) => part !== undefined)
        .join(': '),
    );
    this.syscall = init.syscall;
    this.args = init.args;
    this.errno = init.errno;
    this.code = code;
    this.kernelMessage = init.kernelMessage;
    this.meaning = init.meaning;
  }

  /** The same failure with what it means where it happened. */
  explain(meaning: string): SyscallError {
    return new SyscallError({
      syscall: this.syscall,
      args: this.args,
      errno: this.errno,
      ...(this.kernelMessage !== undefined && { kernelMessage: this.kernelMessage }),
      meaning,
    });
  }
}

/** True for an error of ours or of Node's that carries one of these errnos, by whichever of its names. */
export function hasErrno(error: unknown, ...codes: ErrnoName[]): error is Error & { code: ErrnoName } {
  if (!(error instanceof Error && 'code' in error && typeof error.code === 'string')) return false;
  const { code } = error;
  return codes.some((one) => NUMBERS[one] !== undefined && NUMBERS[one] === NUMBERS[code]);
}
