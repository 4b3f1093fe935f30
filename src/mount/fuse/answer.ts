// Does a filesystem answer? Asked in a process of its own, which can be left behind: whoever asks a server that does
// not answer may wait for ever, and outlive a SIGKILL.
import type { Fd } from '../../sys/fd.ts';
import { findProgram, run } from './program.ts';
import type { Programs } from './programs.ts';

export type Answer =
  | { readonly answers: true }
  /** `dead`: the kernel answers in place of a server that has ended. `hung`: nobody answers. */
  | { readonly answers: false; readonly is: 'dead' | 'hung'; readonly because: string };

export const ENDED: Answer = { answers: false, is: 'dead', because: 'its server has ended' };
export const NO_ANSWER: Answer = { answers: false, is: 'hung', because: 'it does not answer' };

/** What both ways print for a filesystem without a server; any other error is an answer too. */
export const DEAD = /ENOTCONN|ECONNABORTED|not connected|connection abort/;

/** statfs(2) of the path within the deadline. `files`: what the path needs, as descriptors 3 and on. */
export function askFilesystem(path: string, programs: Programs, files: readonly Fd[] = []): Answer {
  const { directories, deadline } = programs;
  const { outcome, said } = run({ argv: question(path, directories), directories, files }, deadline);
  if (outcome === 'deadline') return NO_ANSWER;
  return DEAD.test(said) ? ENDED : { answers: true };
}

/** stat(1) takes 2 ms; this runtime, which is always there, nearer to 100. */
export function question(path: string, directories: readonly string[]): string[] {
  const stat = findProgram('stat', directories);
  if (stat !== undefined) return [stat, '-f', '--', path];
  const script = 'try { fs.statfsSync(process.argv[1]) } catch (error) { console.error(error.code) }';
  return [process.execPath, '-e', script, path];
}
