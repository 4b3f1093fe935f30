// The service of fuse-host: which handler answers which call. What can go wrong with a start is part of the answer, so
// that all that is known of it reaches the driver.
import path from 'node:path';
import { MountError, messageOf } from '../mount/errors.ts';
import { within } from '../mount/fuse/programs.ts';
import type { KernelOptions } from '../mount/kernel.ts';
import { PolicyError } from '../policy/policy.ts';
import type { CallContext } from '../rpc/context.ts';
import {
  type Failure,
  type FuseHostService,
  type Helper,
  type StartRequest,
  type StartResponse,
  Helper_State as State,
} from '../rpc/generated/fusehost.ts';
import type { Handlers } from '../rpc/service.ts';
import { StatusError } from '../rpc/status.ts';
import { MappingError } from '../userns/mapping.ts';
import { VolumeError } from '../volume/errors.ts';
import type { HelperState, Helpers, HelperView } from './helpers.ts';
import { agreeOn, commonProtocol, PROTOCOLS, ProtocolError } from './protocol.ts';
import { type Reading, readStart } from './request.ts';

export interface HostDependencies extends Reading {
  readonly version: string;
  readonly helpers: Helpers;
  readonly kernel: KernelOptions;
  /** Told to end: nothing is started any more. */
  readonly isEnding: () => boolean;
}

const LONGEST_MS = 120_000;
const LONGEST_WAIT_MS = 60_000;

export function hostHandlers(deps: HostDependencies): Handlers<typeof FuseHostService> {
  const { version, helpers, kubeletDir, isEnding } = deps;
  const ours = { version, protocols: PROTOCOLS };
  return {
    async hello({ version: theirs, protocols }) {
      orRefuse(() => agreeOn({ driver: { version: theirs, protocols }, host: ours }));
      return { ...ours, ending: isEnding() };
    },
    start: (request, context) => start(request, context, deps),
    async stop({ target, unmount }) {
      // At and above it are all volumes, which nobody means.
      if (!liesBelow(target, kubeletDir)) return { stopped: [] };
      const stopped = unmount ? await helpers.abandon(target) : await helpers.stop(target);
      return { stopped: stopped.map(toMessage) };
    },
    list: async () => ({ helpers: helpers.list().map(toMessage) }),
    output: async ({ target }) => ({ output: helpers.output(target) }),
    async deaths({ after, patienceMs }, { signal }) {
      const found = await helpers.deaths(Number(after), Math.min(patienceMs, LONGEST_WAIT_MS), signal);
      const deaths = found.map(({ helper, output }) => ({ helper: toMessage(helper), output }));
      return { deaths, next: BigInt(found.at(-1)?.number ?? after) };
    },
  };
}

async function start(
  request: StartRequest,
  context: CallContext,
  deps: HostDependencies,
): Promise<StartResponse> {
  const { protocol, volumeId, target } = request;
  const only = { oldest: protocol, newest: protocol };
  if (commonProtocol(only, PROTOCOLS) === undefined) {
    orRefuse(() =>
      agreeOn({
        driver: { version: `of protocol ${protocol}`, protocols: only },
        host: { ...deps, protocols: PROTOCOLS },
      }),
    );
  }
  if (deps.isEnding()) {
    throw new StatusError({
      code: 'UNAVAILABLE',
      message: 'fuse-host is ending, and starts nothing any more',
    });
  }
  const timeoutMs = Math.min(context.remaining(), LONGEST_MS);
  try {
    const { helper: name, uid, place, request: mount } = readStart(request, deps);
    const programs = within(mount.programs, timeoutMs);
    const job = (output: string) => ({
      ...{ request: { ...mount, programs: { ...programs, output } }, place, kernel: deps.kernel },
    });
    const started = await deps.helpers.start({ target: place.path, volumeId, name, uid, job }, timeoutMs);
    return { outcome: { $case: 'started', value: toMessage(started) } };
  } catch (error) {
    const failure = toFailure(error);
    const { message: problem, reason } = failure;
    context.log.warn('a helper could not be started', { volumeId, target, reason, problem });
    return { outcome: { $case: 'failure', value: failure } };
  }
}

function liesBelow(target: string, directory: string): boolean {
  const way = path.relative(directory, target);
  return path.isAbsolute(target) && way !== '' && way !== '..' && !way.startsWith('../');
}

function toFailure(error: unknown): Failure {
  if (error instanceof MountError) {
    const { reason, message, rolledBack, errno = '' } = error.toInit();
    return { reason, message, rolledBack, errno };
  }
  const message = messageOf(error);
  return { reason: reasonOf(error), message, rolledBack: true, errno: '' };
}

function reasonOf(error: unknown): string {
  if (error instanceof PolicyError) return 'refused-by-policy';
  return error instanceof VolumeError || error instanceof MappingError ? 'invalid-volume' : 'unexpected';
}

function orRefuse(check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new StatusError({ code: 'FAILED_PRECONDITION', message: error.message, cause: error });
  }
}

const STATES: Readonly<Record<HelperState, Helper['state']>> = {
  starting: State.STARTING,
  serving: State.SERVING,
  dead: State.DEAD,
  ending: State.ENDING,
};

const toMessage = ({ state, startedAt, pids, ...view }: HelperView): Helper => ({
  ...view,
  pids: [...pids],
  state: STATES[state],
  startedAt: BigInt(startedAt),
});
