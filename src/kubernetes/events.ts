// Events on pods, for what an operator must act on. Emitting never throws, waits or fails a call; needs `create` and
// `patch` on events.
//
//   what         core/v1 Event, as kubelet's own: `kubectl describe pod` shows both in one list
//   again        the same event of the same pod is the same object, its count raised by a patch; one that the server
//                has forgotten meanwhile (an hour, by default) is made anew with the count so far
//   how many     BURST for a pod, then one each REFILL_MS; what is not sent is counted, and told by the next one sent
//   in between   a queue of QUEUED that one request at a time takes from; what finds it full is not sent
//   at the end   disposing waits drainMs for the queue, and no longer
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiAnswer, ApiRequest, KubernetesApi } from './api.ts';
import {
  type CountedEvent,
  eventObject,
  eventPath,
  nextEventName,
  type PodEvent,
  recount,
} from './event-object.ts';
import { type PodRef, problemOf } from './pod.ts';
import { rateLimit } from './rate-limit.ts';

export interface PodEvents extends AsyncDisposable {
  emit(pod: PodRef, event: PodEvent): void;
}

export interface PodEventsOptions {
  readonly api: KubernetesApi;
  /** Whose events these are: the name of the driver, and of the node. */
  readonly component: string;
  readonly host: string;
  /** Told of each kind of failure once: events are not worth a log of their own. */
  readonly onProblem: (problem: string) => void;
  readonly timeoutMs?: number;
  readonly drainMs?: number;
  /** What is waited before each further attempt, when the server does not answer or is busy. */
  readonly retryMs?: readonly number[];
}

const BURST = 10;
const REFILL_MS = 30_000;
const QUEUED = 100;
const REMEMBERED = 500;

export function podEvents({
  api,
  component,
  host,
  onProblem,
  timeoutMs = 5_000,
  drainMs = 1_000,
  retryMs = [1_000, 5_000],
}: PodEventsOptions): PodEvents {
  const known = new Map<string, CountedEvent>();
  const queue = new Set<CountedEvent>();
  const takeToken = rateLimit({ burst: BURST, refillMs: REFILL_MS, remembered: REMEMBERED });
  const ended = new AbortController();
  const told = new Set<string>();
  let sending: Promise<void> | undefined;

  const tell = (kind: string, problem: string) => {
    if (told.has(kind)) return;
    told.add(kind);
    onProblem(problem);
  };

  const sendAll = async () => {
    try {
      // A Set shows what is added to it on the way.
      for (const event of queue) {
        if (ended.signal.aborted) return;
        // Before it is sent: one more that comes while it is under way has to be told as well.
        queue.delete(event);
        await send(event);
      }
    } finally {
      sending = undefined;
    }
  };

  const send = async (event: CountedEvent) => {
    for (const pause of [...retryMs, undefined]) {
      const answer = await store(event, (request) => api.ask({ ...request, timeoutMs }), { component, host });
      if (answer.is === 'ok' || ended.signal.aborted) return;
      if (pause === undefined || !mayPass(answer)) return tell(...problemWith(answer));
      await sleep(pause, undefined, { signal: ended.signal }).catch(() => undefined);
    }
  };

  return {
    emit(pod, event) {
      if (ended.signal.aborted) return;
      if (api.access.is === 'none') {
        return tell('no access', `there are no Events on pods: ${api.access.because}`);
      }
      const wrong = problemOf(pod);
      if (wrong !== undefined) return tell('pod', `no Event can be made: ${wrong}`);
      const counted = count(known, pod, event);
      if (queue.has(counted) || !takeToken(pod.uid)) return;
      if (queue.size >= QUEUED) return tell('queue', `more than ${QUEUED} Events wait; some are not sent`);
      queue.add(counted);
      sending ??= sendAll();
    },
    async [Symbol.asyncDispose]() {
      const drained = new AbortController();
      const bound = sleep(drainMs, undefined, { signal: drained.signal }).catch(() => undefined);
      await Promise.race([sending, bound]);
      drained.abort();
      ended.abort();
    },
  };
}

/** The event as the server is to know it from now on: with one more. */
function count(known: Map<string, CountedEvent>, pod: PodRef, event: PodEvent): CountedEvent {
  const key = JSON.stringify([pod.namespace, pod.name, pod.uid, event.type, event.reason, event.message]);
  const now = new Date();
  const counted = known.get(key) ?? {
    pod,
    event,
    name: nextEventName(pod.name),
    count: 0,
    first: now,
    last: now,
    isStored: false,
  };
  counted.count += 1;
  counted.last = now;
  known.delete(key);
  known.set(key, counted);
  for (const oldest of known.keys()) {
    if (known.size <= REMEMBERED) break;
    known.delete(oldest);
  }
  return counted;
}

type Ask = (request: Omit<ApiRequest, 'timeoutMs'>) => Promise<ApiAnswer>;
type Reporter = Pick<PodEventsOptions, 'component' | 'host'>;

async function store(event: CountedEvent, ask: Ask, reporter: Reporter): Promise<ApiAnswer> {
  if (event.isStored) {
    const answer = await ask({ method: 'PATCH', path: eventPath(event, 'one'), body: recount(event) });
    if (!isRefused(answer, 404)) return answer;
    // Its time to live is over. A new name: the old one belongs to what was deleted.
    event.isStored = false;
    event.name = nextEventName(event.pod.name);
  }
  const made = await ask({
    method: 'POST',
    path: eventPath(event, 'all'),
    body: eventObject(event, reporter),
  });
  if (made.is === 'ok') event.isStored = true;
  // An earlier attempt did arrive, only its answer did not.
  if (!isRefused(made, 409)) return made;
  event.isStored = true;
  return ask({ method: 'PATCH', path: eventPath(event, 'one'), body: recount(event) });
}

const isRefused = (answer: ApiAnswer, status: number): boolean =>
  answer.is === 'refused' && answer.status === status;

/** Whether the same request can do better in a moment: the server is away, busy or broken. */
function mayPass(answer: ApiAnswer): boolean {
  return (
    answer.is === 'failed' || (answer.is === 'refused' && (answer.status === 429 || answer.status >= 500))
  );
}

function problemWith(answer: Exclude<ApiAnswer, { is: 'ok' }>): [kind: string, problem: string] {
  if (answer.is === 'failed') return ['failed', `Events cannot be sent: ${answer.because}`];
  const { status, message } = answer;
  const remedy =
    status === 403
      ? '; the driver\'s service account needs the rule {apiGroups: [""], resources: ["events"], verbs: ["create", "patch"]}'
      : '';
  return [String(status), `Events cannot be sent: the API server answers ${status}: ${message}${remedy}`];
}
