// What a test can leave behind, as a snapshot of everything there is and a comparison of two. Read straight from
// /proc and /sys, by nothing that is itself under test.
//
//   kind                 what counts
//   mount                any new line of mountinfo
//   loop device          any with a backing file in the directory of the run
//   file descriptor      of this process, but those that the runtime keeps for itself
//   process              any living descendant: hooks.ts makes orphans come back to us
//   temporary directory  what is named like ours
//
// Tests of other checkouts may run on the machine at the same time: what is named after a living process other
// than this one is theirs.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isTheRuntimes } from './on-host.ts';

/** The directory of a run of mocha is called this. Short, as all of these: the path of a socket has 107 bytes at most. */
export const RUN_PREFIX = 'idmap-';
/** Every temporary directory of the tests in it is called this, and then by the process that made it. */
export const TEMPORARY_PREFIX = 't-';
/** What the program under test makes in it. */
const PROGRAM_PREFIX = 'csi-driver-idmap-';

const KINDS = ['mount', 'loop device', 'file descriptor', 'process', 'temporary directory'] as const;
type Kind = (typeof KINDS)[number];

/** Per kind, the things there are, each by a line that tells it from all others. */
export type Snapshot = Readonly<Record<Kind, readonly string[]>>;

export function takeSnapshot(): Snapshot {
  return {
    mount: mounts(),
    'loop device': loopDevices(),
    'file descriptor': openDescriptors(process.pid),
    process: descendants(process.pid).map(({ pid, command }) => `${pid} ${command}`),
    'temporary directory': temporaryDirectories(),
  };
}

/** What is in `after` and not in `before`, a line each: `mount: 73 /tmp/x (tmpfs)`. */
export function newSince(before: Snapshot, after: Snapshot): string[] {
  return KINDS.flatMap((kind) => {
    const known = [...before[kind]];
    return after[kind]
      .filter((thing) => {
        const at = known.indexOf(thing);
        if (at !== -1) known.splice(at, 1);
        return at === -1;
      })
      .map((thing) => `${kind}: ${thing}`);
  });
}

function mounts(): string[] {
  return mountTargets()
    .filter(({ target }) => !isOthers(target) && !isTheRuntimes(target))
    .map(({ id, target, type }) => `${id} ${target} (${type})`);
}

export interface MountedAt {
  readonly id: string;
  readonly target: string;
  readonly type: string;
}

/** Every mount, in the order of the file: one that stands on another comes after it. */
export function mountTargets(): MountedAt[] {
  return lines('/proc/self/mountinfo').map((line) => {
    const [id = '', , , , target = ''] = line.split(' ');
    const [, type = ''] = /.* - (\S+)/.exec(line) ?? [];
    return { id, target: target.replace(/\\([0-7]{3})/g, (_, octal) => octalCharacter(octal)), type };
  });
}

const octalCharacter = (octal: string): string => String.fromCharCode(Number.parseInt(octal, 8));

function loopDevices(): string[] {
  return readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .map((name) => ({ name, file: lines(`/sys/block/${name}/loop/backing_file`)[0] }))
    .filter(({ file }) => file?.startsWith(`${tmpdir()}/`) && !isOthers(file))
    .map(({ name, file }) => `${name} of ${file}`);
}

/** What the runtime opens when it likes: its event loop, and the pipes to its children and threads. */
const RUNTIME =
  /^(pipe:|anon_inode:(inotify|\[(eventpoll|eventfd|io_uring|timerfd)\])|\/dev\/(null|u?random|kmsg))/;

/** The open file descriptors of a process, without those of the runtime: `7 /etc/passwd`. */
export function openDescriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((number) => {
    const target = linkOf(`/proc/${pid}/fd/${number}`);
    // The listing's own descriptor is gone by now.
    if (target === undefined || RUNTIME.test(target) || target === `/proc/${pid}/fd`) return [];
    return [`${number} ${target}`];
  });
}

export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** The living processes below one. */
export function descendants(ancestor: number): Process[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readStat(Number(name)));
  const below = (pid: number): Process[] =>
    all
      .filter((other) => other.parent === pid)
      .flatMap((child) => [...(child.alive ? [child] : []), ...below(child.pid)]);
  return below(ancestor);
}

function readStat(pid: number): (Process & { alive: boolean })[] {
  const [stat] = lines(`/proc/${pid}/stat`);
  if (stat === undefined) return [];
  // The name is in parentheses and may hold any of them itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parent] = fields;
  const exitSignal = fields[35];
  // An orphan that has ended waits for its adopter, which never asks: that is all right. A child made without
  // an exit signal is one of ours that was never waited for.
  const alive = state !== 'Z' || exitSignal === '0';
  const [commandLine = ''] = lines(`/proc/${pid}/cmdline`);
  const command = commandLine.replaceAll('\0', ' ').trim() || stat.slice(0, stat.lastIndexOf(')') + 1);
  return [{ pid, parent: Number(parent), alive, command: `${command} (state ${state})` }];
}

function temporaryDirectories(): string[] {
  return readdirSync(tmpdir())
    .filter((name) => name.startsWith(TEMPORARY_PREFIX) || name.startsWith(PROGRAM_PREFIX))
    .map((name) => join(tmpdir(), name))
    .filter((path) => !isOthers(path));
}

/** True for a path in the temporary directory of a living process other than this one. */
function isOthers(path: string): boolean {
  const pid = ownerOf(path);
  return pid !== undefined && pid !== process.pid && existsSync(`/proc/${pid}`);
}

/** True for a path in a temporary directory that this process made. */
export function isOurs(path: string): boolean {
  return ownerOf(path) === process.pid;
}

const OWNER = new RegExp(`/${TEMPORARY_PREFIX}(\\d+)-`);

function ownerOf(path: string): number | undefined {
  const [, pid] = OWNER.exec(path) ?? [];
  return pid === undefined ? undefined : Number(pid);
}

/** The lines of a file; none if it cannot be read: processes and devices come and go. */
function lines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
  } catch {
    return [];
  }
}

export function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
