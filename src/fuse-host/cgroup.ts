// A control group for each helper, where there may be one: what it takes of memory is counted and held to its own limit,
// and all its processes can be killed, daemons too.
//
//   version 2   below our own group: <own>/fuse-NAME. A group with processes cannot have such children (cgroups(7), "no
//               internal processes"): where that stands in the way, we move to <own>/fuse-host first, with the init of
//               our container if that is all there is beside us. Commands that a runtime starts in a container later
//               join its init
//   version 1   the same in the hierarchy of the memory controller
//   neither     helpers run in our group; why is said once
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf } from '../mount/errors.ts';
import { readMountinfo } from '../mount/mountinfo.ts';
import { hasErrno } from '../sys/errors.ts';

export interface HelperGroup {
  /** A process that writes its number here belongs to it, and so do those that it starts. */
  readonly procs: string;
  /** How many of its processes the kernel has killed for want of memory. */
  oomKills(): number;
  /** All its processes. */
  kill(): void;
  /** False while there are processes in it. */
  remove(): boolean;
}

export type HelperGroups =
  | {
      readonly are: 'there';
      of(target: string): HelperGroup;
      /** What a predecessor at the same socket has left. */
      removeEmpty(): void;
    }
  | { readonly are: 'not'; readonly because: string };

export interface GroupOptions {
  /** What a helper may take; undefined: as much as we may. */
  readonly memoryBytes: number | undefined;
  /** Path of the socket: another fuse-host may have its groups beside ours. */
  readonly socket: string;
}

const OWN = 'fuse-host';

interface Hierarchy {
  /** Our own group. */
  readonly directory: string;
  readonly version: 1 | 2;
}

export function helperGroups({ memoryBytes, socket }: GroupOptions): HelperGroups {
  try {
    const found = hierarchyHere();
    if (found === undefined) return { are: 'not', because: 'no hierarchy has a memory controller here' };
    if (found.version === 2) delegateMemory(found.directory);
    const prefix = `fuse-${digestOf(socket, 8)}-`;
    return {
      are: 'there',
      of: (target) => makeGroup(`${prefix}${digestOf(target, 32)}`, memoryBytes, found),
      removeEmpty() {
        for (const name of readdirSync(found.directory)) {
          if (name.startsWith(prefix)) removeGroup(path.join(found.directory, name));
        }
      },
    };
  } catch (error) {
    return { are: 'not', because: messageOf(error) };
  }
}

const digestOf = (text: string, digits: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, digits);

function hierarchyHere(): Hierarchy | undefined {
  const groups = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  const mounts = readMountinfo();
  const unified = mounts.find(({ type }) => type === 'cgroup2');
  const own2 = groups.find((line) => line.startsWith('0::'))?.slice(3);
  if (unified !== undefined && own2 !== undefined) {
    const directory = path.join(unified.target, path.relative(unified.root, own2));
    if (wordsOf(path.join(directory, 'cgroup.controllers')).includes('memory'))
      return { directory, version: 2 };
  }
  const memory = mounts.find(
    ({ type, superblockOptions }) => type === 'cgroup' && superblockOptions.includes('memory'),
  );
  const own1 = groups
    .map((line) => line.split(':'))
    .find(([, names]) => names?.split(',').includes('memory'));
  if (memory === undefined || own1 === undefined) return undefined;
  return {
    directory: path.join(memory.target, path.relative(memory.root, own1.slice(2).join(':'))),
    version: 1,
  };
}

function delegateMemory(directory: string): void {
  const control = path.join(directory, 'cgroup.subtree_control');
  if (wordsOf(control).includes('memory')) return;
  try {
    writeFileSync(control, '+memory');
  } catch (error) {
    if (!hasErrno(error, 'EBUSY')) throw error;
    mkdirSync(path.join(directory, OWN), { recursive: true });
    for (const pid of movable(directory)) {
      // One at a time is what the kernel takes.
      writeFileSync(path.join(directory, OWN, 'cgroup.procs'), String(pid));
    }
    writeFileSync(control, '+memory');
  }
}

/** We, and our parent where nobody else is in the group: of others we know nothing. */
function movable(directory: string): number[] {
  const members = wordsOf(path.join(directory, 'cgroup.procs')).map(Number);
  const family = [process.ppid, process.pid];
  return members.every((pid) => family.includes(pid)) ? members : [process.pid];
}

function makeGroup(
  name: string,
  memoryBytes: number | undefined,
  { directory, version }: Hierarchy,
): HelperGroup {
  const group = path.join(directory, name);
  mkdirSync(group, { recursive: true });
  const limit = path.join(group, version === 2 ? 'memory.max' : 'memory.limit_in_bytes');
  writeFileSync(limit, memoryBytes === undefined ? (version === 2 ? 'max' : '-1') : String(memoryBytes));
  const procs = path.join(group, 'cgroup.procs');
  const events = path.join(group, version === 2 ? 'memory.events' : 'memory.oom_control');
  const countOfKills = () => Number(/^oom_kill (\d+)$/m.exec(textOf(events))?.[1] ?? 0);
  // Of one that is there still, from a predecessor.
  const before = countOfKills();
  return {
    procs,
    oomKills: () => countOfKills() - before,
    kill() {
      const all = path.join(group, 'cgroup.kill');
      if (existsSync(all)) writeFileSync(all, '1');
      else for (const pid of wordsOf(procs)) killIfThere(Number(pid));
    },
    remove: () => removeGroup(group),
  };
}

function removeGroup(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return true;
    if (hasErrno(error, 'EBUSY')) return false;
    throw error;
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error;
  }
}

const wordsOf = (file: string): string[] => textOf(file).split(/\s+/).filter(Boolean);

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENODEV')) return '';
    throw error;
  }
}
