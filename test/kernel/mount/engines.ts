// One behaviour suite, every engine: what the tests of mounts share.
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { type Engine, localEngine } from '../../../src/mount/engine.ts';
import { MountError, type MountErrorInit } from '../../../src/mount/errors.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { type MountInfo, readMountinfo } from '../../../src/mount/mountinfo.ts';
import { kernelIsBefore } from '../../support/kernel-version.ts';
import { descendants, openDescriptors } from '../../support/leaks.ts';
import { maskedCalls, needRoot, skipMasked } from '../../support/need.ts';

interface EngineRow {
  readonly name: string;
  readonly make: () => Engine;
  /** How this engine may make an overlay of many layers. */
  readonly tier: Tier;
}

/**
 * fd        layers given by descriptor
 * private   layers put into a private mount namespace
 * classic   mount(2), and the private mount namespace where that is not enough
 * host      mount(2), and a temporary directory of the host where that is not enough
 */
const TIERS = ['fd', 'private', 'classic', 'host'] as const;
export type Tier = (typeof TIERS)[number];

const LAYERS = 'overlay-layers-by-fd';
const ENGINES: readonly EngineRow[] = [
  { name: 'localEngine()', make: localEngine, tier: 'fd' },
  { name: 'processEngine({processes: 2})', make: () => processEngine({ processes: 2 }), tier: 'fd' },
  {
    name: 'localEngine, layers in a private namespace',
    make: () => localEngine({ disabled: [LAYERS] }),
    tier: 'private',
  },
  {
    name: 'processEngine, layers in a private namespace',
    make: () => processEngine({ processes: 2, kernel: { disabled: [LAYERS] } }),
    tier: 'private',
  },
  { name: 'localEngine, classic', make: () => localEngine({ api: 'classic' }), tier: 'classic' },
  {
    name: 'localEngine, classic, layers on the host',
    make: () => localEngine({ api: 'classic', disabled: ['private-namespace'] }),
    tier: 'host',
  },
];

/** What a test gets: the engine, and the most common calls of it. */
export interface Bench {
  readonly tier: Tier;
  readonly engine: Engine;
  /** Mounts at a directory that is made if need be. */
  mount(mount: Mount, target: string): Promise<void>;
  /** Takes away all that is mounted at exactly this path. */
  unmount(target: string): Promise<number>;
  /** The open file descriptors of this process and of those below it. */
  openDescriptors(): string[];
}

/** Where it is no matter how an overlay of many layers is made: once by the modern calls, and once by mount(2). */
export const WITHOUT_LAYERS: readonly Tier[] = ['fd', 'classic'];

/** The suite once per engine, whose name is in the title. */
export function describeEngines(
  title: string,
  suite: (bench: Bench) => void,
  tiers: readonly Tier[] = TIERS,
): void {
  // Where calls are masked, the engine finds its tier by itself: that is what the run is about.
  const wanted: readonly Tier[] = maskedCalls.length > 0 ? ['fd'] : tiers;
  const engines = ENGINES.filter(({ tier }) => wanted.includes(tier) && !isAnother(tier, wanted));
  for (const { name, make, tier } of engines) {
    describe(`${title}, by ${name}`, () => {
      let engine: Engine | undefined;
      let current: Mocha.Context | undefined;
      before(function () {
        needRoot(this, 'mounting takes CAP_SYS_ADMIN');
        engine = make();
        if (maskedCalls.length > 0) engine = skipping(engine, () => current);
      });
      beforeEach(function () {
        current = this;
      });
      after(() => engine?.[Symbol.asyncDispose]());
      suite({
        tier,
        get engine() {
          if (engine === undefined) throw new Error('the engine is there when the tests run, not before');
          return engine;
        },
        async mount(mount, target) {
          await this.engine.mountAll({ mounts: [mount], target: { path: target }, create: 'directory' });
        },
        unmount(target) {
          return this.engine.unmount({ target: { path: target }, all: true });
        },
        openDescriptors: () =>
          [process.pid, ...descendants(process.pid).map(({ pid }) => pid)].flatMap((pid) =>
            openDescriptors(pid).map((line) => `${pid} ${line}`),
          ),
      });
    });
  }
}

/** That for mounts without layers. */
export const describeWithoutLayers = (title: string, suite: (bench: Bench) => void): void =>
  describeEngines(title, suite, WITHOUT_LAYERS);

/** Before Linux 6.15 an engine that may give layers by descriptor cannot, and is the one that puts them elsewhere. */
const isAnother = (tier: Tier, wanted: readonly Tier[]): boolean =>
  tier === 'private' && wanted.includes('fd') && kernelIsBefore('6.15');

/**
 * Where calls are masked, what is refused for want of them before it is begun is no failure, and the end of its test.
 * What comes to a call and fails there is a failure, or what the test expects.
 */
function skipping(engine: Engine, current: () => Mocha.Context | undefined): Engine {
  async function unlessRefused<R>(result: Promise<R>): Promise<R> {
    try {
      return await result;
    } catch (error) {
      const context = current();
      const isRefusal = error instanceof MountError && error.reason === 'kernel-unsupported' && !error.errno;
      if (!isRefusal || !context) throw error;
      return skipMasked(context, error.message);
    }
  }
  return {
    ...engine,
    mountAll: (request, options) => unlessRefused(engine.mountAll(request, options)),
    canIdmap: (request, options) => unlessRefused(engine.canIdmap(request, options)),
  };
}

/** Whether this tier makes filesystems by calls that say in words what they refuse; mount(2) has an errno only. */
export function spoken({ tier }: Bench): boolean {
  const missing = ['open_tree', 'move_mount', 'fsopen', 'mount_setattr'].some((call) =>
    maskedCalls.includes(call),
  );
  return !missing && (tier === 'fd' || tier === 'private');
}

/** Whether there is no private mount namespace to put layers into: a mount cannot be brought there, or out of it. */
export function isHostOnly({ tier }: Bench): boolean {
  return tier === 'host' || ['open_tree', 'move_mount'].some((call) => maskedCalls.includes(call));
}

/** The MountError of an operation, which must fail with these properties. */
export async function failureOf(
  operation: Promise<unknown>,
  properties: Partial<MountErrorInit>,
): Promise<MountError> {
  const outcome: unknown = await operation.then(
    () => 'success',
    (error: unknown) => error,
  );
  expect(outcome).to.be.instanceOf(MountError);
  const error = outcome as MountError;
  expect({ ...error.toInit() }, error.message).to.include(properties);
  return error;
}

/** The top mount at a path, as the kernel lists it; there must be one. */
export function mountAt(path: string): MountInfo {
  const found = readMountinfo().findLast(({ target }) => target === path);
  if (found === undefined) throw new Error(`nothing is mounted at ${path}`);
  return found;
}

/** How many mounts are at or below a path. */
export function mountsIn(path: string): number {
  return readMountinfo().filter(({ target }) => target === path || target.startsWith(`${path}/`)).length;
}

/** The code of an error of Node's, thrown by the work. */
export function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

/** Options that show 1000:1000 on disk as 0:0 and ten ids above it alike. */
export const SHIFT_DOWN = ['uidmap=1000:0:11', 'gidmap=1000:0:11'] as const;
/** Options that show 0:0 on disk as 100000:100000, and 65,535 ids above it alike. */
export const SHIFT_UP = ['uidmap=0:100000:65536', 'gidmap=0:100000:65536'] as const;
