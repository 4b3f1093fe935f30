// The helpers that run below this process, by the targets of their mounts.
//
//   starting   its start is under way
//   serving    its mount is there, and a process of it lives
//   dead       its mount is there, and none lives: whoever asks it is told ENOTCONN, until it is unmounted
//   ending     its mount is out of sight, a process lives still: it is given a while, then told to end, then killed.
//              Where the mount is seen again it serves as before
//   (gone)     neither
//
// What changes is seen by the signal that a child's end is, and by looking once a second: nothing here waits for a
// filesystem. Whether a mount is there is asked of our own mountinfo, to which unmounts of the driver propagate. That can
// miss one (mount/view.ts), so that nothing is held to be gone that one reading alone has missed. Nor is a helper's mount
// any that has its device number: once it is gone, the kernel gives the number to the next filesystem that comes.
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { MountError, toMountError } from '../mount/errors.ts';
import { isFuse } from '../mount/fuse/mounts.ts';
import { describeExit } from '../mount/fuse/program.ts';
import { type MountInfo, readMountinfo } from '../mount/mountinfo.ts';
import { isWithin } from '../mount/target.ts';
import type { Logger } from '../observe/logger.ts';
import { SIGKILL, SIGTERM } from '../sys/constants.ts';
import type { HelperGroup, HelperGroups } from './cgroup.ts';
import { oneByOne } from './one-by-one.ts';
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
  /** The same, and takes their mounts away first, none of others. @throws MountError */
  abandon(target: string): Promise<HelperView[]>;
  list(): HelperView[];
  output(target: string): string;
  /** Those with a higher number than `after`: at once, or when one has come, or none after a while. */
  deaths(after: number, patienceMs: number, signal: AbortSignal): Promise<Death[]>;
}

export interface HelpersOptions {
  readonly groups: HelperGroups;
  readonly log: Logger;
  /** What is seen at a target; undefined where nothing is mounted. @throws when nobody can tell */
  readonly shownAt: (target: string) => Promise<MountInfo | undefined>;
  /** Takes that away, in use or not, and nothing below it. */
  readonly unmount: (target: string) => Promise<void>;
  /** All that is mounted (default: our own mountinfo). */
  readonly mounts?: () => readonly MountInfo[];
  /** Between looks at all of them (default: a second). */
  readonly lookMs?: number;
}

interface Entry extends Omit<HelperView, 'state' | 'pids' | 'end'> {
  readonly output: Output;
  readonly group: HelperGroup | undefined;
  processes: readonly HeldProcess[];
  state: HelperState;
  end: string;
  /** `major:minor` of its filesystem; empty before it is there, and when another has the number. */
  device: string;
  /** The same of the FUSE filesystem that was at the target before its start. */
  readonly deviceBefore: string | undefined;
  /** How many looks in a row have missed its mount. */
  missed: number;
}

const LOOK_MS = 1_000;
/** So many looks in a row that miss its mount have a dead helper forgotten, and one that lives told to end, and killed. */
const FORGET_LOOKS = 3;
const PRESS_LOOKS: Pressure = { term: 5, kill: 10 };
/** In milliseconds, with a look at each poll, when the driver says that it is over. */
const PRESS_MS: Pressure = { term: 1_000, kill: 3_000 };
const STOP_POLL_MS = 20;
/** How often mountinfo is read at once before what it misses is held to be gone. */
const READINGS = 3;
/** Mounts in a stack, at the most, that are taken away for one helper. */
const MOST_STACKED = 16;
const DEATHS_KEPT = 100;
const DIED = 'died';

interface Pressure {
  readonly term: number;
  readonly kill: number;
}

export function runHelpers({
  groups,
  log,
  shownAt,
  unmount,
  mounts = readMountinfo,
  lookMs = LOOK_MS,
}: HelpersOptions): Helpers {
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
  const eachHelper = oneByOne(log, 'a helper could not be looked after', factsOf);
  const eachEnd = oneByOne(log, 'whether a helper has ended could not be seen', factsOf);
  const eachGroup = oneByOne<HelperGroup>(log, 'a control group could not be removed', ({ procs }) => ({
    procs,
  }));
  const eachTask = oneByOne<() => void>(log, 'helpers could not be looked after', () => ({}));

  const look = () => eachTask([noteEnds], (task) => task());
  /** What needs no more than a look from time to time. */
  const tidy = () =>
    eachTask([noteEnds, reapStrays, removeEmptied, trimOutputs, lookAtMounts], (task) => task());

  function noteEnds(): void {
    eachEnd(entries, (entry) => {
      if (isStarting(entry) || entry.state === 'dead' || !entry.processes.every((one) => one.end())) return;
      if (isMounted(entry)) noteDeath(entry);
      else forget(entry);
    });
  }

  function removeEmptied(): void {
    eachGroup(emptied, dissolve);
  }

  function trimOutputs(): void {
    eachHelper(entries, ({ output }) => output.trim());
  }

  function lookAtMounts(): void {
    const devices = fuseDevices();
    eachHelper(entries, (entry) => {
      if (isStarting(entry)) return;
      entry.missed = devices.has(entry.device) ? 0 : entry.missed + 1;
      if (entry.state === 'dead') {
        if (entry.missed >= FORGET_LOOKS) forget(entry);
        return;
      }
      entry.state = entry.missed === 0 ? 'serving' : 'ending';
      pressToEnd(entry, entry.missed, PRESS_LOOKS);
    });
  }

  function fuseDevices(): ReadonlySet<string> {
    const fuse = mounts().filter(isFuse);
    return new Set(fuse.map(({ device }) => device));
  }

  /** Or a view of it is. */
  function isMounted({ device }: Entry): boolean {
    for (let readings = 0; readings < READINGS; readings++) if (fuseDevices().has(device)) return true;
    return false;
  }

  function noteDeath(entry: Entry): void {
    const end = endOf(entry);
    const said = entry.output.text();
    entry.state = 'dead';
    entry.end = end;
    deathCount++;
    deaths.push({ helper: viewOf(entry), output: said, number: deathCount });
    if (deaths.length > DEATHS_KEPT) deaths.shift();
    log.warn('a helper has ended under its mount', { ...factsOf(entry), end, said });
    died.emit(DIED);
  }

  function forget(entry: Entry): void {
    entries.delete(entry);
    for (const one of entry.processes) one[Symbol.dispose]();
    entry.output[Symbol.dispose]();
    letGo(entry.group);
    log.info('a helper is gone', factsOf(entry));
  }

  /** At once, or as soon as its processes are gone. */
  function letGo(group: HelperGroup | undefined): void {
    if (group === undefined) return;
    emptied.add(group);
    eachGroup([group], dissolve);
  }

  function dissolve(group: HelperGroup): void {
    group.kill();
    if (group.remove()) emptied.delete(group);
  }

  async function start(spec: HelperSpec, timeoutMs: number): Promise<HelperView> {
    const { target, job } = spec;
    // What cannot be told now fails the start itself, which says why.
    const before = await shownAt(target).catch(() => undefined);
    await makeRoom(target);
    const entry = enter(spec, before);
    const { output, group } = entry;
    try {
      const started = await carryOut({ ...job(output.path), procs: group?.procs }, timeoutMs);
      begin(entry, started);
      return viewOf(entry);
    } catch (error) {
      const whole = await undone(error, entry);
      forget(entry);
      throw whole;
    }
  }

  /** @throws MountError (node-exhausted) */
  function enter({ target, volumeId, name, uid }: HelperSpec, before: MountInfo | undefined): Entry {
    try {
      using undo = new DisposableStack();
      starts++;
      const group = groups.are === 'there' ? groups.of(`${target} ${starts}`) : undefined;
      undo.defer(() => letGo(group));
      const output = openOutput();
      const deviceBefore = before && isFuse(before) ? before.device : undefined;
      const entry: Entry = {
        ...{ target, volumeId, name, uid, startedAt: Date.now(), output, group, deviceBefore },
        ...{ processes: [], state: 'starting', end: '', device: '', missed: 0 },
      };
      entries.add(entry);
      undo.move();
      return entry;
    } catch (error) {
      throw toMountError(error, true);
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

  /** Its own mount is there, not only views of it. */
  function isAtTarget(entry: Entry): boolean {
    return mounts().some((mount) => isOf(entry, mount) && mount.target === entry.target);
  }

  function begin(entry: Entry, { processes, mount }: Started): void {
    for (const other of entries) if (hasLost(other, mount)) other.device = '';
    entry.processes = processes;
    entry.device = mount.device;
    entry.state = 'serving';
    log.info('a helper serves', { ...factsOf(entry), pids: processes.map(({ pid }) => pid) });
    // It may have ended by now, or may never have been seen.
    look();
  }

  async function undone(error: unknown, entry: Entry): Promise<MountError> {
    const failure = toMountError(error, false);
    if (failure.rolledBack) return failure;
    // First, for one that lives could mount still.
    eachHelper([entry], ({ group }) => group?.kill());
    const rolledBack = await takeAway(entry).then(
      () => true,
      () => false,
    );
    return new MountError({ ...failure.toInit(), rolledBack }, { cause: error });
  }

  /** What it serves at its target. Below that is what others have put there: a placeholder of the driver, say. */
  async function takeAway(entry: Entry): Promise<void> {
    for (let taken = 0; taken < MOST_STACKED; taken++) {
      const shown = await shownAt(entry.target);
      if (shown === undefined || !isOf(entry, shown)) return;
      await unmount(entry.target);
    }
    throw new MountError({
      reason: 'busy',
      message: `${entry.target} shows a FUSE filesystem still, after ${MOST_STACKED} were unmounted there`,
      rolledBack: false,
    });
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
      if (entry.state === 'dead') {
        if (!isMounted(entry)) forget(entry);
        return;
      }
      if (fuseDevices().has(entry.device)) return;
      const since = performance.now() - begun;
      pressToEnd(entry, since, PRESS_MS);
      // One that the kernel keeps from ending is left to tidy().
      if (since > 2 * PRESS_MS.kill) return;
      await sleep(STOP_POLL_MS);
    }
  }

  const timer = setInterval(tidy, lookMs);
  process.on('SIGCHLD', look);
  return {
    start,
    stop,
    async abandon(target) {
      const there = [...entries].filter((entry) => isWithin(entry.target, target));
      for (const entry of there) await takeAway(entry);
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
      removeEmptied();
      eachHelper(entries, ({ output, processes }) => {
        using _file = output;
        for (const one of processes) one[Symbol.dispose]();
        // The helpers go on for as long as they may; what they say is not kept from growing any more.
        output.close();
      });
    },
  };
}

function pressToEnd({ processes, group }: Entry, since: number, { term, kill }: Pressure): void {
  if (since < term) return;
  const signal = since < kill ? SIGTERM : SIGKILL;
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

/** Whether a mount at its target is its own: while it is being started, what has come since. */
const isOf = ({ state, device, deviceBefore }: Entry, mount: MountInfo): boolean =>
  isFuse(mount) && (state === 'starting' ? mount.device !== deviceBefore : mount.device === device);

/** The number of its filesystem is another's by now. One without a disk has number 0:N, which is no other's meanwhile. */
const hasLost = ({ device }: Entry, mount: MountInfo): boolean =>
  device === mount.device && device.startsWith('0:');

function viewOf(entry: Entry): HelperView {
  const { target, volumeId, name, uid, startedAt, state, processes, end } = entry;
  const pids = processes.filter((one) => one.end() === undefined).map(({ pid }) => pid);
  return { target, volumeId, name, uid, startedAt, state, pids, end };
}

const factsOf = ({ target, volumeId, name }: Entry) => ({ target, volumeId, helper: name });
