// Places that sources never come from, though they lie below a root: told by what they are, so that no link, bind or other
// name leads there.
//
//   a source in one of them   has it among the directories above itself
//   a source that holds one   is among the directories above it
import { readlinkSync } from 'node:fs';
import path from 'node:path';
import { closeAll } from '../sys/close-all.ts';
import { AT_FDCWD, O, S_IF, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { openPathAt } from '../sys/open-below.ts';
import type { Statx } from '../sys/structs.ts';
import { openat, statx } from '../sys/syscalls.ts';

export interface Exceptions {
  /**
   * The place that a source (O_PATH) lies in, or holds; undefined when it has to do with none.
   * @param isShown all that it holds would be shown
   */
  of(source: Fd, isShown: boolean): string | undefined;
  /** The same for a directory, all of it shown, that lies in one which has to do with none, on the same mount. */
  ofChild(child: Statx): string | undefined;
}

/** Of places that are there now; one that is not holds nothing. */
export function exceptionsFor(places: readonly string[]): Exceptions {
  /** What they are by what is excepted: the places themselves, and what is above them. */
  const [within, above] = [new Map<string, string>(), new Map<string, string>()];
  const ways: (readonly Directory[])[] = [];
  for (const place of places) {
    using directory = openDirectory(place);
    if (directory === undefined) continue;
    const [own, ...parents] = [...upwards(directory)];
    if (own !== undefined) within.set(own.identity, place);
    for (const { identity } of parents) above.set(identity, place);
    ways.push(parents);
  }
  /** Directories above which there is none of them: layers lie side by side, and are many, beside what is excepted. */
  const clear = new Set<string>();
  for (const way of ways) {
    const lowest = way.findLastIndex(({ identity }) => within.has(identity)) + 1;
    for (const { name } of way.slice(lowest)) clear.add(name);
  }

  function outOf(directory: Fd, own = whatIs(directory)): string | undefined {
    const passed: string[] = [];
    for (const { identity, name } of upwards(directory, own)) {
      if (clear.has(name)) break;
      const place = within.get(identity);
      if (place !== undefined) return place;
      passed.push(name);
    }
    for (const name of passed) clear.add(name);
    return undefined;
  }

  return {
    of(source, isShown) {
      if (within.size === 0) return undefined;
      const own = whatIs(source);
      if (own.isDirectory) return (isShown ? above.get(own.identity) : undefined) ?? outOf(source, own);
      // Its own name, not the one by which it was found. What lies in a place of others cannot be moved out of it.
      using directory = openDirectory(path.dirname(readlinkSync(`/proc/self/fd/${source.number}`)));
      return directory && outOf(directory);
    },
    ofChild(child) {
      if (within.size === 0) return undefined;
      const identity = identityOf(child);
      return above.get(identity) ?? within.get(identity);
    },
  };
}

function openDirectory(directory: string): Fd | undefined {
  try {
    return openat(AT_FDCWD, directory, O.O_PATH | O.O_DIRECTORY);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

interface Directory {
  /** Device and inode. */
  readonly identity: string;
  /** And mount: a directory can be bound below itself. */
  readonly name: string;
  readonly isDirectory: boolean;
}

/** The directory, and all above it, to the root. */
function* upwards(directory: Fd, own = whatIs(directory)): Generator<Directory> {
  const opened: Fd[] = [];
  try {
    yield own;
    for (let at = directory, last = own.name; ; ) {
      at = openPathAt(at, '..', O.O_DIRECTORY);
      opened.push(at);
      const found = whatIs(at);
      // Above the root is the root.
      if (found.name === last) return;
      last = found.name;
      yield found;
    }
  } finally {
    closeAll(opened);
  }
}

/** Asks no server. */
function whatIs(directory: Fd): Directory {
  const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
  const mask = STATX_MASK.STATX_BASIC_STATS | STATX_MASK.STATX_MNT_ID;
  const found = statx(directory, '', flags, mask);
  const identity = identityOf(found);
  const isDirectory = (found.mode & S_IF.S_IFMT) === S_IF.S_IFDIR;
  return { identity, name: `${identity} ${found.mountId}`, isDirectory };
}

const identityOf = ({ deviceMajor, deviceMinor, inode }: Statx): string =>
  `${deviceMajor}:${deviceMinor} ${inode}`;
