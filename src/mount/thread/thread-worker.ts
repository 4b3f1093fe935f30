// The thread's own code. All modules are loaded before it leaves the file system behind: in a private namespace it
// cannot open a file any more.
import { workerData } from 'node:worker_threads';
import { AT_FDCWD, CLONE, MOVE_MOUNT, MS, OPEN_TREE, UMOUNT } from '../../sys/constants.ts';
import { SyscallError } from '../../sys/errors.ts';
import { Fd } from '../../sys/fd.ts';
import {
  chdir,
  fchdir,
  mkdirat,
  mount,
  moveMount,
  openTree,
  pivotRoot,
  umount2,
  unshare,
} from '../../sys/syscalls.ts';
import { messageOf } from '../errors.ts';
import { assembleOverlay, DESCRIPTORS } from './assemble.ts';
import type { Job } from './jobs.ts';
import { openFilesystem } from './open-filesystem.ts';
import type { Answer, ThreadData } from './thread.ts';
import { tryWriting } from './try-writing.ts';

const { kind, port, signal } = workerData as ThreadData;

const SETUP = {
  cwd: () => unshare(CLONE.CLONE_FS),
  private: enterPrivateNamespace,
};

answer(() => {
  SETUP[kind]();
  return null;
});
port.on('message', (job: Job) => answer(() => run(job)));

function run(job: Job): unknown {
  switch (job.name) {
    case 'mountAt': {
      const { cwd, source, target, type, flags, data } = job.args;
      const directory = new Fd(cwd);
      try {
        fchdir(directory);
      } finally {
        directory.release(); // the caller's
      }
      try {
        mount(source, target, type, flags, data);
      } finally {
        // That filesystem would be busy for as long as this thread lives.
        chdir('/');
      }
      return null;
    }
    case 'assembleOverlay':
      return assembleOverlay(job.args);
    case 'openFilesystem':
      return openFilesystem(job.args);
    case 'tryWriting':
      return tryWriting(job.args);
  }
}

function answer(work: () => unknown): void {
  port.postMessage(outcome(work));
  Atomics.store(signal, 0, 1);
  Atomics.notify(signal, 0);
}

function outcome(work: () => unknown): Answer {
  try {
    return { result: work() };
  } catch (error) {
    if (error instanceof SyscallError) {
      const { syscall, args, errno, kernelMessage } = error;
      return { syscall: { syscall, args, errno, ...(kernelMessage !== undefined && { kernelMessage }) } };
    }
    return { problem: messageOf(error) };
  }
}

/**
 * A namespace with nothing of the host in it but its own /proc/self/fd, which would otherwise be kept busy by it: an empty
 * tmpfs takes the root's place and the old root is detached (pivot_root(2), "pivot_root(".", ".")").
 */
function enterPrivateNamespace(): void {
  using descriptors = copyOfDescriptors();
  unshare(CLONE.CLONE_NEWNS | CLONE.CLONE_FS);
  mount(null, '/', null, MS.MS_REC | MS.MS_PRIVATE, null);
  // Any directory that is there for certain: it is covered in this namespace alone.
  const place = '/proc';
  mount('private', place, 'tmpfs', 0, 'mode=700');
  chdir(place);
  pivotRoot('.', '.');
  umount2('.', UMOUNT.MNT_DETACH);
  chdir('/');
  if (descriptors === undefined) return;
  mkdirat(AT_FDCWD, DESCRIPTORS, 0o700);
  moveMount(descriptors, '', AT_FDCWD, DESCRIPTORS, MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
}

/** What is known by its descriptor has a name there alone. */
function copyOfDescriptors(): Fd | undefined {
  try {
    const flags = OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC;
    return openTree(AT_FDCWD, '/proc/self/fd', flags);
  } catch (error) {
    // Where the call is not allowed, no overlay is made here.
    if (error instanceof SyscallError) return undefined;
    throw error;
  }
}
