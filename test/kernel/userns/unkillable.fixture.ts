// Where pidfd_send_signal(2) is refused: has a child, and lets it go. Prints what came of it.
import { existsSync } from 'node:fs';
import { cloneChild } from '../../../src/sys/cloned-child.ts';
import { SyscallError } from '../../../src/sys/errors.ts';

const child = cloneChild(0);
const path = `/proc/${child.pid}`;
let refused = '';
try {
  child[Symbol.dispose]();
} catch (error) {
  if (!(error instanceof SyscallError)) throw error;
  refused = `${error.syscall}: ${error.code}`;
}
process.stdout.write(JSON.stringify({ refused, isThere: existsSync(path) }));
