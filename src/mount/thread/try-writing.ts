// Whether somebody can make files in a directory, found out by making one: a file without a name where the filesystem
// has that (O_TMPFILE), else a directory that is removed at once.
import { randomBytes } from 'node:crypto';
import { O } from '../../sys/constants.ts';
import { hasErrno } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import { asFilesystemUser } from '../../sys/filesystem-user.ts';
import { AT_REMOVEDIR, mkdirat, openat, unlinkat } from '../../sys/syscalls.ts';
import type { Jobs } from './jobs.ts';

/** @throws SyscallError; not for a full disk, which is a matter of the moment */
export function tryWriting({ directory, user }: Jobs['tryWriting']['args']): null {
  const at = new Fd(directory);
  try {
    using _user = asFilesystemUser(user);
    makeOne(at);
  } catch (error) {
    if (!hasErrno(error, 'ENOSPC', 'EDQUOT')) throw error;
  } finally {
    at.release(); // the caller's
  }
  return null;
}

function makeOne(directory: Fd): void {
  try {
    openat(directory, '.', O.O_TMPFILE | O.O_WRONLY, 0o600)[Symbol.dispose]();
  } catch (error) {
    if (!hasErrno(error, 'ENOTSUP')) throw error;
    const name = `.writable-${randomBytes(8).toString('hex')}`;
    mkdirat(directory, name, 0o700);
    unlinkat(directory, name, AT_REMOVEDIR);
  }
}
