// The driver's side of the socket. Each call has a connection of its own: fuse-host may have been replaced since the last,
// and one that is away must be seen to be back at once.
import { MOUNT_REASONS, MountError, type MountReason } from '../mount/errors.ts';
import { PolicyError } from '../policy/policy.ts';
import { type Client, connect } from '../rpc/client.ts';
import {
  type DeathsResponse,
  FuseHostService,
  type HelloResponse,
  type Helper,
  type StartRequest,
} from '../rpc/generated/fusehost.ts';
import { StatusError } from '../rpc/status.ts';
import { agreeOn, PROTOCOLS, ProtocolError } from './protocol.ts';

export type StartSpec = Omit<StartRequest, 'protocol'>;

export interface FuseHost {
  readonly socket: string;
  /** @throws FuseHostError, MountError, PolicyError */
  start(spec: StartSpec, timeoutMs: number): Promise<Helper>;
  /**
   * After the unmount of what is at and below a target; with `unmount`, fuse-host unmounts it.
   * @throws FuseHostError
   */
  stop(target: string, options: { timeoutMs: number; unmount?: boolean }): Promise<readonly Helper[]>;
  /** @throws FuseHostError */
  list(): Promise<readonly Helper[]>;
  /** @throws FuseHostError */
  output(target: string): Promise<string>;
  /** @throws FuseHostError */
  deaths(after: bigint, patienceMs: number, signal: AbortSignal): Promise<DeathsResponse>;
}

/** `away`: nobody answers; `version`: who answers is too old or too new; `failed`: it does not understand. */
export class FuseHostError extends Error {
  override readonly name = 'FuseHostError';
  readonly why: 'away' | 'version' | 'failed';

  constructor(why: FuseHostError['why'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.why = why;
  }
}

export interface FuseHostOptions {
  readonly socket: string;
  /** Of the driver. */
  readonly version: string;
}

/** For what fuse-host answers at once; one that is not there refuses the connection, and is not waited for. */
const SHORT_MS = 5_000;
/** For its answer, after its own deadline. */
const SLACK_MS = 500;

export function fuseHostAt({ socket, version }: FuseHostOptions): FuseHost {
  async function calling<T>(work: (client: Client<typeof FuseHostService>) => Promise<T>): Promise<T> {
    using client = connect(FuseHostService, socket);
    try {
      return await work(client);
    } catch (error) {
      throw toError(error, socket);
    }
  }

  return {
    socket,
    start: (spec, timeoutMs) =>
      calling(async (client) => {
        const begun = performance.now();
        const { protocol, host } = await greet(client);
        if (host.ending) throw new FuseHostError('away', away(socket, 'it is ending'));
        const left = Math.max(1, timeoutMs - (performance.now() - begun) - SLACK_MS);
        const { outcome } = await client.start({ ...spec, protocol }, { timeoutMs: left }).catch(asLost);
        if (outcome?.$case === 'started') return outcome.value;
        throw failureOf(outcome?.value);
      }),
    stop: (target, { timeoutMs, unmount = false }) =>
      calling(async (client) => (await client.stop({ target, unmount }, { timeoutMs })).stopped),
    list: () => calling(async (client) => (await client.list({}, { timeoutMs: SHORT_MS })).helpers),
    output: (target) =>
      calling(async (client) => (await client.output({ target }, { timeoutMs: SHORT_MS })).output),
    deaths: (after, patienceMs, signal) =>
      calling((client) => client.deaths({ after, patienceMs }, { timeoutMs: patienceMs + SHORT_MS, signal })),
  };

  async function greet(
    client: Client<typeof FuseHostService>,
  ): Promise<{ protocol: number; host: HelloResponse }> {
    const driver = { version, protocols: PROTOCOLS };
    const host = await client.hello(driver, { timeoutMs: SHORT_MS });
    return { protocol: agreeOn({ driver, host }), host };
  }
}

function toError(error: unknown, socket: string): unknown {
  if (error instanceof ProtocolError) return new FuseHostError('version', error.message, { cause: error });
  if (!(error instanceof StatusError)) return error;
  switch (error.code) {
    case 'FAILED_PRECONDITION':
      return new FuseHostError('version', error.message, { cause: error });
    case 'UNIMPLEMENTED':
    case 'INTERNAL':
      return new FuseHostError('failed', `fuse-host at ${socket}: ${error.message}`, { cause: error });
    default:
      return new FuseHostError('away', away(socket, error.message), { cause: error });
  }
}

/** From here on, something may have been mounted. */
function asLost(error: unknown): never {
  if (!(error instanceof StatusError) || error.code === 'FAILED_PRECONDITION') throw error;
  const reason = error.code === 'DEADLINE_EXCEEDED' ? 'timeout' : 'engine-lost';
  const message = `fuse-host gave no answer to the start of a helper, whose outcome is unknown: ${error.message}`;
  throw new MountError({ reason, message, rolledBack: false }, { cause: error });
}

const away = (socket: string, why: string): string =>
  `the fuse-host does not answer at ${socket} (${why}): FUSE volumes wait for it, others are served; see to its pod on this node`;

function failureOf(
  failure: { reason?: string; message?: string; rolledBack?: boolean; errno?: string } | undefined,
): Error {
  const { reason = '', message = 'fuse-host gave no answer', rolledBack = false, errno = '' } = failure ?? {};
  const named = `fuse-host: ${message}`;
  if (reason === 'refused-by-policy') return new PolicyError(named);
  // One of a later version is not known here: it is no less a failure.
  const known = MOUNT_REASONS.find((one): one is MountReason => one === reason);
  return new MountError({
    reason: known ?? (reason === 'invalid-volume' ? 'invalid-mount' : 'mount-failed'),
    message: named,
    rolledBack,
    errno: errno === '' ? undefined : errno,
  });
}
