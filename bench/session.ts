// What every benchmark is given, and how one is run: all by run.ts, one alone by its own file.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { UMOUNT } from '../src/sys/constants.ts';
import { umount2 } from '../src/sys/syscalls.ts';
import { temporaryDirectory } from '../test/support/fixtures.ts';
import { isolate, removeOwnDirectory } from '../test/support/isolation.ts';
import { mountTargets } from '../test/support/leaks.ts';
import type { Result } from './finding.ts';
import { type LineProgram, startLineProgram } from './lines.ts';
import { buildPrograms, type Programs } from './programs.ts';
import { toLines } from './report.ts';

export interface Session {
  readonly programs: Programs;
  /** Fewer rounds, for everyday use. */
  readonly quick: boolean;
  /** This many rounds, or a part of them. */
  readonly rounds: (full: number) => number;
  readonly containerd: LineProgram;
  readonly limit: LineProgram;
  /** A new directory on the disk that temporary files are on. */
  readonly directory: (name: string) => string;
}

export type Benchmark = (session: Session) => Promise<Result[]>;

const QUICK_SHARE = 0.1;
const LEAST_ROUNDS = 3;

/**
 * Does the work in a mount namespace of its own, with all that benchmarks need.
 * @returns what came of it, or why nothing can be measured here
 */
export async function inSession<T>(
  quick: boolean,
  work: (session: Session) => Promise<T>,
): Promise<T | string> {
  if (process.getuid?.() !== 0) return 'the benchmarks mount filesystems, which needs root';
  isolate();
  await using held = new AsyncDisposableStack();
  held.defer(removeOwnDirectory);
  const programs = await buildPrograms();
  if ('lacking' in programs) return programs.lacking;
  const place = held.use(temporaryDirectory());
  // What a peer has left mounted, which containerd does now and then.
  held.defer(() => detachBelow(place.path));
  const directory = (name: string) => {
    const path = join(place.path, name);
    mkdirSync(path);
    return path;
  };
  return await work({
    ...{ programs, quick, directory },
    rounds: (full) => (quick ? Math.max(Math.min(full, LEAST_ROUNDS), Math.round(full * QUICK_SHARE)) : full),
    containerd: held.use(startLineProgram(programs.containerd, [directory('containerd')])),
    limit: held.use(startLineProgram(programs.limit)),
  });
}

/** Says what each has found as soon as it has. */
export async function runAll(benchmarks: readonly Benchmark[], session: Session): Promise<Result[]> {
  const all: Result[] = [];
  for (const benchmark of benchmarks) {
    const begun = performance.now();
    for (const result of await benchmark(session)) {
      all.push(result);
      console.log(toLines(result));
    }
    console.log(`(${benchmark.name}: ${((performance.now() - begun) / 1000).toFixed(0)} s)`);
  }
  return all;
}

/** For a file of the directory that is the program itself: `node bench/bind.ts [--quick]`. */
export async function runAlone(benchmark: Benchmark): Promise<void> {
  const outcome = await inSession(isQuick(), (session) => runAll([benchmark], session));
  if (typeof outcome === 'string') console.log(outcome);
}

export const isQuick = (): boolean => process.argv.includes('--quick');

function detachBelow(directory: string): void {
  const left = mountTargets().filter(({ target }) => target.startsWith(`${directory}/`));
  for (const { target } of left.toReversed()) umount2(target, UMOUNT.MNT_DETACH);
}
