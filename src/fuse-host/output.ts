// What a helper says, for as long as it lives: a memory file to which its output is added, and which is cut off here when
// it has grown. No pipe: a helper would be killed by SIGPIPE when this process ends, and would block were it not read.
// The memory counts as the helper's own, so that a helper that floods it meets its own limit.
//
// The helper holds it open to write, and may do with it what anyone may who does: make it as large as a file can be, or
// overwrite it. It cannot seal it, which would keep us from cutting it off.
import { fstatSync, ftruncateSync } from 'node:fs';
import { lastWords, tailOf } from '../mount/fuse/program.ts';
import { F_ADD_SEALS, F_SEAL, MFD } from '../sys/constants.ts';
import { Fd } from '../sys/fd.ts';
import { addSeals, ftruncate, memfdCreate } from '../sys/syscalls.ts';

export interface Output extends Disposable {
  /** By which another process of ours opens it. */
  readonly path: string;
  /** The end of it, on one line. */
  text(): string;
  /** From time to time. */
  trim(): void;
  /** Takes no more: for a helper that outlives this process, which cuts nothing off then. */
  close(): void;
}

const MOST_BYTES = 64 * 1024;
const KEPT_BYTES = 4 * 1024;
/** MAX_LFS_FILESIZE: what is added to a file of this size is refused (EFBIG), without a signal. It takes no memory. */
const LARGEST = 2n ** 63n - 1n;

export function openOutput(): Output {
  const file = unsealable();
  let before: Buffer = Buffer.alloc(0);
  const tail = (): Buffer => {
    // Nothing was ever written where it is NUL, or nothing that is words.
    const added = tailOf(file, KEPT_BYTES).filter((byte) => byte !== 0);
    return Buffer.concat([before, added]).subarray(-KEPT_BYTES);
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
    close: () => ftruncate(file, LARGEST),
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

/** Not by leaving MFD_ALLOW_SEALING out: where vm.memfd_noexec is set, every file may be sealed. */
function unsealable(): Fd {
  using file = memfdCreate('output', MFD.MFD_CLOEXEC | MFD.MFD_ALLOW_SEALING);
  addSeals(file, F_ADD_SEALS, F_SEAL.F_SEAL_SEAL);
  return new Fd(file.release());
}
