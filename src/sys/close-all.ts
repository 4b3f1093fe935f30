// Many descriptors closed by few calls: those of a run of numbers, of which none is anybody else's, by one close_range(2).
import { closeSync } from 'node:fs';
import type { Fd } from './fd.ts';
import { closeRange } from './syscalls.ts';

/** Those that are open still. */
export function closeAll(fds: readonly Fd[]): void {
  const numbers: number[] = fds.filter((fd) => fd.isOpen).map((fd) => fd.release());
  numbers.sort((a, b) => a - b);
  for (let begin = 0; begin < numbers.length; ) {
    let end = begin + 1;
    while (end < numbers.length && numbers[end] === (numbers[end - 1] as number) + 1) end++;
    closeRun(numbers.slice(begin, end));
    begin = end;
  }
}

function closeRun(numbers: readonly number[]): void {
  const [first = 0] = numbers;
  if (numbers.length === 1) {
    closeSync(first);
    return;
  }
  try {
    closeRange(first, first + numbers.length - 1, 0);
  } catch {
    // Before Linux 5.9, or in a sandbox that does not let it through: whatever it says, they have no other owner by now.
    for (const number of numbers) closeSync(number);
  }
}
