// A kubelet that loses patience: of its calls some are given up after a moment, some get a deadline that is too short, and
// some are made twice at the same time. For whoever calls through it, it is a node like another.
import type { CallOptions, Client } from '../../src/rpc/client.ts';
import type { NodeService } from '../../src/rpc/generated/csi.ts';
import type { TestNode } from './node.ts';

/** How many of a hundred calls. */
const SHARES = { cancelled: 12, late: 10, twice: 10 } as const;
/** From before the call has come to after it has ended. */
const LONGEST_MS = 60;
/** For all others: what takes longer hangs. */
const DEADLINE_MS = 110_000;

export interface UnsteadyNode extends TestNode {
  /** From now on it is as patient as any. */
  calm(): void;
}

/** The same draws with the same `random`, which gives numbers from 0 to 1. */
export function unsteady(node: TestNode, random: () => number): UnsteadyNode {
  let isCalm = false;
  const disturbed: TestNode['ask'] = (call) =>
    node.ask((rpc) => call(isCalm ? withOptions(rpc, () => patient()) : impatient(rpc, random)));
  return Object.create(node, {
    ask: { value: disturbed },
    calm: {
      value: () => {
        isCalm = true;
      },
    },
  }) as UnsteadyNode;
}

type Rpc = Client<typeof NodeService>;
type Method = (request: unknown, options?: CallOptions) => Promise<unknown>;

const patient = (): CallOptions => ({ timeoutMs: DEADLINE_MS });

function impatient(rpc: Rpc, random: () => number): Rpc {
  const drawn = random() * 100;
  const afterMs = Math.ceil(random() * LONGEST_MS);
  if (drawn < SHARES.cancelled) return withOptions(rpc, () => ({ signal: AbortSignal.timeout(afterMs) }));
  if (drawn < SHARES.cancelled + SHARES.late) return withOptions(rpc, () => ({ timeoutMs: afterMs }));
  if (drawn < SHARES.cancelled + SHARES.late + SHARES.twice) return twice(rpc);
  return withOptions(rpc, patient);
}

const withOptions = (rpc: Rpc, options: () => CallOptions): Rpc =>
  replaced(rpc, (method) => (request) => method(request, options()));

/** The answer is the first one's; what the other is told is as good. */
const twice = (rpc: Rpc): Rpc =>
  replaced(rpc, (method) => async (request) => {
    const first = method(request, patient());
    const second = method(request, patient());
    await Promise.allSettled([first, second]);
    return first;
  });

function replaced(rpc: Rpc, by: (method: Method) => Method): Rpc {
  const methods = rpc as unknown as Readonly<Record<string, Method>>;
  return new Proxy(rpc, {
    get: (_, name) => {
      const method = methods[name as string];
      return typeof method === 'function' && typeof name === 'string' ? by(method.bind(rpc)) : method;
    },
  });
}
