// V8 told to keep its heap small: a server that mounts a few times a minute has no use for the memory that makes a busy one
// fast. A publish takes as long, and the CPU time of one too: what is compiled better has seldom earned its cost by the time
// that the pods of a node have started (docs/performance.md has the figures).
//
//   --semi-space-growth-factor=1          the space for new objects stays as small as it begins
//   --optimize-for-size                   the heap grows in small steps
//   --no-turbofan, --no-maglev            code is compiled once, as it is: no optimising compiler, in memory or at work
//   --incremental-marking-soft-trigger    percent of what the heap may grow by until the next collection begins
//
// To be called before the code is loaded that it is for.
import { setFlagsFromString } from 'node:v8';

const FLAGS = [
  '--semi-space-growth-factor=1',
  '--optimize-for-size',
  '--no-turbofan',
  '--no-maglev',
  '--incremental-marking-soft-trigger=30',
] as const;

export function keepHeapSmall(): void {
  for (const flag of FLAGS) setFlagsFromString(flag);
}
