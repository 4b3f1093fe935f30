// What a helper says, for as long as it lives: a memory file to which its output is added, and which is cut off here when
// it has grown. No pipe: a helper would be killed by SIGPIPE when this process ends, and would block were it not read.
// The memory counts as the helper's own, so that a helper that floods it meets its own limit.
import { fstatSync, ftruncateSync, readSync } from 'node:fs';
import { lastWords } from '../mount/fuse/program.ts';
import { F_ADD_SEALS, F_SEAL, MFD } from '../sys/constants.ts';
import { addSeals, memfdCreate } from '../sys/syscalls.ts';

export interface Output extends Disposable {
  /** By which another process of ours opens it. */
  readonly path: string;
  /** The end of it, on one line. */
  text(): string;
  /** From time to time. */
  trim(): void;
  /** Takes no more: for a helper that outlives this process, which cuts nothing off then. */
  seal(): void;
}

const MOST_BYTES = 64 * 1024;
const KEPT_BYTES = 4 * 1024;

export function openOutput(): Output {
  const file = memfdCreate('output', MFD.MFD_CLOEXEC | MFD.MFD_ALLOW_SEALING);
  let before: Buffer = Buffer.alloc(0);
  const tail = (): Buffer => {
    const { size } = fstatSync(file.number);
    const buffer = Buffer.alloc(KEPT_BYTES);
    const length = readSync(file.number, buffer, 0, buffer.length, Math.max(0, size - buffer.length));
    return Buffer.concat([before, buffer.subarray(0, length)]).subarray(-KEPT_BYTES);
  };
  return {
    path: `/proc/${process.pid}/fd/${file.number}`,
    text: () => lastWords(tail()),
    trim() {
      if (fstatSync(file.number).size <= MOST_BYTES) return;
      before = tail();
      // Its writers append: they go on from the new end.
      ftruncateSync(file.number, 0);
    },
    seal: () => addSeals(file, F_ADD_SEALS, F_SEAL.F_SEAL_GROW),
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}
