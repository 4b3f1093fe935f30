// The policy of a file, kept up to date while the driver runs. The one file of this room that touches the machine.
//
//   at start     a file that is missing or wrong is an error: fail closed
//   later        a file that is missing or wrong is reported, once, and the policy from before goes on
//
// A ConfigMap changes by a rename of the link `..data` in its directory, which is watched; and as watches can miss
// (another mount, no inotify left), the file is looked at from time to time as well.
import { type FSWatcher, readFileSync, statSync, watch } from 'node:fs';
import path from 'node:path';
import type { Policy } from './policy.ts';
import { PolicyFileError, readPolicy } from './read.ts';

export interface WatchOptions {
  readonly file: string;
  readonly onChange?: (policy: Policy) => void;
  /** With a message that names the file, and what goes on. */
  readonly onProblem?: (message: string) => void;
  /** How often the file is looked at without a sign of a change (default: 10 s). */
  readonly pollMs?: number;
}

export interface WatchedPolicy extends Disposable {
  current(): Policy;
}

const POLL_MS = 10_000;
/** A change comes as several events. */
const SETTLE_MS = 50;

/** @throws Error naming the file and all that is wrong with it */
export function watchPolicy({ file, onChange, onProblem, pollMs = POLL_MS }: WatchOptions): WatchedPolicy {
  let read = readPolicyFile(file);
  let reported: string | undefined;
  let settling: NodeJS.Timeout | undefined;

  const look = () => {
    try {
      const text = textOf(file);
      if (text !== read.text) {
        read = parse(file, text);
        onChange?.(read.policy);
      }
      reported = undefined;
    } catch (error) {
      const message = `${error instanceof Error ? error.message : error}; the policy from before goes on`;
      if (message !== reported) onProblem?.(message);
      reported = message;
    }
  };
  const lookSoon = () => {
    clearTimeout(settling);
    settling = setTimeout(look, SETTLE_MS).unref();
  };
  const watcher = watchDirectory(path.dirname(file), lookSoon);
  const poll = setInterval(look, pollMs).unref();
  return {
    current: () => read.policy,
    [Symbol.dispose]() {
      watcher?.close();
      clearInterval(poll);
      clearTimeout(settling);
    },
  };
}

interface ReadPolicy {
  readonly text: string;
  readonly policy: Policy;
}

/** @throws Error naming the file and all that is wrong with it */
export function readPolicyFile(file: string): ReadPolicy {
  return parse(file, textOf(file));
}

function parse(file: string, text: string): ReadPolicy {
  try {
    return { text, policy: readPolicy(text) };
  } catch (error) {
    if (!(error instanceof PolicyFileError)) throw error;
    const [first, ...others] = error.problems;
    const lines = others.length === 0 ? first : ['', first, ...others].join('\n  ');
    throw new Error(`policy ${file}: ${lines}`, { cause: error });
  }
}

/** A ConfigMap holds no more. */
const MAX_BYTES = 2 ** 20;

function textOf(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > MAX_BYTES) throw new Error(`has ${size} bytes; a policy has ${MAX_BYTES} at most`);
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`policy ${file}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

function watchDirectory(directory: string, onEvent: () => void): FSWatcher | undefined {
  try {
    // What goes wrong with a watch is no harm: the file is looked at anyway.
    return watch(directory, { persistent: false }, onEvent).on('error', () => undefined);
  } catch {
    return undefined;
  }
}
