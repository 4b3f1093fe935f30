// One operation at a time per volume. CSI wants a second one refused, not queued: the caller tries again.
import { NodeError } from './reasons.ts';

export interface VolumeLocks {
  /** @throws NodeError (operation-pending) */
  take(volumeId: string): Disposable;
}

export function volumeLocks(): VolumeLocks {
  const held = new Set<string>();
  return {
    take(volumeId) {
      if (held.has(volumeId)) {
        throw new NodeError('operation-pending', `another operation on volume ${volumeId} is at work`);
      }
      held.add(volumeId);
      return { [Symbol.dispose]: () => held.delete(volumeId) };
    },
  };
}
