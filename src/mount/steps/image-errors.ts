// What the kernel means when it refuses to mount an image. It says little by errno, and what it says in words is in
// the error already; here is what to do.
import { type ErrnoName, SyscallError } from '../../sys/errors.ts';
import { type Explanation, MountError } from '../errors.ts';

/** How a type is told to leave its journal alone. */
const WITHOUT_REPLAY: Readonly<Record<string, string>> = {
  ext3: 'noload',
  ext4: 'noload',
  xfs: 'norecovery',
  btrfs: 'rescue=nologreplay',
};

const SAME_UUID: Readonly<Record<string, string>> = {
  xfs: 'add the option nouuid, or give the copy a UUID of its own (xfs_admin -U generate)',
  btrfs: 'give the copy a UUID of its own (btrfstune -u); Linux 6.7 and later mount both',
};

type Explain = (type: string, words: string) => Explanation;

const EXPLANATIONS: Partial<Record<ErrnoName, Explain>> = {
  EINVAL: (type, words) =>
    /duplicate UUID/i.test(words)
      ? sameUuid(type)
      : {
          reason: 'bad-image',
          meaning: `no ${type} filesystem is there, or it is damaged or cut short, or an option is not one of ${type}'s`,
        },
  EUCLEAN: damaged,
  EBADMSG: damaged,
  EIO: damaged,
  EEXIST: sameUuid,
  EROFS: (type) => ({
    reason: 'not-writable',
    meaning:
      'the filesystem was not unmounted cleanly, and what is in its journal cannot be written to a read-only image; ' +
      `mount it writable once${WITHOUT_REPLAY[type] ? `, or do without what is in the journal: add the option ${WITHOUT_REPLAY[type]}` : ''}`,
  }),
  EACCES: () => ({ reason: 'not-writable', meaning: 'the device is read-only; add the option ro' }),
  EBUSY: () => ({
    reason: 'image-in-use',
    meaning:
      'the device is in use: mounted already with ro where this is rw, or the other way round, or held by another program',
  }),
  ENOTBLK: () => ({
    reason: 'invalid-mount',
    meaning: 'the source is neither an image file nor a block device',
  }),
  ENOENT: () => ({ reason: 'source-not-found', meaning: 'the source does not exist' }),
};

function damaged(type: string): Explanation {
  const meaning = `the ${type} filesystem is damaged or cut short; check it with fsck.${type}, or take a good copy`;
  return { reason: 'bad-image', meaning };
}

function sameUuid(type: string): Explanation {
  const remedy = SAME_UUID[type] ?? 'give the copy a UUID of its own';
  return {
    reason: 'image-in-use',
    meaning: `a filesystem of the same UUID is mounted from another device; ${remedy}`,
  };
}

/** The last words in the kernel's log are the ones that led to the refusal. */
const MAX_WORDS = 4;

/** The refusal of an image with what the kernel said about it, and what to do. */
export function refusal(error: unknown, type: string, log: readonly string[]): unknown {
  if (!(error instanceof SyscallError)) return error;
  const { syscall, args, errno, code } = error;
  const words = [
    ...(error.kernelMessage === undefined ? [] : [error.kernelMessage]),
    ...log.slice(-MAX_WORDS),
  ];
  const kernelMessage = words.join('; ');
  const explanation = EXPLANATIONS[code as ErrnoName]?.(type, kernelMessage);
  const full = new SyscallError({
    syscall,
    args,
    errno,
    ...(words.length > 0 && { kernelMessage }),
    ...(explanation && { meaning: explanation.meaning }),
  });
  if (explanation === undefined) return full;
  const { reason } = explanation;
  return new MountError({ reason, message: full.message, rolledBack: false, errno: code }, { cause: full });
}
