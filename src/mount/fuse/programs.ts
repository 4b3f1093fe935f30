// What a caller may say about the programs that serve FUSE mounts, and what holds when it says nothing.
import { MountError } from '../errors.ts';
import { isExecutable, PROGRAM_DIRECTORIES, type ProgramUser } from './program.ts';

export interface ProgramOptions {
  /** Where helpers, fusermount3 and mount.fuse3 are looked for, first one first; and what the PATH of helpers is. */
  readonly directories?: readonly string[];
  /** By name: helpers that are not looked for, but are this very file, of whatever name; never through mount.fuse. */
  readonly helperPrograms?: Readonly<Record<string, string>>;
  /**
   * Whether helpers may be started through mount.fuse or mount.fuse3, which run a shell: `fallback` when there is
   * no helper of the name, or an option is one that only mount.fuse knows (`setuid=`, `drop_privileges`).
   */
  readonly mountFuse?: 'never' | 'fallback' | 'always';
  /** How long one operation may wait for programs, in ms (default 30,000). */
  readonly timeoutMs?: number;
  /** By name: helpers that run as an ordinary user, for whom the mount is made here (descriptor.ts). */
  readonly users?: Readonly<Record<string, ProgramUser>>;
  /** Helpers known to be able to (foreground.ts) do not become daemons: their output stays in sight. */
  readonly foreground?: boolean;
  /** A file to which the output of helpers is added (default: it is kept for the length of the operation). */
  readonly output?: string;
}

/** The same, for one operation that has begun. */
export interface Programs {
  readonly directories: readonly string[];
  readonly helperPrograms: Readonly<Record<string, string>>;
  readonly mountFuse: 'never' | 'fallback' | 'always';
  readonly users: Readonly<Record<string, ProgramUser>>;
  readonly foreground: boolean;
  readonly output: string | undefined;
  /** In the time of performance.now(). */
  readonly deadline: number;
}

export const PROGRAM_TIMEOUT_MS = 30_000;

export function beginPrograms(options: ProgramOptions = {}): Programs {
  return {
    directories: options.directories ?? PROGRAM_DIRECTORIES,
    helperPrograms: options.helperPrograms ?? {},
    mountFuse: options.mountFuse ?? 'never',
    users: options.users ?? {},
    foreground: options.foreground ?? false,
    output: options.output,
    deadline: performance.now() + (options.timeoutMs ?? PROGRAM_TIMEOUT_MS),
  };
}

/**
 * The file that a helper was said to be; undefined for one that is to be looked for.
 * @throws MountError (helper-not-found) where that file is not there: another in its place would not be what was meant
 */
export function programGiven(name: string, { helperPrograms }: Programs): string | undefined {
  const file = Object.hasOwn(helperPrograms, name) ? helperPrograms[name] : undefined;
  if (file === undefined || isExecutable(file)) return file;
  throw new MountError({
    reason: 'helper-not-found',
    message: `there is no program ${file}, which the helper ${name} was said to be: install it there`,
    rolledBack: true,
  });
}

/** Shorter than the call that they are part of, so that there is time left to clean up and say why. */
export function within(options: ProgramOptions | undefined, callMs: number): ProgramOptions {
  return { ...options, timeoutMs: Math.min(options?.timeoutMs ?? PROGRAM_TIMEOUT_MS, 0.8 * callMs) };
}
