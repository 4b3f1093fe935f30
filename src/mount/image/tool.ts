// The programs that make and check filesystems: found, started and bounded as the helpers of fuse/ are. They get the
// image as an open file (descriptor 3), so that it cannot become another one meanwhile, nor a name that looks like a
// flag. What is locked (flock(2)) through that file stays so until the program has ended, even if we are killed.

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

/** The name of the image for the program. */
export const IMAGE_PATH = '/proc/self/fd/3';

export interface Ran {
  readonly exit: Exit;
  readonly said: string;
}

/**
 * @param path of the image, for messages
 * @throws MountError (program-missing, timeout)
 */
export function runTool(
  { program, from }: Tool,
  args: readonly string[],
  { image, path, programs }: { readonly image: Fd; readonly path: string; readonly programs: Programs },
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
  const { outcome, said } = run({ argv: [found, ...args], directories, files: [image] }, deadline);
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
