// Places that sources never come from, though they lie below a root: told by what they are, so that no link, bind or other
// name leads there.
//
//   a source in one of them   has it among the directories above itself
//   a source that holds one   is among the directories above it
import { readlinkSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, O, S_IF, STATX, STATX_MASK } from '../sys/constants.ts';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { kindOf, openPathAt } from '../sys/open-below.ts';
import { openat, statx } from '../sys/syscalls.ts';

export interface Exceptions {
  /**
   * The place that a source (O_PATH) lies in, or holds; undefined when it has to do with none.
   * @param isShown all that it holds would be shown
   */
  of(source: Fd, isShown: boolean): string | undefined;
}

/** Of places that are there now; one that is not holds nothing. */
export function exceptionsFor(places: readonly string[]): Exceptions {
  /** What they are by what is excepted: the places themselves, and what is above them. */
  const [within, above] = [new Map<string, string>(), new Map<string, string>()];
  for (const place of places) {
    using directory = openDirectory(place);
    if (directory === undefined) continue;
    const [own, ...parents] = [...upwards(directory)];
    if (own !== undefined) within.set(own.identity, place);
    for (const { identity } of parents) above.set(identity, place);
  }
  /** Directories above which there is none of them: layers lie side by side, and are many. */
  const clear = new Set<string>();

  function outOf(directory: Fd): string | undefined {
    const passed: string[] = [];
    for (const { identity, name } of upwards(directory)) {
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
      if (kindOf(source) === S_IF.S_IFDIR) {
        return (isShown ? above.get(whatIs(source).identity) : undefined) ?? outOf(source);
      }
      // Its own name, not the one by which it was found. What lies in a place of others cannot be moved out of it.
      using directory = openDirectory(path.dirname(readlinkSync(`/proc/self/fd/${source.number}`)));
      return directory && outOf(directory);
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
}

/** The directory, and all above it, to the root. */
function* upwards(directory: Fd): Generator<Directory> {
  using opened = new DisposableStack();
  for (let at = directory, last = ''; ; at = opened.use(openPathAt(at, '..', O.O_DIRECTORY))) {
    const found = whatIs(at);
    // Above the root is the root.
    if (found.name === last) return;
    last = found.name;
    yield found;
  }
}

/** Asks no server. */
function whatIs(directory: Fd): Directory {
  const flags = STATX.AT_EMPTY_PATH | STATX.AT_STATX_DONT_SYNC;
  const mask = STATX_MASK.STATX_BASIC_STATS | STATX_MASK.STATX_MNT_ID;
  const { deviceMajor, deviceMinor, inode, mountId } = statx(directory, '', flags, mask);
  const identity = `${deviceMajor}:${deviceMinor} ${inode}`;
  return { identity, name: `${identity} ${mountId}` };
}
