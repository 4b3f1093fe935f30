// What strace(1) -f -T has seen of a program: the processes that it started, and how long it waited for the disk. Pure.

export const SYNC_CALLS = ['fsync', 'fdatasync'] as const;
export const TRACED: readonly string[] = [
  'fork',
  'vfork',
  'clone',
  'clone3',
  'execve',
  'execveat',
  ...SYNC_CALLS,
];

export interface Trace {
  /** Threads are none. */
  readonly processes: number;
  /** How long each took, in ms. */
  readonly syncs: readonly number[];
}

/** A call that another thread's came between is in two lines, and its arguments are in the first. */
const STARTS = /^\d+ +(?:v?fork|clone3?|execve(?:at)?)\(/;
const THREAD = /CLONE_THREAD/;
const SYNC = /^\d+ +(?:<\.\.\. )?(?:fsync|fdatasync)\b.*<(\d+\.\d+)>$/;

export function readTrace(text: string): Trace {
  const lines = text.split('\n');
  return {
    processes: lines.filter((line) => STARTS.test(line) && !THREAD.test(line)).length,
    syncs: lines.flatMap((line) => {
      const [, seconds] = SYNC.exec(line) ?? [];
      return seconds === undefined ? [] : [Number(seconds) * 1000];
    }),
  };
}
