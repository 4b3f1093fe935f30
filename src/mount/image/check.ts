// Before an image is mounted for writing: is its filesystem whole? What can be mended without a person is mended.
//
//   ext2, ext3, ext4   e2fsck -p: replays the journal, mends what is harmless, and quick where nothing is to do
//   xfs                nothing: the kernel replays the log when it mounts; xfs_repair cannot, and refuses to work before
//                      that is done. A damaged one is refused by the mount (bad-image)
//   btrfs              nothing: it checks what it reads, and btrfs check is for the hands of an expert
//   any other          nothing
//
// Not for an image that is to be mounted read-only: a checker writes.
import { O } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import type { Fd } from '../../sys/fd.ts';
import { MountError } from '../errors.ts';
import { findFilesystemType } from '../filesystem-type.ts';
import { beginPrograms, type ProgramOptions } from '../fuse/programs.ts';
import { findLoops } from '../loop/devices.ts';
import { identityOf, isSameImage, kindOf, openImage, reopen } from '../loop/image.ts';
import { lockImage } from '../loop/lock.ts';
import { type SourceRequest, sourcesOf } from '../source.ts';
import { failureText, IMAGE_PATH, runTool, type Tool, type ToolRun } from './tool.ts';

export interface CheckImageRequest extends SourceRequest {
  /** An image file or a block device. */
  readonly path: string;
  /** What it holds (default, and `auto`: what blkid finds). */
  readonly filesystem?: string;
  /** Where the checker is looked for, and how long it may take. */
  readonly programs?: ProgramOptions;
}

export type CheckImageResult =
  | { readonly is: 'clean' }
  /** `said` is what the checker did. */
  | { readonly is: 'repaired'; readonly said: string }
  /** Nothing was looked at. */
  | { readonly is: 'skipped'; readonly because: string };

const E2FSCK: Tool = { program: 'e2fsck', from: 'e2fsprogs' };

const CHECKERS: Readonly<Record<string, Tool>> = { ext2: E2FSCK, ext3: E2FSCK, ext4: E2FSCK };

/** e2fsck(8), EXIT CODE: a sum. */
const E2FSCK_EXIT = { corrected: 1, reboot: 2, uncorrected: 4, operational: 8 } as const;

const NO_RANGE = { offset: 0, sizeLimit: 0 };

/** @throws MountError (image-damaged, image-in-use, bad-image, source-not-found, program-missing, program-failed, timeout) */
export function checkImage(request: CheckImageRequest): CheckImageResult {
  const { path, filesystem, programs } = request;
  const within = beginPrograms(programs);
  using sources = sourcesOf(request);
  using image = openImage(path, sources);
  const type =
    filesystem === undefined || filesystem === 'auto'
      ? findFilesystemType(image, path, NO_RANGE)
      : filesystem;
  const checker = CHECKERS[type];
  if (checker === undefined) return { is: 'skipped', because: `${type} is not checked before it is mounted` };
  // Until the checker has ended, so that nobody attaches the image meanwhile: the checker gets the locked file.
  using lock = lockImage(image, path);
  const because = usedBy(image);
  if (because !== undefined) return { is: 'skipped', because };
  // Or another one is locked in its place (lock.ts).
  const isLocked = isSameImage(identityOf(lock), identityOf(image));
  const files = isLocked ? { image: lock } : { image, lock };
  return check(checker, { ...files, path, programs: within });
}

/** Who has the image. A checker that works beside a mounted filesystem destroys it. */
function usedBy(image: Fd): string | undefined {
  if (kindOf(image) === 'block device') return isHeld(image) ? 'it is mounted or held already' : undefined;
  using look = new DisposableStack();
  const [device] = findLoops(identityOf(image), look);
  return device && `it is attached to ${device.path} already`;
}

/** open(2): on a block device, O_EXCL fails with EBUSY where it is mounted or otherwise held. */
function isHeld(device: Fd): boolean {
  try {
    reopen(device, O.O_EXCL)[Symbol.dispose]();
    return false;
  } catch (error) {
    if (hasErrno(error, 'EBUSY')) return true;
    throw error;
  }
}

function check(checker: Tool, run: ToolRun): CheckImageResult {
  const { path } = run;
  const ran = runTool(checker, ['-p', IMAGE_PATH], run);
  const text = failureText(checker, ran);
  const status = 'status' in ran.exit ? ran.exit.status : undefined;
  if (status === 0) return { is: 'clean' };
  if (status !== undefined && (status & ~(E2FSCK_EXIT.corrected | E2FSCK_EXIT.reboot)) === 0) {
    return { is: 'repaired', said: ran.said };
  }
  const needsPerson = E2FSCK_EXIT.uncorrected | E2FSCK_EXIT.operational;
  if (status !== undefined && status <= 15 && (status & needsPerson) !== 0) {
    const message = `the image ${path} must be mended by hand (${checker.program} on a copy of it): ${text}`;
    throw new MountError({ reason: 'image-damaged', message, rolledBack: true });
  }
  const message = `the image ${path} could not be checked: ${text}`;
  throw new MountError({ reason: 'program-failed', message, rolledBack: true });
}
