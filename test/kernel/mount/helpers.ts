// FUSE helpers for tests: real ones, and scripts that misbehave.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { PROGRAM_DIRECTORIES } from '../../../src/mount/fuse/program.ts';
import type { ProgramOptions } from '../../../src/mount/fuse/programs.ts';
import { eventually, type TemporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { descendants } from '../../support/leaks.ts';

/** Shell scripts as helpers, found before those of the machine. */
export function scripts(place: TemporaryDirectory, bodies: Readonly<Record<string, string>>): ProgramOptions {
  const directory = place.at('programs');
  mkdirSync(directory, { recursive: true });
  for (const [name, body] of Object.entries(bodies)) {
    writeFiles(directory, { [name]: `#!/bin/sh\n${body}\n` });
    chmodSync(`${directory}/${name}`, 0o755);
  }
  return { directories: [directory, ...PROGRAM_DIRECTORIES] };
}

/** A squashfs image with `file` in it. */
export function squashfs(place: TemporaryDirectory): string {
  writeFiles(place.path, { 'tree/file': 'squashed' });
  execFileSync('mksquashfs', [place.at('tree'), place.at('image'), '-quiet', '-no-progress'], {
    stdio: 'ignore',
  });
  return place.at('image');
}

/** Programs of the run whose command line has this word, this runtime's apart; daemons come back to us (hooks.ts). */
export function processesWith(word: string): number[] {
  return descendants(process.pid)
    .filter(({ command }) => command.includes(word) && !command.startsWith(process.execPath))
    .map(({ pid }) => pid);
}

/** The one process that serves what is mounted at this path. */
export async function serverOf(target: string): Promise<number> {
  // The one that the daemon came from may be there for a moment still.
  await eventually(`one server of ${target}`, () => processesWith(target).length === 1);
  return processesWith(target)[0] ?? 0;
}

export async function allGone(word: string): Promise<void> {
  await eventually(`no process with ${word}`, () => processesWith(word).length === 0);
}
