// In a pid namespace where process ids soon come again: makes user namespaces whose child is killed and reaped before
// anything of it is opened, and its number given to a foreign process in a user namespace of its own. Prints what came
// of it: reuse.fixture.ts FEATURES-IT-DOES-WITHOUT
import { readFileSync, readlinkSync } from 'node:fs';
import { type Child, cloneChild, killByPidfd } from '../../../src/sys/cloned-child.ts';
import { CLONE, P_PIDFD, PIDFD_GET_USER_NAMESPACE, WAIT } from '../../../src/sys/constants.ts';
import { SIGINFO_SIZE } from '../../../src/sys/structs.ts';
import { ioctl, waitid } from '../../../src/sys/syscalls.ts';
import { cloneInUserNamespace, createUserNamespace } from '../../../src/userns/create.ts';
import { spawnInUserNamespace } from '../../../src/userns/spawned-child.ts';
import { without } from './features.ts';

const ROUNDS = 10;
const ids = [{ container: 0, host: 100_000, size: 65_536 }];
const options = without(process.argv[2]);
const startOne = options.has?.('clone-pidfd') ? cloneInUserNamespace : spawnInUserNamespace;

const nameOf = (fd: number): string => readlinkSync(`/proc/self/fd/${fd}`);

/** A child whose number is by now that of `foreign`. */
function startDoomed(foreign: DisposableStack): { child: Child; other: Child } {
  const child = foreign.use(startOne());
  killByPidfd(child.pidfd);
  waitid(P_PIDFD, child.pidfd, Buffer.alloc(SIGINFO_SIZE), WAIT.WEXITED | WAIT.__WALL, null);
  for (let tries = 0; tries < 10_000; tries++) {
    const other = cloneChild(CLONE.CLONE_NEWUSER);
    if (other.pid === child.pid) return { child, other: foreign.use(other) };
    other[Symbol.dispose]();
  }
  throw new Error(`the number ${child.pid} did not come again`);
}

/** The kernel gives the first 300 once only (RESERVED_PIDS). */
const LAST_RESERVED = 300;
for (let pid = 0; pid <= LAST_RESERVED; ) {
  using child = cloneChild(0);
  pid = child.pid;
}

const rounds = Array.from({ length: ROUNDS }, () => {
  using foreign = new DisposableStack();
  let starts = 0;
  let other: Child | undefined;
  const start = (): Child => {
    if (++starts > 1) return startOne();
    const doomed = startDoomed(foreign);
    other = doomed.other;
    return doomed.child;
  };
  using namespace = createUserNamespace({ uid: ids, gid: ids }, { ...options, start });
  if (other === undefined) throw new Error('no child was started');
  using foreignNamespace = ioctl(other.pidfd, PIDFD_GET_USER_NAMESPACE, 0);
  return {
    starts,
    isForeign: nameOf(namespace.number) === nameOf(foreignNamespace.number),
    foreignMap: readFileSync(`/proc/${other.pid}/uid_map`, 'utf8'),
  };
});

let failure: unknown;
let starts = 0;
try {
  using foreign = new DisposableStack();
  const start = () => {
    starts++;
    return startDoomed(foreign).child;
  };
  createUserNamespace({ uid: ids, gid: ids }, { ...options, start })[Symbol.dispose]();
} catch (error) {
  failure = (error as Error).message;
}
process.stdout.write(JSON.stringify({ rounds, always: { starts, failure } }), () => process.exit(0));
