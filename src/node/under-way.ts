// Publishes that have begun. One is in the journal only when it is about to mount: until then it counts here among the
// volumes of its namespace (`maxVolumes` of the policy), or several that begin together would all have the last place.
import type { PodInfo } from '../volume/volume.ts';

interface UnderWay {
  readonly volumeId: string;
  readonly namespace: string;
}

export interface PublishesUnderWay {
  /** Until the end of the block. To be followed by the question whether it may, without waiting in between. */
  begin(volumeId: string, pod: PodInfo | undefined): Disposable;
  volumesOf(namespace: string): readonly string[];
}

export function publishesUnderWay(): PublishesUnderWay {
  const all = new Set<UnderWay>();
  return {
    begin(volumeId, pod) {
      // Of pods that nobody names nothing is counted.
      if (pod === undefined) return { [Symbol.dispose]: () => undefined };
      const one = { volumeId, namespace: pod.namespace };
      all.add(one);
      return { [Symbol.dispose]: () => void all.delete(one) };
    },
    volumesOf: (wanted) =>
      [...all].flatMap(({ namespace, volumeId }) => (namespace === wanted ? [volumeId] : [])),
  };
}
