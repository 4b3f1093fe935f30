// How the engine fails. `reason` is stable and meant for programs: a caller maps it to its own codes in one
// table. A reason is never reused for something else.
import { type ErrnoName, hasErrno, SyscallError } from '../sys/errors.ts';

export const MOUNT_REASONS = [
  /** An option, mapping or path that cannot be right, whatever the machine. */
  'invalid-mount',
  /** The source, or an overlay layer, does not exist. */
  'source-not-found',
  /** The source, or an overlay layer, does not lie where sources may come from, or a link leads out of there. */
  'source-outside-roots',
  /** Nothing is mounted where the disk of the source should be. */
  'source-not-mounted',
  /** The target, or its parent, does not exist, or is of the wrong kind, or leaves the root it must lie in. */
  'bad-target',
  /** The target directory holds files that are no mount of ours. */
  'target-not-empty',
  /** The kernel lacks something that this mount needs. */
  'kernel-unsupported',
  /** The filesystem cannot be ID-mapped. */
  'idmap-unsupported',
  /** The process lacks a privilege. */
  'not-permitted',
  /** A mount could not be removed because it is in use. */
  'busy',
  /** What should be writable would be read-only: an overlay, an image. */
  'not-writable',
  /** Another overlay has this upperdir. */
  'upperdir-in-use',
  /** The image is attached already, otherwise than asked for, or locked by another program. */
  'image-in-use',
  /** The image holds no filesystem, another one, or a damaged one. */
  'bad-image',
  /** The filesystem in the image needs a person: the message holds what its checker found. */
  'image-damaged',
  /** What is mounted there cannot be made larger; the message says why. */
  'cannot-grow',
  /** A program that this mount needs is not installed. */
  'program-missing',
  /** A program that makes or checks filesystems failed; the message holds its words. */
  'program-failed',
  /** The target shows another mount than the one that was made. */
  'wrong-mount',
  /** The program that mounts a FUSE filesystem is not installed. */
  'helper-not-found',
  /** It failed, or what it mounted is dead; the message holds its words. */
  'helper-failed',
  /** No answer within the caller's deadline; the outcome is unknown. */
  'timeout',
  /** The process that carries out mounts ended in the middle; the outcome is unknown. */
  'engine-lost',
  /** The node has run out of memory, processes, processor time, open files, user namespaces or room on a disk. */
  'node-exhausted',
  /** Any other refusal of the kernel. */
  'mount-failed',
] as const;

export type MountReason = (typeof MOUNT_REASONS)[number];

/** What crosses process boundaries of a MountError. */
export interface MountErrorInit {
  readonly reason: MountReason;
  readonly message: string;
  /** Everything that was done has been undone: nothing of this operation is left. */
  readonly rolledBack: boolean;
  /** The errno of the failed call by name, where a call failed. */
  readonly errno?: string | undefined;
  /** How many mounts an unmount had taken away by then. */
  readonly unmounted?: number | undefined;
  /** How far the unmount of a tree came. */
  readonly progress?: UnmountProgress | undefined;
}

/** Mounts by their paths. */
export interface UnmountProgress {
  /** Taken away, in this order. */
  readonly unmounted: readonly string[];
  /** Still there. */
  readonly left: readonly string[];
}

export class MountError extends Error {
  override readonly name = 'MountError';
  readonly reason: MountReason;
  readonly rolledBack: boolean;
  readonly errno: string | undefined;
  readonly unmounted: number | undefined;
  readonly progress: UnmountProgress | undefined;

  constructor(init: MountErrorInit, options?: ErrorOptions) {
    super(init.message, options);
    this.reason = init.reason;
    this.rolledBack = init.rolledBack;
    this.errno = init.errno;
    this.unmounted = init.unmounted;
    this.progress = init.progress;
  }

  toInit(): MountErrorInit {
    const { reason, message, rolledBack, errno, unmounted, progress } = this;
    return { reason, message, rolledBack, errno, unmounted, progress };
  }
}

/** A mistake in what was asked for, found before anything was done. */
export function invalidMount(message: string): MountError {
  return new MountError({ reason: 'invalid-mount', message, rolledBack: true });
}

/** Any error as a MountError; one that is a MountError already is kept. */
export function toMountError(error: unknown, rolledBack: boolean): MountError {
  if (error instanceof MountError) return error;
  const errno = error instanceof SyscallError ? error.code : undefined;
  const shortage = shortageOf(error);
  const said = messageOf(error);
  const message = shortage === undefined || isExplained(error) ? said : `${said}: ${shortage}`;
  const reason =
    shortage !== undefined
      ? 'node-exhausted'
      : errno === 'ENOSYS'
        ? 'kernel-unsupported'
        : errno === 'EPERM'
          ? 'not-permitted'
          : 'mount-failed';
  return new MountError({ reason, message, rolledBack, errno }, { cause: error });
}

/** What an errno means where it came from. */
export interface Explanation {
  readonly reason: MountReason;
  readonly meaning: string;
}

/** A failed call with what it means. */
export function explained(
  error: SyscallError,
  { reason, meaning }: Explanation,
  rolledBack: boolean,
): MountError {
  const { message } = error.explain(meaning);
  return new MountError({ reason, message, rolledBack, errno: error.code }, { cause: error });
}

/** What a node runs out of, by errno, and what to do about it. */
const SHORTAGES: readonly [codes: readonly ErrnoName[], remedy: string][] = [
  [['ENOMEM'], 'the kernel has no memory for it; free some, or raise the memory limit of the driver'],
  [['EMFILE', 'ENFILE'], 'too many open files; raise the limit of open files (RLIMIT_NOFILE, fs.file-max)'],
  [['EAGAIN'], 'no more processes may be started; raise the limit of the pids cgroup, or RLIMIT_NPROC'],
  [
    ['ENOSPC', 'EDQUOT'],
    'there is no room left: on the filesystem that it names, or of what /proc/sys/user and /proc/sys/fs limit',
  ],
];

/** Of what there is too little; undefined for any other failure. */
export function shortageOf(error: unknown): string | undefined {
  return SHORTAGES.find(([codes]) => hasErrno(error, ...codes))?.[1];
}

/** By where it was made, which knows better. */
const isExplained = (error: unknown): boolean => error instanceof SyscallError && error.meaning !== undefined;

/** The failure, with `rolledBack` as true as the undoing makes it. */
export function afterUndo(failure: MountError, undo: DisposableStack): MountError {
  try {
    undo.dispose();
    return failure;
  } catch {
    return new MountError({ ...failure.toInit(), rolledBack: false }, { cause: failure });
  }
}

/** Whether the kernel said one of these, whoever has explained it since. */
export function kernelSaid(error: unknown, ...codes: ErrnoName[]): boolean {
  const said = error instanceof MountError && error.cause !== undefined ? error.cause : error;
  return hasErrno(said, ...codes);
}

/** What was thrown, in words. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
