// What a thread does to files, done as somebody else for a while (setfsuid(2)): new files are his, and a filesystem
// remembers him who mounts it.
//
// For threads with nothing else to do. The kernel takes a change of user for a loss of trust (commit_creds): the thread
// is no longer told of its parent's end (PR_SET_PDEATHSIG), and the process must be made dumpable again.
import { constants } from 'node:os';
import { PR } from './constants.ts';
import { SyscallError } from './errors.ts';
import { capget, capset, prctl, setfsgid, setfsuid } from './syscalls.ts';

export interface FilesystemUser {
  readonly uid: number;
  readonly gid: number;
}

/** The largest 32-bit number is no id: it changes nothing and is answered with the one that holds. */
const NO_ID = 2 ** 32 - 1;

/**
 * This thread's user for files until the end of the block, with the capabilities that it has: the kernel takes away
 * those about files with the user 0.
 * @throws SyscallError (EPERM) without CAP_SETUID and CAP_SETGID, or for ids that this user namespace does not have
 */
export function asFilesystemUser({ uid, gid }: FilesystemUser): Disposable {
  const capabilities = capget();
  const dumpable = prctl(PR.PR_GET_DUMPABLE, 0);
  using undo = new DisposableStack();
  undo.defer(() => {
    capset(capabilities);
    // 2 (suid_dumpable) cannot be set, and nothing has made it less than that.
    if (dumpable === 1) prctl(PR.PR_SET_DUMPABLE, 1);
  });
  const gidBefore = setfsgid(gid);
  undo.defer(() => setfsgid(gidBefore));
  const uidBefore = setfsuid(uid);
  undo.defer(() => setfsuid(uidBefore));
  // Neither call says whether it did it.
  if (gid === NO_ID || setfsgid(NO_ID) !== gid) throw refused('setfsgid', gid);
  if (uid === NO_ID || setfsuid(NO_ID) !== uid) throw refused('setfsuid', uid);
  capset(capabilities);
  return undo.move();
}

function refused(syscall: string, id: number): SyscallError {
  return new SyscallError({ syscall, args: String(id), errno: constants.errno.EPERM });
}
