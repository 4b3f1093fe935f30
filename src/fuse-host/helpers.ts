// The helpers that run below this process, by the targets of their mounts.
//
//   starting   its start is under way
//   serving    its mount is there, and a process of it lives
//   dead       its mount is there, and none lives: whoever asks it is told ENOTCONN, until it is unmounted
//   ending     its mount is gone, a process lives still: it is given a while, then told to end, then killed
//   (gone)     neither
//
// What changes is seen by the signal that a child's end is, and by looking once a second: nothing here waits for a
// filesystem. Whether a mount is there is asked of our own mountinfo, to which unmounts of the driver propagate.
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MountErrorInit } from '../mount/errors.ts';
import { MountError } from '../mount/errors.ts';
import { describeExit } from '../mount/fuse/program.ts';
import { readMountinfo } from '../mount/mountinfo.ts';
import { isWithin } from '../mount/target.ts';
import type { Logger } from '../observe/logger.ts';
import { SIGKILL, SIGTERM } from '../sys/constants.ts';
import type { HelperGroup, HelperGroups } from './cgroup.ts';
import { type Output, openOutput } from './output.ts';
import { type HeldProcess, strayReaper } from './processes.ts';
import type { StartJob } from './start-process.ts';
import { carryOut, type Started } from './starts.ts';

export type HelperState = 'starting' | 'serving' | 'dead' | 'ending';

/** A helper as others see it. */
export interface HelperView {
  readonly target: string;
  readonly volumeId: string;
  readonly name: string;
  readonly uid: number;
  readonly startedAt: number;
  readonly state: HelperState;
  readonly pids: readonly number[];
  /** How it ended; empty while it lives. */
  readonly end: string;
}

export interface Death {
  readonly helper: HelperView;
  readonly output: string;
  /** They are counted from 1. */
  readonly number: number;
}

export interface HelperSpec {
  readonly target: string;
  readonly volumeId: string;
  readonly name: string;
  readonly uid: number;
  readonly job: (output: string) => Omit<StartJob, 'procs'>;
}

export interface Helpers extends AsyncDisposable {
  /** @throws MountError */
  start(spec: HelperSpec, timeoutMs: number): Promise<HelperView>;
  /** Ends what is left of those at and below a target whose mounts are gone. Gives them as they were. */
  stop(target: string): Promise<HelperView[]>;
  /** The same, and takes the mounts away first. @throws MountError */
  abandon(target: string): Promise<HelperView[]>;
  list(): HelperView[];
  output(target: string): string;
  /** Those with a higher number than `after`: at once, or when one has come, or none after a while. */
  deaths(after: number, patienceMs: number, signal: AbortSignal): Promise<Death[]>;
}

export interface HelpersOptions {
  readonly groups: HelperGroups;
  readonly log: Logger;
  /** Takes away what is mounted at a target, in use or not. */
  readonly unmount: (target: string) => Promise<void>;
}

interface Entry extends Omit<HelperView, 'state' | 'pids' | 'end'> {
  readonly output: Output;
  readonly group: HelperGroup | undefined;
  processes: readonly HeldProcess[];
  state: HelperState;
  end: string;
  /** `major:minor` of its filesystem. */
  device: string;
  /** Since when its mount is gone, by performance.now(). */
  endingSince: number;
}

const LOOK_MS = 1_000;
/** Since its mount is gone, a helper gets SIGTERM and SIGKILL after so long. */
const TERM_MS = 5_000;
const KILL_MS = 10_000;
/** The same when the driver says that it is over. */
const STOP_TERM_MS = 1_000;
const STOP_KILL_MS = 3_000;
const STOP_POLL_MS = 20;
const DEATHS_KEPT = 100;
const DIED = 'died';

export function runHelpers({ groups, log, unmount }: HelpersOptions): Helpers {
  /** In the order of their starts. Of one target there may be several: one that died, whose views pods have still. */
  const entries = new Set<Entry>();
  /** Groups whose processes are on their way out. */
  const emptied = new Set<HelperGroup>();
  const deaths: Death[] = [];
  let deathCount = 0;
  let starts = 0;
  /** Whoever waits for deaths listens, and stops when it has waited long enough, or its caller is gone. */
  const died = new EventEmitter().setMaxListeners(0);
  const reapStrays = strayReaper();

  function look(): void {
    const alive = [...entries].filter(({ state }) => state !== 'starting');
    const ended = alive.filter(
      ({ state, processes }) => state !== 'dead' && processes.every((one) => one.end()),
    );
    if (ended.length === 0) return;
    const devices = mountedDevices();
    for (const entry of ended) {
      if (devices.has(entry.device)) noteDeath(entry);
      else forget(entry);
    }
  }

  /** What needs no more than a look from time to time. */
  function tidy(): void {
    look();
    reapStrays();
    for (const group of emptied) if (group.remove()) emptied.delete(group);
    const devices = mountedDevices();
    const now = performance.now();
    for (const entry of entries) {
      entry.output.trim();
      if (entry.state === 'starting' || devices.has(entry.device)) continue;
      if (entry.state === 'dead') forget(entry);
      else if (entry.state === 'serving') {
        entry.state = 'ending';
        entry.endingSince = now;
      } else pressToEnd(entry, now - entry.endingSince, { term: TERM_MS, kill: KILL_MS });
    }
  }

  function noteDeath(entry: Entry): void {
    entry.state = 'dead';
    entry.end = endOf(entry);
    deathCount++;
    deaths.push({ helper: viewOf(entry), output: entry.output.text(), number: deathCount });
    if (deaths.length > DEATHS_KEPT) deaths.shift();
    log.warn('a helper has ended under its mount', {
      ...factsOf(entry),
      end: entry.end,
      said: entry.output.text(),
    });
    died.emit(DIED);
  }

  function forget(entry: Entry): void {
    entries.delete(entry);
    for (const one of entry.processes) one[Symbol.dispose]();
    entry.output[Symbol.dispose]();
    entry.group?.kill();
    if (entry.group?.remove() === false) emptied.add(entry.group);
    log.info('a helper is gone', factsOf(entry));
  }

  async function start(spec: HelperSpec, timeoutMs: number): Promise<HelperView> {
    const { target, volumeId, name, uid, job } = spec;
    await makeRoom(target);
    const output = openOutput();
    starts++;
    const group = groups.are === 'there' ? groups.of(`${target} ${starts}`) : undefined;
    const entry: Entry = {
      ...{ target, volumeId, name, uid, startedAt: Date.now(), output, group },
      ...{ processes: [], state: 'starting', end: '', device: '', endingSince: 0 },
    };
    entries.add(entry);
    try {
      const started = await carryOut({ ...job(output.path), procs: group?.procs }, timeoutMs);
      begin(entry, started);
      return viewOf(entry);
    } catch (error) {
      const whole = await undone(error, target);
      forget(entry);
      throw whole;
    }
  }

  /** @throws MountError when the mount of a helper is at the target still, or one is being started for it */
  async function makeRoom(target: string): Promise<void> {
    await stop(target);
    const there = [...entries].find(
      (entry) => entry.target === target && (isStarting(entry) || isAtTarget(entry)),
    );
    if (there === undefined) return;
    throw new MountError({
      reason: 'busy',
      message: `the helper ${there.name} of volume ${there.volumeId} ${isStarting(there) ? 'is being started for' : 'serves'} ${target}; it must go first`,
      rolledBack: true,
    });
  }

  function begin(entry: Entry, { processes, mount }: Started): void {
    entry.processes = processes;
    entry.device = mount.device;
    entry.state = 'serving';
    log.info('a helper serves', { ...factsOf(entry), pids: processes.map(({ pid }) => pid) });
    // It may have ended by now, or may never have been seen.
    look();
  }

  async function undone(error: unknown, target: string): Promise<unknown> {
    if (!(error instanceof MountError) || error.rolledBack) return error;
    const rolledBack = await unmount(target).then(
      () => true,
      () => false,
    );
    return new MountError({ ...error.toInit(), rolledBack } satisfies MountErrorInit, { cause: error });
  }

  async function stop(target: string): Promise<HelperView[]> {
    const there = [...entries].filter((entry) => isWithin(entry.target, target));
    const views = there.map(viewOf);
    await Promise.all(there.map(stopOne));
    return views;
  }

  /** Nothing is done to one whose mount is there: it is in use. */
  async function stopOne(entry: Entry): Promise<void> {
    const begun = performance.now();
    for (;;) {
      look();
      if (!entries.has(entry) || isStarting(entry)) return;
      if (mountedDevices().has(entry.device)) return;
      if (entry.state === 'dead') return forget(entry);
      const since = performance.now() - begun;
      pressToEnd(entry, since, { term: STOP_TERM_MS, kill: STOP_KILL_MS });
      // One that the kernel keeps from ending is left to tidy().
      if (since > 2 * STOP_KILL_MS) return;
      await sleep(STOP_POLL_MS);
    }
  }

  const timer = setInterval(tidy, LOOK_MS);
  process.on('SIGCHLD', look);
  return {
    start,
    stop,
    async abandon(target) {
      const there = [...entries].filter((entry) => isWithin(entry.target, target));
      for (const entry of there) await unmount(entry.target);
      return stop(target);
    },
    list: () => [...entries].map(viewOf),
    output: (target) => [...entries].findLast((entry) => entry.target === target)?.output.text() ?? '',
    async deaths(after, patienceMs, signal) {
      const since = () => deaths.filter(({ number }) => number > after);
      if (since().length === 0) {
        const over = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
        await once(died, DIED, { signal: over }).catch((error: unknown) => {
          if (!over.aborted) throw error;
        });
      }
      return since();
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      process.off('SIGCHLD', look);
      for (const group of emptied) group.remove();
      for (const { output, processes } of entries) {
        // The helpers go on for as long as they may; what they say is not kept from growing any more.
        output.seal();
        output[Symbol.dispose]();
        for (const one of processes) one[Symbol.dispose]();
      }
    },
  };
}

function pressToEnd(
  { processes, group }: Entry,
  sinceMs: number,
  { term, kill }: { readonly term: number; readonly kill: number },
): void {
  if (sinceMs < term) return;
  const signal = sinceMs < kill ? SIGTERM : SIGKILL;
  for (const one of processes) one.signal(signal);
  if (signal === SIGKILL) group?.kill();
}

function endOf({ processes, group }: Entry): string {
  const [first] = processes;
  const end = first?.end();
  const how = end === undefined || end === 'unknown' ? 'ended' : describeExit(end);
  return group !== undefined && group.oomKills() > 0 ? `${how}: it needed more memory than it may have` : how;
}

const isStarting = ({ state }: Entry): boolean => state === 'starting';

/** Its own mount is there, not only views of it. */
const isAtTarget = ({ target, device }: Entry): boolean =>
  readMountinfo().some((mount) => mount.device === device && mount.target === target);

const mountedDevices = (): ReadonlySet<string> => new Set(readMountinfo().map(({ device }) => device));

function viewOf(entry: Entry): HelperView {
  const { target, volumeId, name, uid, startedAt, state, processes, end } = entry;
  const pids = processes.filter((one) => one.end() === undefined).map(({ pid }) => pid);
  return { target, volumeId, name, uid, startedAt, state, pids, end };
}

const factsOf = ({ target, volumeId, name }: Entry) => ({ target, volumeId, helper: name });
