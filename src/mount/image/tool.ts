// The programs that make and check filesystems: found, started and bounded as the helpers of fuse/ are. They get the
// image as an open file, so that it cannot become another one meanwhile, nor a name that looks like a flag. What is
// locked (flock(2)) through that file stays so until the program has ended, even if we are killed.
//
// Why that file has a high number, with nothing below it: these programs refuse what is mounted, and look at the source
// of every mount for that. A source is any text. Where it is `/proc/self/fd/4` (whoever mounts by descriptor leaves it
// so, as we do with erofs) they take it for their own descriptor 4: the image, or what mkfs.btrfs opens of it there.

import type { Fd } from '../../sys/fd.ts';
import type { Exit } from '../../sys/structs.ts';
import { MountError, type MountReason } from '../errors.ts';
import { describeExit, findProgram, run } from '../fuse/program.ts';
import type { Programs } from '../fuse/programs.ts';

export interface Tool {
  readonly program: string;
  /** The package that has it. */
  readonly from: string;
}

/** Beyond the descriptors of whoever mounts, within what every process may have. */
const IMAGE_FD = 200;
/** The name of the image for the program. */
export const IMAGE_PATH = `/proc/self/fd/${IMAGE_FD}`;

export interface Ran {
  readonly exit: Exit;
  readonly said: string;
}

export interface ToolRun {
  readonly image: Fd;
  /** For messages. */
  readonly path: string;
  readonly programs: Programs;
  /** Where another file is locked in the place of the image: the program keeps that. */
  readonly lock?: Fd | undefined;
}

/**
 * @throws MountError (program-missing, timeout)
 */
export function runTool(
  { program, from }: Tool,
  args: readonly string[],
  { image, path, programs, lock }: ToolRun,
): Ran {
  const { directories, deadline } = programs;
  const fail = (reason: MountReason, why: string) =>
    new MountError({ reason, message: `${path}: ${why}`, rolledBack: true });
  const found = findProgram(program, directories);
  if (found === undefined) {
    throw fail(
      'program-missing',
      `${program} is not installed (looked in ${directories.join(', ')}); it comes with ${from}`,
    );
  }
  const running = {
    argv: [found, ...args],
    directories,
    files: lock ? [image, lock] : [image],
    firstFile: IMAGE_FD,
  };
  const { outcome, said } = run(running, deadline);
  if (outcome === 'deadline') {
    throw fail('timeout', `${program} did not end in time and was killed${words(said)}`);
  }
  return { exit: outcome, said };
}

/** What a program said as a part of a message about it. */
export function failureText({ program }: Tool, { exit, said }: Ran): string {
  return `${program} ${describeExit(exit)}${words(said)}`;
}

const words = (said: string): string => (said === '' ? '' : `: ${said}`);
