// Every system call of every call of kubelet fails once, with each errno that it may fail with, for volumes of every kind.
// What can fail is not listed anywhere: the calls that the plugin and its engine make are recorded first
// (fault-switch.ts), each by where in the sources it is made and what led there.
//
//   the call says it is done    the volume is whole: its pod finds its files, and writes
//   it fails                    by a code that CSI foresees; the node is as it was before; the same call again is done
//   either way                  after the end of the volume nothing of it is left
//
// A few more come from outside of the process, by strace(1).
//
//   FAULTS         of each kind: so many, or all (npm run test:faults)     (default: 16, the same in every run)
//   FAULTS_SEED    draws others
//   FAULTS_KINDS   every: of each kind of volume                           (default: one for each way to make one)
//   FAULTS_API     classic: of mounts by mount(2)                          (default: the plugin's)
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { type Errno, errnosOf } from '../support/faults/plausible.ts';
import { needRoot, needTool } from '../support/need.ts';
import { tell } from '../support/report.ts';
import { wordsOf } from '../support/words.ts';
import { type Fault, type FaultSwitch, faultSwitch, type Site } from './fault-switch.ts';
import { failBelow, isTraceable } from './fault-trace.ts';
import { MAPPING } from './kinds.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { difference, type NodeState, stateOf } from './node-state.ts';
import { engineProcesses } from './serve.ts';
import {
  type Call,
  expectNothingLeft,
  type Living,
  type Specimen,
  specimenOf,
  specimens,
} from './specimens.ts';

const ALL = process.env.FAULTS === 'all';
const EVERY_KIND = ALL || process.env.FAULTS_KINDS === 'every';
const API = process.env.FAULTS_API;
const SEED = Number(process.env.FAULTS_SEED ?? (process.env.FAULTS ? Math.floor(Math.random() * 1e6) : 1));
/** Of each kind. */
const FEW = Number(process.env.FAULTS) || 16;

/** What kubelet asks of a volume, from its beginning to its end; in between also how full it is, and that it grows. */
type Asked = Call | 'stats' | 'expand';

/** Of the kinds that can grow here: ext4 takes a capability for that which a container's root may lack. */
const GROWING = ['image as a block device', 'image of xfs', 'image of btrfs'];

const callsOf = ({ calls, title }: Specimen): Asked[] =>
  calls.flatMap((call): Asked[] => {
    if (call !== 'publish') return [call];
    return GROWING.includes(title) ? [call, 'stats', 'expand'] : [call, 'stats'];
  });

const GROWN = { requiredBytes: 400n * 2n ** 20n };

function ask({ call, volume }: Living, what: Asked): Promise<Answer> {
  if (what === 'stats') return volume.stats(volume.target);
  if (what === 'expand') return volume.expand(volume.target, GROWN);
  return call(what);
}

/** Makes something fail, from its beginning to its end. */
interface Injection {
  begin(): Promise<void> | void;
  /** Whether it has happened. */
  end(): Promise<boolean> | boolean;
}

describe('a system call that fails', function () {
  this.timeout(ALL ? '3h' : `${FEW * 10 + 300}s`);
  let node: TestNode;
  let faults: FaultSwitch;
  /** Of the node without volumes, as the last fault has left it. */
  let begun: NodeState | undefined;
  const inAll = new Map<string, number>();

  before(async function () {
    needRoot(this, 'the plugin mounts');
    console.log(ALL ? 'every fault' : `faults drawn with FAULTS_SEED=${SEED}`);
    faults = faultSwitch(API === undefined ? [] : ['--mount-api', API]);
    node = await startNode({ start: faults.start });
  });
  after(async () => {
    tell(`${[...inAll.values()].reduce((sum, times) => sum + times, 0)} faults: ${textOfCounts(inAll)}`);
    await node?.[Symbol.asyncDispose]();
  });

  for (const specimen of specimens(EVERY_KIND ? 'every' : 'ways')) {
    it(`${specimen.title}: the call says so, the node is as before, and the next one is served`, async function () {
      if (specimen.needs) needTool(this, specimen.needs, `volumes of kind ${specimen.title}`);
      const found = faultsAt(await sitesOf(specimen));
      const chosen = ALL ? found : draw(found, FEW);
      const failures: string[] = [];
      const outcomes = new Map<string, number>();
      for (const [i, { call, fault }] of chosen.entries()) {
        try {
          const injection = { begin: () => faults.arm(fault), end: () => faults.disarm() };
          const outcome = await tryFault(specimen, call, injection, i % 2 === 0);
          for (const counts of [outcomes, inAll]) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
        } catch (error) {
          const failure = `${nameOf(call, fault)}\n${wordsOf(error)}`;
          // At once, as the end may be hours away.
          console.log(failure);
          failures.push(failure);
          // Whatever is wrong with this one, the next one shall not be.
          await Promise.resolve(node[Symbol.asyncDispose]()).catch(() => undefined);
          node = await startNode({ start: faults.start });
          await warmUp(specimen);
        }
      }
      console.log(`      ${chosen.length} of ${found.length} faults: ${textOfCounts(outcomes)}`);
      expect(failures, failures.join('\n\n')).to.have.length(0);
    });
  }

  for (const title of ['overlay with upperdir, idmapped', 'image as a block device']) {
    it(`${title}, made to fail by strace: the same`, async function () {
      needTool(this, 'strace', 'it makes system calls fail');
      const specimen = specimenOf(title);
      const some = draw(tracedCalls(await sitesOf(specimen)), ALL ? Number.POSITIVE_INFINITY : 6);
      const outcomes: string[] = [];
      for (const [i, { call, name, errno }] of some.entries()) {
        const engines = engineProcesses(node.directory);
        const injection = failBelow(engines, name, errno);
        try {
          outcomes.push(await tryFault(specimen, call, injection, i % 2 === 0));
        } catch (error) {
          throw new Error(`${call}: ${errno} at ${name}: ${wordsOf(error)}`, { cause: error });
        }
      }
      console.log(`      ${outcomes.join(', ')}`);
      expect(outcomes.filter((outcome) => outcome !== 'not reached')).to.not.be.empty;
    });
  }

  type Sites = ReadonlyMap<Asked, readonly Site[]>;

  /** The second time, as the first has things to find out for good. */
  async function sitesOf(specimen: Specimen): Promise<Sites> {
    await warmUp(specimen);
    const sites = new Map<Asked, Site[]>();
    await live(specimen, async (living, call) => {
      sites.set(call, await faults.record(() => succeed(living, call)));
    });
    await expectNothingLeft(node);
    return sites;
  }

  async function warmUp(specimen: Specimen): Promise<void> {
    await live(specimen, succeed);
    begun = undefined;
  }

  /** From its beginning to its end, each call by `make`. */
  async function live(
    specimen: Specimen,
    make: (living: Living, call: Asked) => Promise<void>,
  ): Promise<void> {
    const living = specimen.make(node);
    await using volume = living.volume;
    useNewMapping(volume.context);
    for (const call of callsOf(specimen)) {
      await make(living, call);
      if (call === 'publish') {
        living.expectPublished();
        await living.run();
      }
    }
  }

  /** @param insists the caller repeats the call that failed; else he gives it up, and begins anew */
  async function tryFault(
    specimen: Specimen,
    last: Asked,
    injection: Injection,
    insists: boolean,
  ): Promise<string> {
    let outcome = 'not reached';
    begun ??= stateOf(node);
    await live(specimen, async (living, call) => {
      if (call !== last) return succeed(living, call);
      const before = stateOf(node);
      await injection.begin();
      const { code, message } = await ask(living, call);
      if (!(await injection.end())) {
        expect(code, message).to.equal('OK');
        return;
      }
      outcome = code;
      if (code === 'OK') return;
      expect(code, message).to.be.oneOf(FORESEEN);
      expect(message).to.not.match(/its process ended|undefined|\[object/);
      // All was done, and only what came of it could not be asked: the CO must come back.
      const after = stateOf(node);
      const were = recordedIn(before);
      const isDone = recordedIn(after).some((file) => !were.includes(file));
      if (isDone) expect(code, message).to.be.oneOf(UNCERTAIN);
      else if (call !== 'unpublish' && call !== 'unstage')
        await expectSame(before, `${code} ${message}`, after);
      if (!insists && call === 'publish') await succeed(living, 'unpublish');
      await succeed(living, call);
    });
    await expectNothingLeft(node);
    begun = await expectSame(begun, outcome);
    forget();
    return outcome;
  }

  /** What is the test's own of volumes that are gone: each look at the node would take longer than the one before. */
  function forget(): void {
    for (const place of [node.at('data'), node.at('kubelet/pods')]) {
      for (const name of readdirSync(place)) rmSync(join(place, name), { recursive: true });
    }
  }

  /** But for what is the test's own: data of volumes, directories that kubelet makes; and what is there for good. */
  const OWN =
    /^[-+] name (.*\/(data|kubelet\/(pods|plugins\/kubernetes\.io))(\/(?!.*\.tmp)|$)|.*\/(layers|empty)$)/;

  /** A call may be answered a little before it has closed the last of its files. */
  const CLOSED = /^- descriptor /;

  /** What goes by itself has a moment to. Gives what it found. */
  async function expectSame(before: NodeState, said: string, now = stateOf(node)): Promise<NodeState> {
    let seen = now;
    for (let tries = 0; ; tries++) {
      const changes = difference(before, seen).filter((line) => !OWN.test(line) && !CLOSED.test(line));
      if (changes.length === 0) return seen;
      if (tries > 1_000) throw new Error(`not as before: ${said}\n${changes.join('\n')}`);
      await delay(20);
      seen = stateOf(node);
    }
  }
});

const textOfCounts = (counts: ReadonlyMap<string, number>): string =>
  [...counts].map(([outcome, times]) => `${times} ${outcome}`).join(', ');

interface FaultOfCall {
  readonly call: Asked;
  readonly fault: Fault;
}

/** The first and the last time that each site is passed, with each errno. */
function faultsAt(sites: ReadonlyMap<Asked, readonly Site[]>): FaultOfCall[] {
  return [...sites].flatMap(([call, some]) =>
    some.flatMap((site) =>
      [...new Set([1, site.times])].flatMap((nth) =>
        site.errnos.map((errno) => ({ call, fault: { site, nth, errno } })),
      ),
    ),
  );
}

interface TracedCall {
  readonly call: Asked;
  /** Of the system call. */
  readonly name: string;
  readonly errno: Errno;
}

/** Those that the runtime makes for itself too are not to be told apart from outside. */
const OF_THE_RUNTIME = new Set(
  'read write openat statx ioctl mmap ppoll fcntl lseek readlinkat flock pipe2 clone prctl unlinkat mkdirat'.split(
    ' ',
  ),
);

function tracedCalls(sites: ReadonlyMap<Asked, readonly Site[]>): TracedCall[] {
  return [...sites].flatMap(([call, some]) => {
    const own = some.filter(({ by, stack }) => by === 'engine' && stack.startsWith('sys/bind.ts'));
    const names = new Set(own.map(({ call: name }) => name).filter((name) => !OF_THE_RUNTIME.has(name)));
    return [...names]
      .filter(isTraceable)
      .flatMap((name) => errnosOf(name).map((errno) => ({ call, name, errno })));
  });
}

/** Of the codes of CSI those that say what kubelet is to do. */
const FORESEEN = [
  'INVALID_ARGUMENT',
  'FAILED_PRECONDITION',
  'NOT_FOUND',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'ABORTED',
];

const UNCERTAIN = ['RESOURCE_EXHAUSTED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'ABORTED'];

/** The records of what is there, or is to come. */
const recordedIn = (state: NodeState): string[] =>
  state.flatMap((line) => /^record (.*) (?:done|waiting)$/.exec(line)?.[1] ?? []);

const nameOf = (call: Asked, { site, nth, errno }: Fault): string =>
  `${call}: ${errno} at the ${nth}. ${site.call} of the ${site.by}, ${site.stack.split('<').slice(0, 6).join(' < ')}`;

async function succeed(living: Living, call: Asked): Promise<void> {
  const { code, message } = await ask(living, call);
  expect(code, `${call}: ${message}`).to.equal('OK');
}

let mappings = 0;

/** One that the engine keeps no user namespace of, so that it has to make one. */
function useNewMapping(context: Record<string, string>): void {
  if (context.uidmap !== MAPPING) return;
  const mapping = `${MAPPING},80000:${300_000 + mappings++}:1`;
  Object.assign(context, { uidmap: mapping, gidmap: mapping });
}

/** The same for the same seed. */
function draw<T>(from: readonly T[], count: number): T[] {
  const rest = [...from];
  let state = SEED;
  return Array.from({ length: Math.min(count, rest.length) }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return rest.splice(Math.floor((state / 2 ** 31) * rest.length), 1)[0] as T;
  });
}
