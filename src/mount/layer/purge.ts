// Deletes what removeLayer() has put out of the way, a while at a time, so that whoever asks can stop in between.
//
// A pod has written what is in it: names that are no text, and trees deeper than there are file descriptors. So no tree
// is walked: each directory is emptied of files, and the directories in it are moved up into the one that is deleted,
// where their turn comes. Nothing that is mounted can be reached like that: a mount point can neither be unlinked nor
// moved (EBUSY), and a directory is only looked into after it was moved.
import { randomBytes } from 'node:crypto';
import { opendirSync, openSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { O } from '../../sys/constants.ts';
import { Fd } from '../../sys/fd.ts';
import { messageOf } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { mountsBelow } from '../lookup.ts';
import { mountView } from '../view.ts';
import { REMOVED } from './remove.ts';

export interface PurgeLayersRequest {
  /** Where the layers were. */
  readonly directory: string;
  /** How long to go on, in ms (default 200). */
  readonly atMostMs?: number;
}

export interface PurgeLayersResult {
  /** False: the time was over; ask again. */
  readonly finished: boolean;
  /** What stays and why, a line each. */
  readonly problems: readonly string[];
}

const AT_MOST_MS = 200;

export function purgeLayers(
  { directory, atMostMs = AT_MOST_MS }: PurgeLayersRequest,
  kernel: Kernel,
): PurgeLayersResult {
  const until = performance.now() + atMostMs;
  const problems: string[] = [];
  let finished = true;
  for (const name of removedIn(directory)) {
    const tree = path.join(directory, name);
    try {
      finished = purge(tree, until, kernel) && finished;
    } catch (error) {
      problems.push(`${tree} cannot be deleted: ${messageOf(error)}`);
    }
  }
  return { finished, problems };
}

function removedIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => name.startsWith(REMOVED));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

/** False when the time was over before it was done. */
function purge(tree: string, until: number, kernel: Kernel): boolean {
  const [mount] = mountsBelow({ path: tree }, mountView(kernel));
  if (mount !== undefined) throw new Error(`${mount.type} is mounted at ${mount.target}; unmount it`);
  {
    using top = openDirectory(Buffer.from(tree));
    if (!emptyTop(top, until)) return false;
  }
  rmdirSync(tree);
  return true;
}

/** New names come in while it is read, so it is read again until there is none. */
function emptyTop(top: Fd, until: number): boolean {
  for (;;) {
    let seen = 0;
    for (const name of namesIn(top)) {
      seen++;
      if (!removeFile(top, name) && !removeDirectory(top, name, until)) return false;
      if (performance.now() > until) return false;
    }
    if (seen === 0) return true;
  }
}

function removeDirectory(top: Fd, name: string, until: number): boolean {
  {
    using directory = openDirectory(below(top, name));
    for (const inside of namesIn(directory)) {
      if (!removeFile(directory, inside)) {
        renameSync(below(directory, inside), below(top, randomBytes(12).toString('hex')));
      }
      if (performance.now() > until) return false;
    }
  }
  rmdirSync(below(top, name));
  return true;
}

/** False for a directory. */
function removeFile(directory: Fd, name: string): boolean {
  try {
    unlinkSync(below(directory, name));
    return true;
  } catch (error) {
    if (isErrno(error, 'EISDIR')) return false;
    throw error;
  }
}

const openDirectory = (place: Buffer): Fd => new Fd(openSync(place, O.O_DIRECTORY | O.O_NOFOLLOW));

/** Names as bytes, a character each: in UTF-8 those that are no text would become others. */
const ENCODING = 'latin1';

function below(directory: Fd, name: string): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directory.number}/`), Buffer.from(name, ENCODING)]);
}

function* namesIn(directory: Fd): Generator<string> {
  const listing = opendirSync(`/proc/self/fd/${directory.number}`, { encoding: ENCODING, bufferSize: 256 });
  try {
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) yield entry.name;
  } finally {
    listing.closeSync();
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
