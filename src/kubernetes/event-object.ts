// An event of ours as the API server stores it: core/v1 Event, counted by `count` and `lastTimestamp`.
import type { PodRef } from './pod.ts';

export interface PodEvent {
  readonly type: 'Normal' | 'Warning';
  /** For machines: `UserNamespaceRecordMissing`. */
  readonly reason: string;
  /** For people, with what to do; cut at 1024 bytes. */
  readonly message: string;
}

export interface CountedEvent {
  readonly pod: PodRef;
  readonly event: PodEvent;
  /** Of the Event, in the pod's namespace. */
  name: string;
  count: number;
  readonly first: Date;
  last: Date;
  /** The server has it, as far as we know. */
  isStored: boolean;
}

export function eventPath({ pod, name }: CountedEvent, which: 'all' | 'one'): string {
  const all = `/api/v1/namespaces/${pod.namespace}/events`;
  return which === 'all' ? all : `${all}/${name}`;
}

let last = 0;

/**
 * `<pod>.<hex>`, as kubelet's. The number is of the time, so that a driver that starts again does not meet its own
 * names of before, and is never given twice.
 */
export function nextEventName(podName: string): string {
  last = Math.max(last + 1, Math.floor(Date.now() * 1000));
  const suffix = `.${last.toString(16)}`;
  // 253 characters for both, and the part before the dot must not end with one or a dash.
  return podName.slice(0, 253 - suffix.length).replace(/[-.]+$/, '') + suffix;
}

export function eventObject(
  counted: CountedEvent,
  { component, host }: { readonly component: string; readonly host: string },
): unknown {
  const { pod, event, name, first } = counted;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace: pod.namespace },
    involvedObject: { apiVersion: 'v1', kind: 'Pod', ...pod },
    type: event.type,
    reason: cut(event.reason, 128),
    message: cut(event.message, 1024),
    source: { component, host },
    reportingComponent: component,
    reportingInstance: cut(host, 128),
    firstTimestamp: timestamp(first),
    ...recount(counted),
  };
}

/** What changes when the same happens again. */
export function recount({ count, last }: CountedEvent): Record<string, unknown> {
  return { count, lastTimestamp: timestamp(last) };
}

/** metav1.Time has whole seconds. */
const timestamp = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;

/** The server refuses longer ones (k8s.io/kubernetes/pkg/apis/core/validation/events.go). */
function cut(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  const room = bytes - Buffer.byteLength('…');
  // A character that is cut in two becomes U+FFFD, three bytes for one to three: taken away.
  return `${Buffer.from(text)
    .subarray(0, room)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}…`;
}
